"""Recipes: the paper's numbers, single fields overruled, and errors that name the near ones."""

import pytest

from unetr.errors import InputError
from unetr.training.recipe_toml import load_recipe, recipe_names, to_toml


def test_the_papers_recipes_to_the_letter():
    btcv, spleen, brain = (load_recipe(n) for n in ("btcv", "msd-spleen", "msd-brain-tumour"))
    for recipe in (btcv, spleen, brain):
        assert (recipe.training.lr, recipe.training.batch) == (1e-4, 6)
        assert recipe.training.max_steps == 20_000
        network = recipe.network
        assert (network.hidden_size, network.mlp_dim, network.num_heads) == (768, 3072, 12)
        assert (network.num_layers, network.skip_layers) == (12, (3, 6, 9))
        assert recipe.data.spacing_mm == (1.0, 1.0, 1.0)
        assert recipe.data.token_voxels == (16, 16, 16)
        assert recipe.data.overlap == 0.5
        assert recipe.sampling.foreground == 0.5
        assert recipe.augmentation.flip_axes == "all"
        assert recipe.augmentation.rot90_planes == "all"
        assert recipe.augmentation.structure_p == recipe.augmentation.appearance_p == 0
        assert recipe.network.feature_size == 16
        assert recipe.loss.squared
        assert recipe.loss.include_background
    assert btcv.data.patch_voxels == spleen.data.patch_voxels == (96, 96, 96)
    assert brain.data.patch_voxels == (128, 128, 128)
    assert (btcv.data.normalisation, btcv.data.window_hu) == ("window", (-1000.0, 1000.0))
    assert spleen.data.normalisation == "foreground"
    assert brain.data.normalisation == "zscore-nonzero"
    assert brain.data.regions == "brain-tumour"


def test_the_published_codes_recipe_differs():
    recipe = load_recipe("btcv-monai")
    assert recipe.data.spacing_mm == (1.5, 1.5, 2.0)
    assert recipe.data.window_hu == (-175.0, 250.0)
    assert recipe.sampling.crops_per_case == 4
    assert recipe.training.weight_decay == 1e-5
    assert recipe.network.skip_layers == (4, 7, 10)
    assert recipe.training.warmup * recipe.training.max_steps == 50 * 24
    augmentation = recipe.augmentation
    assert (augmentation.flip_p, augmentation.rot90_p) == (0.2, 0.2)
    assert augmentation.rot90_planes == "axial"  # RandRotate90d turns the first two axes
    assert (augmentation.intensity_scale_p, augmentation.intensity_shift_p) == (0.1, 0.1)
    assert (augmentation.intensity_scale, augmentation.intensity_shift) == (0.1, 0.1)
    assert recipe.data.crop.threshold == -175.0
    assert (recipe.data.overlap, recipe.data.blend) == (0.5, "constant")
    assert recipe.loss.smooth == (0.0, 1e-6)


def test_fields_are_overruled():
    settings = ["training.lr=3e-4", "network.name=segresnet", "data.spacing_mm=[1, 1, 3]"]
    recipe = load_recipe("auto", settings)
    assert recipe.training.lr == 3e-4
    assert recipe.network.name == "segresnet"
    assert recipe.data.spacing_mm == (1.0, 1.0, 3.0)
    assert load_recipe("auto").network.stem
    assert load_recipe("auto", ["data.orientation=LPS"]).data.orientation == "LPS"
    assert load_recipe("auto", ["augmentation.gamma=[1, 1]"]).augmentation.gamma == (1.0, 1.0)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("training.learning_rate=1", r"no field 'training.learning_rate'.*training\."),
        ("trainng.lr=1", r"no field 'trainng.lr'; near are training.lr"),
        ("lr=1", r"no field 'lr'; near are training.lr"),
        ("training.lr", r"give it as section.key=value"),
        ("training.lr=-1", r"training.lr: .*greater than 0"),
        ("network.name=unet", r"network.name"),
        ("data.overlap=1.5", r"data\.overlap: .*less than 1"),
        ("data.orientation=XYZ", r"data\.orientation: XYZ is not L or R, then A or P"),
        ("data.orientation=SRA", r"data\.orientation: SRA is not .* keep their order"),
        ("data.window_hu=[5, -5]", r"data\.window_hu: 5 is not below -5; correct its value"),
        ("data.window_hu=[5, 5]", r"data\.window_hu: 5 is not below 5"),
        ("data.window_hu=[-inf, 5]", r"data\.window_hu\.0: .*finite"),
        ("data.spacing_mm=[0, 1, 1]", r"data\.spacing_mm\.0: .*greater than 0"),
        ("data.spacing_mm=[1, nan, 1]", r"data\.spacing_mm\.1: "),
        ("data.patch_voxels=[32, 0, 32]", r"data\.patch_voxels\.1: .*greater than or equal to 1"),
        ("data.mirror_axes=[3]", r"data\.mirror_axes\.0: "),
        ("data.mirror_axes=[0, 0]", r"data\.mirror_axes: an axis is named twice"),
        ("augmentation.low_resolution=[0, 1]", r"augmentation\.low_resolution\.0: .*than 0"),
        ("augmentation.gamma=[2, 1]", r"augmentation\.gamma: 2 is above 1; the smaller one comes"),
        ("augmentation.flip_p=1.5", r"augmentation\.flip_p: .*less than or equal to 1"),
        ("augmentation.structure_p=2", r"augmentation\.structure_p: .*equal to 1 or .*'plan';"),
        ("training.seed=-1", r"training\.seed: .*greater than or equal to 0"),
        ("training.seed=20261126120000", r"training\.seed: .*less than or equal to 1000000000"),
        ("network.num_heads=0", r"network\.num_heads: .*greater than or equal to 1"),
        ("network.feature_size=-8", r"network\.feature_size: .*greater than or equal to 1"),
        ("augmentation.noise=-1", r"augmentation\.noise: .*greater than or equal to 0"),
        ("training.lr=inf", r"training\.lr: .*finite"),
        ("training.max_minutes=inf", r"training\.max_minutes: .*finite"),
        ("training.clip_norm=nan", r"training\.clip_norm: "),
        ("loss.smooth=[0, 0]", r"loss\.smooth\.1: .*greater than 0"),
        ("loss.dice_weight=-1", r"loss\.dice_weight: .*greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_told_in_one_line(setting, told):
    with pytest.raises(InputError, match=told) as caught:
        load_recipe("auto", [setting])
    assert "\n" not in str(caught.value)


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"loss: dice_weight and ce_weight are both 0"):
        load_recipe("auto", ["loss.dice_weight=0", "loss.ce_weight=0"])


def test_unknown_recipes_and_files(tmp_path):
    with pytest.raises(InputError, match="known are auto, btcv, btcv-monai, msd-brain-tumour"):
        load_recipe("btvc")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(InputError, match="not TOML"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "old.toml").write_bytes("name = 'Schädel'".encode("latin-1"))
    with pytest.raises(InputError, match=r"old\.toml: is not UTF-8; save it in that encoding"):
        load_recipe(tmp_path / "old.toml")
    (tmp_path / "flat.toml").write_text("name = 'flat'\ndata = 3\n")
    with pytest.raises(InputError, match=r"recipe .*flat\.toml: data: .*; correct its value"):
        load_recipe(tmp_path / "flat.toml", ["data.overlap=0.5"])
    (tmp_path / "odd.toml").write_text("name = 'odd'\n[training]\nlearnrate = 1\n")
    with pytest.raises(InputError, match=r"no field 'training\.learnrate'"):
        load_recipe(tmp_path / "odd.toml")


@pytest.mark.parametrize("name", ["auto", "btcv", "btcv-monai", "msd-spleen", "msd-brain-tumour"])
def test_toml_reads_back_as_the_same_recipe(tmp_path, name):
    assert name in recipe_names()
    recipe = load_recipe(name, ["training.max_minutes=12.5"])
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "recipe.toml") == recipe
