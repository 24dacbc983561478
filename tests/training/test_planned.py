"""The run's plan: the data set's, overruled by the recipe, or inherited from a model."""

from dataclasses import replace

import pytest
import torch

from unetr.checkpoint import Model
from unetr.data.dataset import open_dataset
from unetr.data.fingerprint import fingerprint
from unetr.data.plan import Crop, Label, Normalisation, Postprocessing, Region
from unetr.errors import InputError
from unetr.training.decide import decide
from unetr.training.initialise import inherited_network, inherited_plan
from unetr.training.order import Order
from unetr.training.planned import (
    normalisations,
    plan_run,
    structure_probability,
    with_regions,
)
from unetr.training.recipe import Data
from unetr.training.recipe_toml import load_recipe

from .heard import Heard
from .phantoms import TINY, write_phantoms
from .tiny import PATCH, tiny_plan, tiny_unetr


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A data set and its fingerprint."""
    dataset = open_dataset(write_phantoms(tmp_path_factory.mktemp("planned") / "data", cases=2))
    return dataset, fingerprint(dataset)


def test_auto_leaves_the_plan_as_it_is(known):
    plan = plan_run(*known, load_recipe("auto"), "cpu", 8.0)
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.patch_voxels == (32, 32, 32)
    assert plan.normalisation == (Normalisation(kind="zscore"),)


def test_the_papers_recipes_overrule_it(known):
    plan = plan_run(*known, load_recipe("btcv"), "cpu", 8.0)
    assert plan.patch_voxels == (96, 96, 96)
    assert plan.token_voxels == (16, 16, 16)
    assert plan.crop == Crop()
    assert plan.normalisation == (Normalisation(kind="range", low=-1000.0, high=1000.0),)
    assert plan.reasons["patch_voxels"] == "the recipe btcv says so"


def test_normalisation_words_mean_numbers_of_the_data_set(known):
    _, found = known
    (spleen,) = normalisations(Data(normalisation="foreground"), found)
    channel = found.channels[0]
    assert (spleen.kind, spleen.low, spleen.high) == (
        "range", channel.percentile_05, channel.percentile_95,
    )  # fmt: skip
    (brain,) = normalisations(Data(normalisation="zscore-nonzero"), found)
    assert (brain.kind, brain.over) == ("zscore", "nonzero")
    (whole,) = normalisations(Data(normalisation="zscore"), found)
    assert whole.over == "all"


def test_a_foreground_without_contrast_is_told(known):
    _, found = known
    channel = found.channels[0].model_copy(update={"percentile_05": 3.0, "percentile_95": 3.0})
    flat = found.model_copy(update={"channels": (channel,)})
    with pytest.raises(InputError, match=r"channel MR is 3 from the 5th to the 95th.*take plan"):
        normalisations(Data(normalisation="foreground"), flat)


def test_what_does_not_go_into_a_plan_is_told_in_one_line(known):
    """Whatever the recipe lets through."""
    recipe = load_recipe("auto")
    odd = recipe.data.model_copy(update={"overlap": 2.0})
    with pytest.raises(InputError, match=r"recipe auto: data\.overlap: .*less than 1") as caught:
        plan_run(*known, recipe.model_copy(update={"data": odd}), "cpu", 8.0)
    assert "\n" not in str(caught.value)


def renamed(plan, *names):
    labels = tuple(Label(id=k, name=name) for k, name in enumerate(("background", *names)))
    return plan.model_copy(update={"labels": labels})


def test_a_new_plan_keeps_the_models_grid():
    model = Model(tiny_unetr(), tiny_plan(), source="old")
    new = renamed(tiny_plan(), "a", "b", "c").model_copy(
        update={"spacing_mm": (2.0, 2.0, 2.0), "patch_voxels": (32, 32, 32)}
    )
    plan = inherited_plan(new, model)
    assert (plan.spacing_mm, plan.patch_voxels) == ((1.0, 1.0, 1.0), PATCH)
    assert [label.name for label in plan.labels] == ["background", "a", "b", "c"]
    assert plan.reasons["spacing_mm"] == "as old was trained"


def test_weights_are_taken_where_labels_and_channels_are_the_same():
    model = Model(tiny_unetr(), tiny_plan())
    same, config, left = inherited_network(model, tiny_plan())
    assert left == []
    assert config["out_channels"] == 3
    for name, value in same.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name])


def test_other_labels_start_the_outputs_anew_and_nothing_else():
    model = Model(tiny_unetr(), tiny_plan())
    network, config, left = inherited_network(model, renamed(tiny_plan(), "a", "b", "c"))
    assert config["out_channels"] == 4
    assert left == [
        "output layers start anew: labels are background, a, b, c, "
        "the model's background, ball, box"
    ]
    old = model.network.state_dict()
    fresh = {n for n, value in network.state_dict().items() if not torch.equal(value, old[n])}

    assert fresh == {"decoder.head.weight", "decoder.head.bias"}


def test_same_number_of_other_labels_is_not_mistaken():
    model = Model(tiny_unetr(), tiny_plan())
    network, _, left = inherited_network(model, renamed(tiny_plan(), "box", "ball"))
    assert len(left) == 1
    x = torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(network.eval()(x), model.network.eval()(x))


def test_other_channels_start_the_inputs_anew():
    model = Model(tiny_unetr(), tiny_plan())
    two = tiny_plan().model_copy(
        update={"channels": ("T1", "T2"), "normalisation": (Normalisation(kind="zscore"),) * 2}
    )
    network, config, left = inherited_network(model, two)
    assert config["in_channels"] == 2
    assert left == ["input layers start anew: 2 channels, the model's 1"]
    assert network(torch.zeros(1, 2, *PATCH)).shape == (1, 3, *PATCH)


def test_a_model_without_its_arguments_is_told():
    model = Model(tiny_unetr(), tiny_plan(), source="odd", config={})
    with pytest.raises(InputError, match="odd: its network's channels are not known"):
        inherited_network(model, tiny_plan())


def brain_tumour(dataset):
    names = ("background", "necrosis", "oedema", "non-enhancing tumour", "enhancing tumour")
    return replace(dataset, labels=tuple(Label(id=k, name=name) for k, name in enumerate(names)))


def test_auto_finds_a_brain_tumours_regions_and_says_what_is_painted_as_another(known):
    found, why = with_regions(brain_tumour(known[0]), load_recipe("auto"), None)
    assert [r.name for r in found.regions] == ["whole tumour", "tumour core", "enhancing tumour"]
    assert "non-enhancing tumour is painted as necrosis" in why


def test_regions_are_left_alone_where_they_are_listed_not_wanted_or_not_known(known):
    dataset, auto = brain_tumour(known[0]), load_recipe("auto")
    listed = replace(dataset, regions=(Region(name="all", members=(1, 2, 3, 4), paint=1),))
    assert with_regions(listed, auto, None) == (listed, "")
    assert with_regions(known[0], auto, None) == (known[0], "")
    labels_alone = load_recipe("auto", ["data.regions=data-set"])
    assert with_regions(dataset, labels_alone, None) == (dataset, "")
    with pytest.raises(InputError, match=r"data\.regions brain-tumour"):
        with_regions(known[0], load_recipe("msd-brain-tumour"), None)


def test_a_model_of_labels_is_tuned_on_labels(known):
    dataset = brain_tumour(known[0])
    model = Model(tiny_unetr(), tiny_plan())
    assert with_regions(dataset, load_recipe("auto"), model) == (dataset, "")


def test_few_scans_of_organs_without_a_scale_of_their_own_change_structures():
    plan = tiny_plan()
    whole = [Postprocessing(label=label.id, largest_component=True) for label in plan.labels[1:]]
    organs = plan.model_copy(update={"postprocessing": tuple(whole)})
    assert structure_probability("plan", organs, 49) > 0
    assert structure_probability("plan", organs, 50) == 0
    ct = (Normalisation(kind="range", low=-1000.0, high=1000.0),) * len(plan.channels)
    region = Region(name="all", members=(1,), paint=1)
    for other in (
        plan,
        organs.model_copy(update={"postprocessing": tuple(whole[1:])}),
        organs.model_copy(update={"normalisation": ct}),
        organs.model_copy(update={"regions": (region,)}),
    ):
        assert structure_probability("plan", other, 12) == 0
        assert structure_probability(0.3, other, 500) == 0.3
    assert structure_probability(0.0, organs, 12) == 0


def test_few_scans_of_whole_structures_are_told_that_these_change_brightness(tmp_path):
    data = write_phantoms(tmp_path / "data", cases=10)
    for setting, often in (("plan", 0.2), ("0", 0.0)):
        settings = (*TINY, f"augmentation.structure_p={setting}")
        watcher = Heard()
        order = Order(data, tmp_path / "run", settings=settings, max_steps=1)
        recipe = decide(order, torch.device("cpu"), 1, watcher).recipe
        assert recipe.augmentation.structure_p == often
        assert any("--set augmentation.structure_p=0" in line for line in watcher.lines) == (
            setting == "plan"
        )
