"""What a model's header says in words, and the card made of it."""

from typing import Any

from unetr.checkpoint.card import model_card
from unetr.checkpoint.header import Header, NetworkConfig
from unetr.checkpoint.words import (
    CHOSEN_BY_VALIDATION,
    network_words,
    plan_words,
    training_words,
)
from unetr.data.plan import Crop, Label, Normalisation, Plan, Postprocessing, Region

PROVENANCE: dict[str, Any] = {
    "dataset": "Task99_Kidney",
    "licence": "CC-BY-SA 4.0",
    "fingerprint": "0123abcd",
    "fold": 2,
    "train": ["a", "b", "c"],
    "validation": ["d", "e"],
    "recipe": {"name": "auto", "training": {"lr": 0.001}},
    "precision": "bf16",
    "seed": 7,
    "init": None,
    "notes": ["validated on few"],
    "versions": {"unetr": "0.1.0", "torch": "2.13.0"},
    "step": 400,
    "minutes": 29.5,
    "dice": 0.87654321,
    "dice_per_label": {"kidney": 0.91234567, "cyst | stone": None},
    "history": [],
}


def header(network: dict[str, Any] | None = None, **provenance: Any) -> Header:
    plan = Plan(
        channels=("T1", "T2"),
        labels=(
            Label(id=0, name="background"),
            Label(id=200, name="kidney"),
            Label(id=500, name="cyst | stone"),
        ),
        spacing_mm=(1.5, 1.5, 3.0),
        patch_voxels=(96, 96, 32),
        crop=Crop(kind="above", threshold=-175.0),
        normalisation=(
            Normalisation(kind="range", low=-175.0, high=250.0),
            Normalisation(kind="zscore", over="nonzero"),
        ),
        mirror_axes=(1, 2),
        postprocessing=(Postprocessing(label=200, largest_component=True, minimum_mm3=50.0),),
    )
    config = {"num_layers": 8, "hidden_size": 256, "num_heads": 4, "patch_size": [16, 16, 8],
              "skip_layers": [2, 4, 6]} | (network or {})  # fmt: skip
    return Header(
        version=1,
        network=NetworkConfig(name="unetr", config=config),
        plan=plan,
        provenance=PROVENANCE | provenance,
    )


def test_the_card_says_all_that_the_file_knows() -> None:
    card = model_card(header(), "kidneys")
    for told in (
        "# kidneys: kidney, cyst | stone from T1 + T2\n",
        "From 2 channels: T1, T2.",
        "| 200 | kidney |\n| 500 | cyst \\| stone |\n",
        "Validation on 2 cases (d, e) that training did not see, on the scans' own grids:",
        "| structure | mean Dice, n = 2 |\n|---|---|\n"
        "| kidney | 0.9123 |\n| cyst \\| stone | undefined |\n| mean | 0.8765 |\n",
        "- Data set: Task99_Kidney\n- Size: 3 cases (a, b, c)\n"
        "- Fingerprint of the images: 0123abcd\n- Licence of the data: CC-BY-SA 4.0\n"
        "- Note: validated on few\n",
        "- Training: recipe auto, fold 2, 400 steps in 29.5 minutes, bf16, seed 7\n",
        "For research. This is no medical device",
        "- Model file: format 1\n- unetr: 0.1.0\n- torch: 2.13.0\n",
    ):
        assert told in card
    assert "None" not in card


def test_the_way_of_a_scan_is_told_in_its_order() -> None:
    assert list(plan_words(header().plan)) == [
        ("Crop", "to where the first channel exceeds -175"),
        ("Grid", "1.5 x 1.5 x 3 mm, axes RAS"),
        ("Intensity", "T1: -175 to 250 becomes 0 to 1"),
        ("Intensity", "T2: minus the image's mean, over its standard deviation (nonzero voxels)"),
        ("Windows", "96 x 96 x 32 voxels, overlap 0.5, gaussian blending"),
        ("Mirroring", "y, z (with --tta)"),
        ("Then", "kidney: largest component, at least 50 mm3"),
    ]


def test_networks_are_told_in_words() -> None:
    assert network_words(header().network) == (
        "UNETR: 8 blocks of width 256 with 4 heads, tokens of 16 x 16 x 8 voxels, "
        "perceptrons of width 3072, feature size 16, skips after blocks 2, 4, 6"
    )
    assert "perceptrons" not in network_words(header({"mlp_dim": 1024}).network)
    other = header({"block": "modern", "decoder": "mla", "patch_size": 16}).network
    assert network_words(other).startswith("UNETR with modern blocks: 8 blocks")
    assert network_words(other).endswith(", decoder mla")
    assert "tokens of 16 x 16 x 16 voxels" in network_words(other)
    foreign = NetworkConfig(name="dynunet", config={"strides": [1, 2]})
    assert network_words(foreign) == "dynunet (strides 1, 2)"


def test_a_score_on_the_training_case_is_called_so() -> None:
    card = model_card(header(train=["d"], validation=["d"]), "kidneys")
    assert "Validation on 1 case (d) that training saw too" in card


def test_what_the_file_does_not_know_is_unknown() -> None:
    imported = {"imported_from": "best.pth", "format": "MONAI UNETR", "recipe": "btcv-monai"}
    bare = header().model_copy(update={"provenance": imported})
    card = model_card(bare, "btcv")
    for told in (
        "The file holds no validation scores.",
        "- Imported from: best.pth (MONAI UNETR)\n- Data set: unknown\n- Size: unknown\n",
        "- Licence of the data: not stated by the data set",
        "- Training: recipe btcv-monai\n",
    ):
        assert told in card
    assert training_words(header().model_copy(update={"provenance": {}})) == ""


def test_regions_and_many_names_stay_readable() -> None:
    whole = header()
    regions = (Region(name="all", members=(200, 500), paint=200),)
    plan = whole.plan.model_copy(update={"regions": regions})
    names = [f"case_{number}" for number in range(30)]
    card = model_card(
        whole.model_copy(update={"plan": plan, "provenance": whole.provenance | {"train": names}}),
        "kidneys",
    )
    assert "# kidneys: all from T1 + T2" in card
    assert "- all: labels 200, 500, painted as 200" in card
    assert "- Size: 30 cases (case_0, case_1, " in card
    assert "case_7 and 22 more)" in card
    assert "case_8" not in card


def test_the_card_says_whether_its_cases_chose_the_model() -> None:
    once = {"step": 400, "seconds": 9.0, "dice": 0.9, "labels": {}, "best": True}
    assert "chosen on these cases" in model_card(header(history=[once, once]), "kidneys")
    alone = model_card(header(history=[once]), "kidneys")
    assert "chosen on these cases" not in alone
    assert "no other was compared with it on these cases" in alone
    plan = header().plan.model_copy(update={"reasons": {"postprocessing": CHOSEN_BY_VALIDATION}})
    ruled = header(history=[once]).model_copy(update={"plan": plan})
    assert "but its post-processing was chosen on these cases" in model_card(ruled, "kidneys")


def test_a_plan_that_clips_at_one_end_or_none_is_told_of() -> None:
    plan = header().plan
    for ends, told in (({}, "T1: minus 3, over 2"), ({"low": 0.0}, "T1: clipped to 0.., minus 3")):
        first = Normalisation(kind="standard", mean=3.0, std=2.0, **ends)
        own = plan.model_copy(update={"normalisation": (first, plan.normalisation[1])})
        assert any(words.startswith(told) for _, words in plan_words(own))
