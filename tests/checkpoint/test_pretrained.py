"""The model that comes with the package."""

import pytest
import torch

from unetr import Predictor, load_model
from unetr.checkpoint.card import model_card
from unetr.checkpoint.header import read_header, shipped_models
from unetr.data.dataset import open_dataset, read_case
from unetr.metrics import score_structures

NAME = "hippocampus"


def test_it_is_small_and_its_card_is_beside_it_with_the_licence():
    file = shipped_models()[NAME]
    assert file.stat().st_size < 20e6
    card = file.with_suffix(".md").read_text()
    assert card.endswith(model_card(read_header(file), NAME))
    assert "CC-BY-SA 4.0" in card
    assert "Simpson" in card


def test_weights_are_float32_when_loaded():
    assert {p.dtype for p in load_model(NAME).network.parameters()} == {torch.float32}


def test_it_segments_scans_that_training_never_saw(real_data):
    model = load_model(NAME)
    dataset = open_dataset(real_data / "hippocampus")
    unseen = [c for c in dataset.cases if c.name in set(model.provenance["validation"])][:4]
    assert len(unseen) == 4
    predictor = Predictor(model, engine="torch", precision="fp32")
    for case in unseen:
        image, labels = read_case(dataset, case)
        assert labels is not None
        found = predictor(image).labels
        structures = {one.name: [one.id] for one in model.plan.labels[1:]}
        scores = score_structures(
            found.array[0], labels.array[0], structures, labels.spacing_mm
        ).values()
        assert all(score.dice > 0.75 for score in scores)


def test_half_the_size_and_nearly_the_same(tmp_path):
    from unetr.checkpoint import save_model

    model = load_model(NAME)
    for half in (False, True):
        save_model(tmp_path / f"{half}.safetensors", model, half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (True, False)]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.02)
    x = torch.randn(1, 1, *model.plan.patch_voxels, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        small, whole = (load_model(tmp_path / f"{h}.safetensors").network(x) for h in (True, False))
    # The weights that were read were float16 before.
    assert torch.equal(small, whole)
