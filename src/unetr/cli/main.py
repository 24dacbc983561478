"""The command `unetr`: its verbs, and how errors reach the person who typed it."""

import sys
from typing import Annotated

import typer

from unetr.cli.export import export
from unetr.cli.import_monai import import_monai
from unetr.cli.info import info
from unetr.cli.inspect import inspect
from unetr.cli.predict import predict
from unetr.cli.train import train

app = typer.Typer(
    name="unetr",
    help="Segment 3D medical scans with UNETR: train on your own CT or MR, predict, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Segment 3D medical scans with UNETR: train on your own CT or MR, predict, evaluate."""


app.command("inspect")(inspect)
app.command("train")(train)
app.command("predict")(predict)
app.command("export")(export)
app.command("import-monai")(import_monai)
app.command("info")(info)


def main() -> None:
    """Runs the command line. A wrong call or input ends in one line and exit code 2."""
    from unetr.errors import InputError

    try:
        app()
    except InputError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"unetr: {error}", err=True)
        sys.exit(2)
