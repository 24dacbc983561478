"""The verb `unetr export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    model: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")],
    format: Annotated[
        Literal["onnx", "openvino"], typer.Option("--format", help="Which runtime it is for.")
    ],
) -> None:
    """Export a network for another runtime, with its plan inside.

    Example: unetr export run/model.safetensors -o exported --format onnx
    """
    from unetr.checkpoint import load_model
    from unetr.export import export_model

    typer.echo(str(export_model(load_model(model), out, format)))
