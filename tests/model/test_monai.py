"""MONAI's UNETR is the oracle: the same weights give the same function."""

from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from unetr.errors import InputError
from unetr.model import UNETR, export_monai, import_monai

SMALL = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 12, "feature_size": 4}


def monai(channels: int, labels: int, size: Any, **options: Any) -> nets.UNETR:
    """MONAI's network; its own initialisation takes seconds at full size."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = nets.UNETR(channels, labels, size, **options)
    network.to_empty(device="cpu")
    for name, parameter in network.named_parameters():
        if "norm" in name and name.endswith("weight"):
            nn.init.normal_(parameter, 1.0, 0.1)
        else:
            nn.init.normal_(parameter, 0.0, max(0.02, parameter[0].numel() ** -0.5))
    return network.eval()


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).norm() / theirs.norm()).detach())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "labels", "side", "feature_size", "proj_type"),
    [
        (1, 14, 96, 16, "perceptron"),
        (4, 3, 128, 16, "conv"),
        (1, 2, 96, 32, "conv"),
    ],
    ids=["btcv", "brain", "spleen"],
)
def test_logits_at_full_size(
    channels: int, labels: int, side: int, feature_size: int, proj_type: str
) -> None:
    theirs = monai(channels, labels, side, feature_size=feature_size, proj_type=proj_type)
    ours = import_monai(theirs.state_dict()).eval()
    x = torch.randn(1, channels, side, side, side)
    with torch.no_grad():
        assert relative_error(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize(
    ("proj_type", "feature_size", "qkv_bias"),
    [("conv", 4, False), ("perceptron", 4, True), ("perceptron", 8, False)],
)
def test_logits_and_gradients(proj_type: str, feature_size: int, qkv_bias: bool) -> None:
    """In float64: in float32 a rounding can flip the slope of an LReLU, and with it gradients."""
    options = SMALL | {"feature_size": feature_size}
    size = (16, 32, 16)
    theirs = monai(2, 3, size, proj_type=proj_type, qkv_bias=qkv_bias, **options).double()
    ours = import_monai(theirs.state_dict(), img_size=size).double().eval()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, *size, dtype=torch.float64)
    logits = [ours(x), theirs(x)]
    inputs = [torch.autograd.grad((y * weight).sum(), x, retain_graph=True)[0] for y in logits]
    assert relative_error(*logits) < 1e-9
    assert relative_error(*inputs) < 1e-9
    for y in logits:
        (y * weight).sum().backward()
    their_gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for parameter in ours.parameters():
        parameter.data = parameter.grad  # export then names gradients as it does weights
    for key, gradient in export_monai(ours, proj_type).items():
        if "norm_cross_attn" not in key:
            torch.testing.assert_close(gradient, their_gradients[key], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("proj_type", ["conv", "perceptron"])
def test_export_loads_strictly(proj_type: str) -> None:
    ours = UNETR(1, 2, 32, skip_layers=(4, 7, 10), **SMALL).eval()
    theirs = monai(1, 2, 32, proj_type=proj_type, **SMALL)
    theirs.load_state_dict(export_monai(ours, proj_type))
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert relative_error(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, r"skip_layers is \[3, 6, 9\], but in MONAI's UNETR it is \[4, 7, 10\]"),
        (
            {"skip_layers": (4, 7, 10), "patch_size": 8},
            "patch_size is 8, but in MONAI's UNETR it is 16",
        ),
        (
            {"skip_layers": (4, 7, 10), "block": "modern"},
            "block is modern, but in MONAI's UNETR it is vit",
        ),
    ],
)
def test_export_refuses_what_monai_cannot_be(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        export_monai(UNETR(1, 2, 32, **(SMALL | changed)))


def old_form(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As MONAI 0.6 to 0.8 stored them: a class token, convolutions without use, no cross norm."""
    old = {key: value for key, value in weights.items() if "cross_attn" not in key}
    old["vit.patch_embedding.cls_token"] = torch.zeros(1, 1, SMALL["hidden_size"])
    old["encoder2.blocks.0.1.conv3.conv.weight"] = torch.ones(8, 8, 1, 1, 1)
    return old


@pytest.mark.parametrize(
    "form",
    [
        old_form,
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"state": {}}},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"model": {f"backbone.{key}": v for key, v in weights.items()}},
        lambda weights: {"best": torch.tensor(0.8), "state_dict": weights},
        lambda weights: {"optimizer": {"state": {0: {"step": torch.ones(())}}}, "net": weights},
    ],
    ids=["0.6", "state_dict", "module.", "backbone.", "beside a tensor", "behind an optimizer"],
)
def test_published_forms(form: Any) -> None:
    theirs = monai(1, 3, 32, proj_type="perceptron", **SMALL)
    ours = import_monai(form(theirs.state_dict())).eval()
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert relative_error(ours(x), theirs(x)) < 1e-5
    assert ours.config["skip_layers"] == [4, 7, 10]
    assert ours.config["img_size"] == [32, 32, 32]


def test_the_number_of_heads_is_as_told() -> None:
    """No weight shows it, so that a wrong one cannot be noticed."""
    theirs = monai(1, 2, 32, **(SMALL | {"num_heads": 8}))
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        told, untold = (import_monai(theirs.state_dict(), num_heads=n).eval()(x) for n in (8, 12))
        assert relative_error(told, theirs(x)) < 1e-5
        assert relative_error(untold, theirs(x)) > 1e-3
    with pytest.raises(ValueError, match="24 is not a multiple of num_heads 7"):
        import_monai(theirs.state_dict(), num_heads=7)


def test_form_without_skip_convolutions() -> None:
    theirs = monai(1, 3, 32, conv_block=False, **SMALL)
    ours = import_monai(theirs.state_dict()).eval()
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert relative_error(ours(x), theirs(x)) < 1e-5
    theirs.load_state_dict(export_monai(ours))


def test_new_img_size_interpolates_positions() -> None:
    theirs = monai(1, 2, 32, **SMALL)
    with torch.no_grad():  # positions that rise linearly stay so between those learned
        ramp = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])
        theirs.vit.patch_embedding.position_embeddings[0] = ramp[:, None]
    ours = import_monai(theirs.state_dict(), img_size=(64, 32, 32))
    found = ours.transformer.embedding.positions.detach().reshape(4, 4, 24)
    expected = torch.tensor([0, 0.25, 0.75, 1])[:, None, None].expand(4, 4, 24)
    torch.testing.assert_close(found, expected)


def without(weights: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if part not in key}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda w: nets.SwinUNETR(1, 2, feature_size=12).state_dict(),
            "position_embeddings is missing",
        ),
        (
            lambda w: without(w, "vit.blocks.11."),
            "11 weights are missing, first vit.blocks.11.norm1",
        ),
        (lambda w: without(w, "decoder2."), "4 weights are missing, first decoder2.transp_conv"),
        (
            lambda w: w | {"vit.norm.weight": torch.ones(7)},
            r"vit.norm.weight has the wrong shape \(7,\)",
        ),
        (lambda w: w | {"head.weight": torch.ones(7)}, "1 are not UNETR's, first head.weight"),
        (lambda w: {"epoch": 3}, "holds no tensors"),
        (lambda w: {"best": torch.tensor(0.8)}, r"position_embeddings is missing \(it has best"),
        (lambda w: [w], "it holds a list, not weights by name; save the network's state_dict"),
        (lambda w: w["out.conv.conv.weight"], "it holds a Tensor, not weights by name"),
        (lambda w: without(w, "out."), "out.conv.conv.weight is missing"),
    ],
    ids=[
        "swin",
        "truncated",
        "no decoder2",
        "shape",
        "extra",
        "no tensors",
        "a score",
        "list",
        "tensor",
        "no head",
    ],
)
def test_something_else_gets_one_line(spoil: Any, told: str) -> None:
    weights = dict(monai(1, 2, 32, **SMALL).state_dict())
    with pytest.raises(InputError, match=told) as raised:
        import_monai(spoil(weights))
    assert "\n" not in str(raised.value)
    assert "no weights of a MONAI UNETR" in str(raised.value)


def test_grid_that_is_no_cube_must_be_said() -> None:
    weights = monai(1, 2, (32, 32, 48), **SMALL).state_dict()
    with pytest.raises(InputError, match="12 tokens are no cube; say by img_size"):
        import_monai(weights)
