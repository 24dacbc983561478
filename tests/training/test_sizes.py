"""Network arguments and batches that follow from the plan and the machine."""

import pytest
import torch

from unetr.checkpoint import build_network
from unetr.errors import InputError
from unetr.training.recipe import Network
from unetr.training.recipe_toml import load_recipe
from unetr.training.sizes import (
    batch_size,
    fit_plan,
    learning_rate,
    network_config,
    patch_limit,
    pyramid,
)


@pytest.mark.parametrize("name", ["unetr", "unetr-modern", "dynunet", "segresnet", "swinunetr"])
def test_every_network_builds_and_keeps_the_patch(plan, name):
    small = {} if name == "dynunet" else {"feature_size": 8 if name != "swinunetr" else 12}
    if name.startswith("unetr"):
        small |= {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "num_layers": 4}
    network = Network(name=name, **small)
    fitted = fit_plan(plan, network)
    kind, config = network_config(network, fitted, "cpu")
    built = build_network(kind, config)
    x = torch.zeros(2, 1, *fitted.patch_voxels)
    assert built(x).shape == (2, 3, *fitted.patch_voxels)
    assert fitted.patch_voxels == ((64, 32, 32) if name == "swinunetr" else (16, 16, 16))


def test_the_papers_recipe_gives_vit_b(plan):
    paper = plan.model_copy(
        update={"patch_voxels": (96, 96, 96), "token_voxels": (16, 16, 16), "labels": plan.labels}
    )
    name, config = network_config(load_recipe("msd-spleen").network, paper, "cpu")
    assert name == "unetr"
    assert (config["hidden_size"], config["mlp_dim"], config["num_heads"]) == (768, 3072, 12)
    assert (config["num_layers"], config["skip_layers"]) == (12, [3, 6, 9])
    with torch.device("meta"):
        network = build_network(name, config | {"out_channels": 2})
    assert sum(p.numel() for p in network.parameters()) == 92_783_842


def test_sizes_left_open_go_by_the_machine(plan):
    assert network_config(Network(), plan, "cpu")[1]["hidden_size"] == 256
    assert network_config(Network(), plan, "cuda")[1]["hidden_size"] == 768
    assert network_config(Network(), plan, "cpu")[1]["feature_size"] == 8
    assert network_config(Network(), plan, "cuda")[1]["feature_size"] == 16
    wide = network_config(Network(hidden_size=384), plan, "cpu")[1]
    assert wide["mlp_dim"] == 4 * 384
    five = network_config(Network(num_layers=5), plan, "cpu")[1]
    assert five["skip_layers"] == [1, 2, 4]
    modern = network_config(Network(name="unetr-modern"), plan, "cpu")[1]
    assert modern["block"] == "modern"
    assert (patch_limit(96**3, "cpu"), patch_limit(96**3, "cuda")) == (64**3, 96**3)


def test_options_of_the_modern_block_reach_the_network(plan):
    small = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "num_layers": 4, "feature_size": 4}
    asked = {"drop_path": 0.3, "num_registers": 2, "checkpointing": True}
    name, config = network_config(Network(name="unetr-modern", **small, **asked), plan, "cpu")
    assert asked.items() <= config.items()
    network = build_network(name, config)
    assert network.config["drop_path"] == 0.3
    assert network.transformer.registers.shape[-2:] == (2, 24)
    plain = network_config(Network(name="unetr-modern", **small), plan, "cpu")[1]
    assert (plain["drop_path"], plain["num_registers"], plain["checkpointing"]) == (0.0, 0, False)
    with pytest.raises(InputError, match=r"network\.drop_path: only the blocks of unetr-modern"):
        network_config(Network(**small, **asked), plan, "cpu")


def test_batches_are_shared_evenly():
    assert batch_size(None, 1) == 2
    assert batch_size(None, 3) == 3
    assert batch_size(6, 3) == 6
    with pytest.raises(InputError, match=r"batch 6 cannot be shared among 4.*multiple of 4"):
        batch_size(6, 4)


def test_learning_rate_falls_with_the_width():
    assert learning_rate(None, {"hidden_size": 256}) == 4e-3
    assert learning_rate(None, {"hidden_size": 64}) == 4e-3
    assert learning_rate(None, {"hidden_size": 768}) == pytest.approx(4e-3 / 3)
    assert learning_rate(None, {"filters": [16, 32]}) == 1e-3
    assert learning_rate(3e-4, {"hidden_size": 768}) == 3e-4


def test_pyramid_spares_thick_slices(plan):
    flat = plan.model_copy(update={"spacing_mm": (1.0, 1.0, 4.0), "patch_voxels": (32, 32, 8)})
    strides, kernels = pyramid(flat)
    assert strides[:3] == [[1, 1, 1], [2, 2, 1], [2, 2, 1]]
    assert kernels[0] == [3, 3, 1]
    assert kernels[-1] == [3, 3, 3]


def test_few_blocks_feed_the_decoder_or_are_refused(plan):
    for layers in (3, 4, 5, 7):
        skips = network_config(Network(num_layers=layers), plan, "cpu")[1]["skip_layers"]
        assert len(set(skips)) == 3
        assert max(skips) <= layers
    with pytest.raises(InputError, match=r"network.num_layers 2: three blocks.* give 3 or more"):
        network_config(Network(num_layers=2), plan, "cpu")
    alone = network_config(Network(num_layers=2, skip_layers=()), plan, "cpu")[1]
    assert alone["skip_layers"] == []


@pytest.mark.parametrize(
    ("field", "value"), [("deep_supervision", True), ("dropout", 0.5), ("num_registers", 1)]
)
def test_what_a_network_does_not_have_is_refused(plan, field, value):
    asked = Network(name="dynunet", **{field: value})
    with pytest.raises(InputError, match=f"network.{field}: dynunet is built without; leave it"):
        network_config(asked, plan, "cpu")
