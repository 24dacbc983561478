"""The command `unetr`: its verbs, and how errors reach the person who typed it."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from unetr.cli import talk
from unetr.cli.compare import compare
from unetr.cli.demo import demo
from unetr.cli.download import download
from unetr.cli.evaluate import evaluate
from unetr.cli.export import export
from unetr.cli.import_monai import import_monai
from unetr.cli.info import info
from unetr.cli.inspect import inspect
from unetr.cli.predict import predict
from unetr.cli.train import train
from unetr.cli.verb import Debug, Quiet, Verb, Verbose, set_loudness, verb

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "download": download,
    "inspect": inspect,
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "compare": compare,
    "export": export,
    "import-monai": import_monai,
    "info": info,
}

app = typer.Typer(
    name="unetr",
    epilog="Exit codes: 0 done; 1 some cases failed, the others are written; 2 the call or its "
    "input is wrong; 130 interrupted. `unetr VERB --help` has an example of each verb.",
    # Plain help is there in half the time of one in boxes, and can be searched.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(given: bool) -> bool:
    if given:
        from unetr import __version__

        typer.echo(f"unetr {__version__}")
        raise typer.Exit
    return given


Version = Annotated[
    bool,
    typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True),
]


@app.callback()
def options(
    version: Version = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Segment 3D medical scans with UNETR: train on your own CT or MR, predict, evaluate.

    Results go to stdout, talk to stderr.
    """
    set_loudness(quiet, verbose, debug)


for name, function in VERBS.items():
    app.command(name, cls=Verb)(verb(function))


def main() -> None:
    """Runs the command line and ends the process."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    try:
        code = run(sys.argv[1:])
    except Exception:
        if not several:
            raise
        import traceback

        traceback.print_exc()
        code = 1
    if code and several:
        # At Python's own end NCCL would wait for the other processes, which wait for this one.
        # torchrun ends them when it is gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(words: Sequence[str]) -> int:
    """Runs the command line; gives the exit code.

    A wrong call or input ends in one line and 2. What has no answer here is a fault of this
    program, and Python shows it.
    """
    from unetr.errors import InputError

    try:
        # Without words: what there is.
        code = app(args=list(words) or ["--help"], prog_name="unetr", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _failed(_wrong_call(error))
    except InputError as error:
        return _failed(str(error))
    except BrokenPipeError:
        # Whoever read the output has enough; Python must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _failed(f"{named}{error.strerror or error}")
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


def _failed(line: str) -> int:
    """Tells why the call could not be followed."""
    if talk.loudness() is talk.Loudness.debug:
        import traceback

        traceback.print_exc()
    typer.echo(f"unetr: {line}", err=True)
    return 2


def _wrong_call(error: typer.TyperException) -> str:
    """What typer says of a call that it could not make sense of, on one line."""
    context = getattr(error, "ctx", None)
    told = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    path = context.command_path if context else "unetr"
    return f"{told}{'' if told.endswith('?') else ';'} {path} --help tells more"
