"""What every verb has: how loud it is, and how it ends when it is interrupted."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from unetr.cli import talk
from unetr.cli.talk import Loudness

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", help="Say all, and show an error's traceback.")]


def set_loudness(quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """The loudest that is asked for."""
    if debug:
        talk.set_loudness(Loudness.debug)
    elif verbose:
        talk.set_loudness(Loudness.verbose)
    else:
        talk.set_loudness(Loudness.quiet if quiet else Loudness.normal)


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a verb: `--debug` and the like may stand behind it as well as before it,
    and Ctrl-C ends it in one line."""

    @functools.wraps(function)
    def run(quiet: bool, verbose: bool, debug: bool, **options: Any) -> None:
        if quiet or verbose or debug:
            set_loudness(quiet, verbose, debug)
        try:
            function(**options)
        except KeyboardInterrupt:
            typer.echo("unetr: interrupted", err=True)
            raise typer.Exit(130) from None

    own, common = inspect.signature(function), inspect.signature(set_loudness)
    parameters = [*own.parameters.values(), *common.parameters.values()]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


class Verb(TyperCommand):
    """Says how a verb is used as its documentation does: what must be given, in capitals."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after `Usage: unetr VERB`."""
        pieces = []
        for parameter in self.params:
            if parameter.required:
                name = parameter.metavar or (parameter.name or "").upper()
                option = parameter.param_type_name == "option"
                pieces.append(f"{parameter.opts[0]} {name}" if option else name)
        return [*pieces, "[OPTIONS]"]
