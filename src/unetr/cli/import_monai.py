"""The verb `unetr import-monai`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.data.plan import Plan


def import_monai(
    checkpoint: Annotated[Path, typer.Argument(help="A MONAI UNETR checkpoint (.pt, .pth).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="Whose plan it takes: btcv, btcv-monai, msd-spleen, msd-brain-tumour or "
            "msd-brain-tumour-monai.",
        ),
    ],
    num_heads: Annotated[
        int,
        typer.Option(min=1, help="Of the attention; no weight shows it. MONAI's default is 12."),
    ] = 12,
) -> None:
    """Make a model file of a MONAI UNETR checkpoint.

    Example: unetr import-monai UNETR_model_best_acc.pth -o btcv.safetensors --recipe btcv-monai
    """
    import hashlib

    import torch

    from unetr.checkpoint import Model, save_model
    from unetr.checkpoint.words import times
    from unetr.errors import InputError
    from unetr.export.published import TASKS
    from unetr.model import import_monai as convert

    plan, weights = _plan(recipe), _read(checkpoint)
    try:
        network = convert(weights, num_heads=num_heads)
    except ValueError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    sizes = (network.config["in_channels"], network.config["out_channels"])
    if sizes != (len(plan.channels), plan.out_channels):
        raise InputError(
            f"{checkpoint}: {sizes[0]} -> {sizes[1]} channels, but recipe {recipe} has "
            f"{len(plan.channels)} -> {plan.out_channels}; choose the recipe it was trained by"
        )
    seen: tuple[int, int, int] = tuple(network.config["img_size"])
    if seen != plan.patch_voxels:
        talk.say(f"its positions are of patches of {times(seen)} voxels, so it predicts such ones")
        plan = plan.model_copy(update={"patch_voxels": seen})
    if outputs := TASKS[recipe].outputs:
        with torch.no_grad():
            for parameter in network.decoder.get_submodule("head").parameters():
                parameter.copy_(parameter[list(outputs)].clone())
    provenance = {
        "imported_from": checkpoint.name,
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "format": "MONAI UNETR",
        "recipe": recipe,
    }
    save_model(out, Model(network, plan, provenance))
    typer.echo(str(out))


def _read(checkpoint: Path) -> Any:
    """The pickled tensors and numbers of a checkpoint; nothing else in a pickle is ever loaded."""
    import pickle

    import numpy as np
    import torch

    from unetr.errors import InputError

    # MONAI's trainers keep the best score beside the weights, as numpy's number. The function that
    # makes one has a name of numpy 1 in older files.
    scalar = np.float64(0).__reduce__()[0]
    kinds = (type(np.dtype(kind)) for kind in ("float64", "float32", "int64"))
    numbers: list[Any] = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]
    try:
        with torch.serialization.safe_globals(numbers):
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{checkpoint}: cannot be read ({error.strerror or error})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"{checkpoint}: not a checkpoint of plain tensors, which alone is safe to load; "
            "save its state_dict() with torch.save"
        ) from error


def _plan(name: str) -> "Plan":
    """The plan of a published network: the recipe's grid and intensities, the task's labels."""
    from unetr.data.plan import Crop, Normalisation, Plan
    from unetr.errors import InputError
    from unetr.export.published import TASKS
    from unetr.training.recipe_toml import load_recipe

    if name not in TASKS:
        raise InputError(f"--recipe {name}: not a published task; known are {', '.join(TASKS)}")
    task = TASKS[name]
    data = load_recipe(task.recipe or name).data
    assert data.spacing_mm is not None
    assert data.patch_voxels is not None
    how = Normalisation(kind="zscore", over="nonzero")
    if data.normalisation != "zscore-nonzero":
        low, high = task.window_hu or data.window_hu
        how = Normalisation(kind="range", low=low, high=high)
    return Plan(
        channels=task.channels,
        labels=task.labels,
        regions=task.regions,
        orientation=data.orientation or "RAS",
        spacing_mm=data.spacing_mm,
        patch_voxels=data.patch_voxels,
        token_voxels=data.token_voxels or (16, 16, 16),
        crop=data.crop or Crop(),
        normalisation=(how,) * len(task.channels),
        overlap=0.5 if data.overlap is None else data.overlap,
        blend=data.blend or "gaussian",
    )
