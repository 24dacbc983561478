"""Every engine computes what torch computes; a wrong choice is told in one line."""

import functools
import subprocess
import sys

import pytest
import torch

from unetr.checkpoint.model import Model
from unetr.data.plan import Region
from unetr.errors import InputError
from unetr.inference import convert, engines, onnx_engine, openvino_engine
from unetr.inference.device import find_device
from unetr.inference.engines import make_engine
from unetr.inference.ensemble import averaged, mirrorings
from unetr.model.compiled_norm import has_compiler

from .small_model import model_of


@pytest.fixture
def model() -> Model:
    return model_of()


@pytest.fixture(scope="module")
def conversions(tmp_path_factory):
    """Where converted networks are kept: each conversion takes seconds."""
    return tmp_path_factory.mktemp("cache"), functools.cache(
        lambda _: convert.to_onnx(model_of()).SerializeToString()
    )


@pytest.fixture(autouse=True)
def _own_cache(conversions, monkeypatch):
    folder, onnx = conversions
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(onnx_engine, "converted_onnx", lambda _: onnx("small"))


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
@torch.no_grad()
def test_fp32_equals_torch(name, model):
    engine = make_engine(model, name, "fp32", "cpu")
    assert (engine.name, engine.precision) == (name, "fp32")
    for count in (1, 3):
        x = torch.randn(count, 2, 8, 8, 4)
        expected = model.network(x).softmax(1)
        torch.testing.assert_close(engine.forward(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
@torch.no_grad()
def test_regions_are_scored_one_by_one(name, model):
    regions = tuple(Region(name=str(i), members=(i,), paint=i) for i in (1, 2, 2))
    model.plan = model.plan.model_copy(update={"regions": regions})
    x = torch.randn(1, 2, 8, 8, 4)
    found = make_engine(model, name, "fp32", "cpu").forward(x)
    torch.testing.assert_close(found, model.network(x).sigmoid(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_torch_bf16_is_close_and_is_not_fp32(model):
    engine = make_engine(model, "torch", "bf16", "cpu")
    assert engine.precision == "bf16"
    x = torch.randn(2, 2, 8, 8, 4)
    error = (engine.forward(x) - model.network(x).softmax(1)).abs().max()
    assert 1e-5 < error < 0.1


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_openvino_computes_in_what_it_says(precision, model, monkeypatch):
    import openvino as ov

    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        with pytest.raises(InputError, match="no bf16; use --precision fp32"):
            make_engine(model, "openvino", precision, "cpu")
        return
    compiled = []
    compile_ = openvino_engine._compile
    monkeypatch.setattr(
        openvino_engine, "_compile", lambda *given: compiled.append(compile_(*given)) or compiled[0]
    )
    engine = make_engine(model, "openvino", precision, "cpu")
    engine.ready()
    expected = "bf16" if has_bf16 and precision != "fp32" else "fp32"
    assert engine.precision == expected
    hint = compiled[0].get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert hint == {"fp32": "f32", "bf16": "bf16"}[expected]
    layers = {
        node.get_rt_info()["layerType"].astype(str): node.get_rt_info()["runtimePrecision"].astype(
            str
        )
        for node in compiled[0].get_runtime_model().get_ops()
    }
    assert layers["Convolution"] == hint
    # OpenVINO has no bf16 deconvolution for processors without tile instructions.
    tiles = torch.cpu._is_amx_tile_supported()
    assert layers["Deconvolution"] == (hint if tiles else "f32")


def test_torch_fp32_takes_no_shorter_type_for_it(model, monkeypatch):
    """Whatever the caller allowed, which is as it was afterwards."""
    seen = []

    def noting(x):
        on = torch.backends
        kinds = (on.cuda.matmul, on.cudnn.conv, on.mkldnn.matmul, on.mkldnn.conv)
        seen.append([*(kind.fp32_precision for kind in kinds), torch.is_autocast_enabled("cpu")])
        return torch.zeros(len(x), 3, *x.shape[2:])

    monkeypatch.setattr(model.network, "forward", noting)
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", torch.bfloat16):
            make_engine(model, "torch", "fp32", "cpu").forward(torch.zeros(1, 2, 8, 8, 4))
        assert seen == [["ieee"] * 4 + [False]]
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_torch_compiles_unetr():
    """To the same scores, in one piece and without compiling for another number of windows. In a
    process without the checks of types that tests run under, which torch cannot read."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


COMPILED = """
import torch
from unetr import UNETR
from unetr.checkpoint import Model
from unetr.data.plan import Label, Normalisation, Plan
from unetr.inference.engines import make_engine

labels = tuple(Label(id=i, name=str(i)) for i in range(3))
plan = Plan(channels=("a", "b"), labels=labels, spacing_mm=(1, 1, 1), patch_voxels=(8, 8, 4),
            normalisation=(Normalisation(kind="zscore"),) * 2)
model = Model(UNETR(2, 3, (8, 8, 4), (4, 4, 4), 4, 16, 32, 2, 3, (1, 2), stem=True).eval(), plan)
x = torch.randn(3, 2, 8, 8, 4)
for precision, close in (("fp32", 1e-4), ("bf16", 0.05)):
    expected = make_engine(model, "torch", precision, "cpu").forward(x)
    engine = make_engine(model, "torch-compile", precision, "cpu")
    assert (engine.name, engine.precision) == ("torch-compile", precision)
    engine.ready()
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(engine.forward(x), expected, rtol=0, atol=close)
assert not torch._dynamo.utils.counters["graph_break"]
"""


def test_without_a_compiler_another_engine_is_named(model, monkeypatch):
    def failing(network, **_):
        def run(x):
            raise RuntimeError("no compiler\nand more")

        return run

    monkeypatch.setattr(torch, "compile", failing)
    engine = make_engine(model, "torch-compile", "fp32", "cpu")
    with pytest.raises(InputError, match=r"cannot compile it \(no compiler\); use --engine torch"):
        engine.ready()


def test_onnx_holds_fp32_alone(model):
    import onnx

    proto = onnx.load_from_string(onnx_engine.converted_onnx(model))
    kinds = {onnx.TensorProto.DataType.Name(one.data_type) for one in proto.graph.initializer}
    assert "FLOAT" in kinds
    assert not kinds & {"FLOAT16", "BFLOAT16"}
    assert make_engine(model, "onnx", "auto", "cpu").precision == "fp32"


def test_little_memory_gives_one_window_at_a_time(model, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert make_engine(model, "openvino", "fp32", "cpu").batch == 2
    engine = make_engine(model, "openvino", "fp32", "cpu", spare_gb=0.0)
    assert engine.batch == 1
    x = torch.randn(3, 2, 8, 8, 4)
    with torch.no_grad():
        expected = model.network(x).softmax(1)
    torch.testing.assert_close(engine.forward(x), expected, rtol=1e-4, atol=1e-5)


def test_auto_takes_the_fastest_installed(model, monkeypatch):
    assert make_engine(model, device="cpu").name == "openvino"
    monkeypatch.setattr(engines, "installed", lambda name: name != "openvino")
    assert make_engine(model, device="cpu").name == "torch"
    with pytest.raises(InputError, match=r"pip install 'unetr\[openvino\]'"):
        make_engine(model, "openvino", device="cpu")


def test_impossible_choices(model):
    with pytest.raises(InputError, match="computes in fp32"):
        make_engine(model, "onnx", "bf16", "cpu")
    with pytest.raises(InputError, match=r"not available.*try cpu"):
        make_engine(model, device="cuda:7")


def test_network_can_still_be_trained_after_conversion(model):
    make_engine(model, "openvino", device="cpu")
    model.network.train()
    model.network(torch.randn(1, 2, 8, 8, 4)).sum().backward()
    assert model.network.layers[0].weight.grad is not None


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
def test_mirrorings_may_not_overwrite_each_other(name, model):
    forward = make_engine(model, name, "fp32", "cpu").forward
    x = torch.randn(1, 2, 8, 8, 4)
    mean = averaged([forward, forward], "softmax", mirrorings((0, 2)))(x)
    views = [forward(x.flip([a + 2 for a in axes])).clone() for axes in mirrorings((0, 2))]
    views = [
        v.flip([a + 2 for a in axes]) for v, axes in zip(views, mirrorings((0, 2)), strict=True)
    ]
    torch.testing.assert_close(mean, torch.stack(views).mean(0))


def test_under_torchrun_an_accelerator_without_a_number_is_the_processs_own(monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    assert find_device("cuda") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert find_device("cuda") == torch.device("cuda", 3)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cpu") == torch.device("cpu")


def test_an_accelerator_is_not_asked_for_what_only_processors_compute(model, monkeypatch):
    on = torch.accelerator
    monkeypatch.setattr(on, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(on, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda", 0)
    assert make_engine(model, "openvino").device == torch.device("cpu")
    monkeypatch.setattr(engines, "find_device", lambda _: torch.device("cuda"))
    with pytest.raises(InputError, match="runs on the processor here; use --device cpu"):
        make_engine(model, "openvino", device="cuda")


def test_more_processes_than_accelerators_are_told(monkeypatch):
    on = torch.accelerator
    monkeypatch.setattr(on, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(on, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(InputError, match=r"process 4 of this machine, which has 2 cuda devices"):
        find_device("auto")
