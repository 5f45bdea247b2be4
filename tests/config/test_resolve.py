"""One record from a starting point, flags and -o; complete only when the data is known."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from segkit import plugins
from segkit.config.complete import Config, complete_config, to_toml
from segkit.config.resolve import gather, resolve_config
from segkit.config.summary import summarize
from segkit.errors import UsageError
from segkit.task import Dataset, Task


def record(*assignments: str, base: dict | None = None, **flags: object) -> Config:  # type: ignore[type-arg]
    """The complete record of a command line."""
    catalogue = plugins.load()
    flags = {"dataset": "phantom", "model": "unet", **flags} if base is None else flags
    config = resolve_config(gather(base or {}, flags, assignments), catalogue)
    dataset = config.dataset.spec.load()(config.root, config.dataset.options)
    return complete_config(config, dataset, catalogue)


def test_flags_are_short_for_keys() -> None:
    config = record(loss="focal", epochs="7", augment="none", split="case", metrics=["dice"])
    assert config.loss is not None and config.loss.name == "losses/focal"
    assert (config.train.epochs, config.augment.policy, config.split.by) == (7, "none", "case")


@pytest.mark.parametrize("text", ["5", "5,5", "9,1", "1,2,3"])
def test_a_range_has_a_low_and_a_higher_end(text: str) -> None:
    with pytest.raises(UsageError, match=r"preprocess.range"):
        record("preprocess.intensity=range", f"preprocess.range={text}")
    assert record("preprocess.intensity=range", "preprocess.range=-160,240").preprocess.range == (-160, 240)


def test_the_standard_augmentation_turns_and_scales_images_more_than_volumes() -> None:
    images, volumes = record().augment, record("dataset.dims=3", model="unet3d").augment
    assert (images.rotate, images.scale, volumes.rotate, volumes.scale) == (60, 0.35, 15, 0.2)
    assert record("augment.rotate=10", "dataset.dims=3", model="unet3d").augment.rotate == 10


def test_the_last_word_on_the_command_line_wins() -> None:
    assert record("train.epochs=9", epochs="7").train.epochs == 9


def test_what_is_not_typed_is_filled_in_from_the_data() -> None:
    config = record()
    assert config.loss is not None and config.loss.name == "losses/dice-ce"
    assert [metric.spec.name for metric in config.metrics][:2] == ["dice", "iou"]
    assert (config.augment.flip, config.augment.rotate, config.augment.blur) == (0.5, 60.0, 1.0)
    assert record(seed="5").split.seed == 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("augment.policy=none", "none"),
        ("augment.policy=light", "light: flip 0.5"),
        ("augment.policy=light augment.flip=0.5,0", "light: flip 0.5,0"),
        ("augment.policy=light augment.flip=0,0", "light"),
        ("augment.policy=none augment.noise=0.1 augment.chance=1", "none: noise 0.1, chance 1"),
    ],
)
def test_the_summary_names_the_augmentation_that_is_on(words: str, line: str) -> None:
    assert f"augment     {line}" in summarize(record(*words.split())).splitlines()


def test_a_record_from_before_an_option_of_augment_existed_takes_its_policys() -> None:
    base = {"dataset": {"name": "phantom"}, "model": {"name": "unet"}, "augment": {"policy": "light", "rotate": 10.0}}
    augment = record(base=base).augment
    assert (augment.flip, augment.rotate, augment.elastic) == (0.5, 10.0, 0.0)


def test_one_size_fits_all_axes_and_a_wrong_number_of_axes_is_refused() -> None:
    assert record("preprocess.size=64").preprocess.size == (64, 64)
    assert record("preprocess.size=64,32").preprocess.size == (64, 32)
    with pytest.raises(UsageError, match="has 3 numbers, the network 2 axes"):
        record("preprocess.size=64,64,64")


def test_flips_have_one_probability_or_one_for_each_axis_that_the_network_sees() -> None:
    assert record("augment.flip=0.25").augment.flip == 0.25
    flips = record("augment.flip=0.5,0")
    assert flips.augment.flip == (0.5, 0.0)
    assert record(base=to_toml(flips)).augment.flip == (0.5, 0.0)
    assert record("augment.flip=0,0").augment.flip == 0  # so that it counts as off
    slices = ["dataset.dims=3", "augment.flip=0.5,0"]
    assert record(*slices).augment.flip == (0.5, 0.0)  # a 2D model on volumes
    with pytest.raises(UsageError, match=r"augment.flip has 3 numbers, the network 2 axes"):
        record("augment.flip=0.5,0,0", "dataset.dims=3")
    with pytest.raises(UsageError, match=r"augment.flip = '0.5,2' is out of range"):
        record("augment.flip=0.5,2")


def test_a_spacing_for_the_wrong_number_of_axes_is_told() -> None:
    with pytest.raises(UsageError, match=r"preprocess.spacing has 3 numbers, the data 2 axes"):
        record("preprocess.spacing=1,1,2")


@given(
    width=st.integers(1, 64),
    size=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    lr=st.floats(1e-8, 1),
    loss=st.sampled_from(["bce", "focal", "dice", "dice-focal"]),
    allow_leak=st.booleans(),
    rotate=st.none() | st.floats(0, 180),
)
def test_run_toml_gives_the_same_record_again(
    width: int, size: tuple[int, int], lr: float, loss: str, allow_leak: bool, rotate: float | None
) -> None:
    words = [
        f"model.width={width}",
        f"preprocess.size={size[0]},{size[1]}",
        f"train.lr={lr!r}",
        f"split.allow_leak={allow_leak}",
    ]
    words += [f"augment.rotate={rotate!r}"] if rotate is not None else []
    first = record(*words, loss=loss)
    assert record(base=tomllib.loads(tomli_w.dumps(to_toml(first)))) == first


def test_what_is_typed_wins_over_the_configuration_and_another_model_takes_none_of_its_options() -> None:
    base = {"dataset": {"name": "phantom", "size": 64}, "model": {"name": "unet", "width": 8}, "train": {"epochs": 3}}
    assert record(base=base, epochs="5").train.epochs == 5
    assert record(base=base).model.options.width == 8
    assert record(base=base, model="resunet").model.options.width == 64


def test_the_same_name_typed_again_keeps_its_options() -> None:
    base = to_toml(record("model.width=8", "dataset.size=64", "loss.ce=3"))
    again = record(base=base, model="unet", dataset="phantom", loss="dice-ce")
    assert (again.model.options.width, again.dataset.options.size, again.loss.options.ce) == (8, 64, 3)  # type: ignore[union-attr]


def test_an_option_of_the_loss_needs_no_name_of_it() -> None:
    loss = record("loss.ce=3").loss
    assert loss is not None and (loss.name, loss.options.ce) == ("losses/dice-ce", 3)


@pytest.mark.parametrize("base", [{"dataset": "polyp"}, {"train": [1, 2]}, {"metrics": {"dice": 3}}])
def test_a_section_that_is_no_table_is_told(base: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match="is not a table"):
        record(base=base)


@pytest.mark.parametrize("value", ["5000000000", "1" * 400, "-1", "1e400"])
def test_impossible_seeds_are_told(value: str) -> None:
    with pytest.raises(UsageError, match=r"train\.seed"):
        record(f"train.seed={value}")


def test_a_3d_model_on_2d_data_is_refused_in_words(install) -> None:  # type: ignore[no-untyped-def]
    install("acme", "from segkit.api import ModelSpec, hookimpl\n@hookimpl\ndef segkit_models():\n"
            "    return [ModelSpec('cube-net', 'a 3D model', target='nowhere:build', dims=(3,))]")  # fmt: skip
    with pytest.raises(UsageError, match="'cube-net' takes 3D images; the dataset 'phantom' has 2D ones"):
        record(model="cube-net")


GRID_NET = """
from dataclasses import dataclass
from segkit.api import ModelSpec, hookimpl, option

@dataclass(frozen=True)
class Options:
    size: tuple[int, ...] | None = option(None, "grid")

@hookimpl
def segkit_models():
    return [ModelSpec("grid-net", "a model", target="nowhere:build", options=Options)]
"""


def test_a_model_option_called_size_is_filled_from_the_preprocessing(install) -> None:  # type: ignore[no-untyped-def]
    install("acme", GRID_NET)
    assert record("preprocess.size=48", model="grid-net").model.options.size == (48, 48)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("width=3", "not SECTION.KEY"),
        ("model.width", "not SECTION.KEY=VALUE"),
        ("modle.width=3", "no section 'modle'"),
        ("metrics.dice=3", "not metrics.NAME.KEY"),
    ],
)
def test_a_wrong_assignment_is_told(assignment: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        record(assignment)


def test_an_unknown_section_in_a_file_is_told() -> None:
    with pytest.raises(UsageError, match="unknown section 'trian'"):
        record(base={"trian": {}})


def test_a_loss_that_does_not_take_the_masks_is_refused() -> None:
    with pytest.raises(UsageError, match="'cross-entropy' does not take binary masks"):
        record(loss="cross-entropy")


def test_a_dataset_without_its_folder_says_what_is_expected() -> None:
    with pytest.raises(UsageError) as error:
        record(dataset="polyp")
    for words in ("--data-dir", "Ground Truth/", "https://", "--dataset phantom"):
        assert words in str(error.value)


def test_multiclass_masks_get_a_loss_that_takes_them() -> None:
    catalogue = plugins.load()
    config = resolve_config(gather({}, {"dataset": "phantom", "model": "unet"}, []), catalogue)
    dataset = Dataset(Task(3, ("background", "a", "b"), mode="multiclass"), (), read=lambda case: None)  # type: ignore[arg-type, return-value]
    loss = complete_config(config, dataset, catalogue).loss
    assert loss is not None and "multiclass" in loss.spec.modes


ENCODED = """
from dataclasses import dataclass
from segkit.api import ModelSpec, hookimpl, option

@dataclass(frozen=True)
class Options:
    encoder: str = option("resnet18", "timm's name")

@hookimpl
def segkit_models():
    return [ModelSpec("coded-net", "a model", target="acme_module:build", options=Options)]

def build(task, options):
    import torch
    return torch.nn.Conv2d(task.channels, task.outputs, 1)
"""


def test_the_encoders_own_mean_and_std_come_from_timm_and_stand_in_the_record(install, segkit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", ENCODED)
    words = (
        "train --dataset phantom -o dataset.cases=4 -o dataset.size=16 -o preprocess.intensity=encoder --epochs 1".split()
    )
    name = "vit_base_patch16_224.augreg_in21k_ft_in1k"  # its published mean and std are 0.5, unlike ImageNet's
    assert segkit(*words, "--model", "coded-net", "-o", f"model.encoder={name}", "--out", tmp_path / "run").code == 0
    written = tomllib.loads((tmp_path / "run" / "run.toml").read_text())["preprocess"]
    assert (written["mean"], written["std"]) == ([0.5] * 3, [0.5] * 3)
    assert segkit("evaluate", tmp_path / "run").code == 0
    gray = ["--model", "coded-net", "-o", "model.encoder=resnet18", "-o", "dataset.colour=false"]
    assert segkit(*words, *gray, "--out", tmp_path / "gray").code == 0
    written = tomllib.loads((tmp_path / "gray" / "run.toml").read_text())["preprocess"]
    assert written["mean"] == pytest.approx([(0.485 + 0.456 + 0.406) / 3])  # ImageNet's, over its three channels
    assert segkit("evaluate", tmp_path / "gray").code == 0
    told = segkit(*words, "--model", "coded-net", "-o", "model.encoder=nonsense")
    assert told.code == 2 and "no pretrained encoder 'nonsense'" in told.err
    told = segkit(*words, "--model", "unet")
    assert told.code == 2 and "has no option 'encoder'" in told.err


def test_a_recipe_is_a_starting_point(install, segkit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    site = install("acme", "from segkit.api import RecipeSpec, hookimpl\n@hookimpl\ndef segkit_recipes():\n"
            "    return [RecipeSpec('quick', 'a quick look', target='acme_recipes:quick.toml')]")  # fmt: skip
    package = site / "acme_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    recipe = [
        "[dataset]",
        'name = "phantom"',
        "cases = 6",
        "size = 16",
        "[model]",
        'name = "unet"',
        "width = 2",
        "depth = 1",
    ]
    (package / "quick.toml").write_text("\n".join([*recipe, "[train]", "epochs = 9"]))
    assert "quick" in segkit("recipes").out
    done = segkit("train", "--recipe", "quick", "--epochs", "1", "--out", tmp_path / "run")
    assert done.code == 0
    written = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert (written["model"]["width"], written["train"]["epochs"], written["dataset"]["cases"]) == (2, 1, 6)
    assert written["recipe"] == {"name": "acme/quick"}
    assert written["plugins"]["acme"] == {"distribution": "acme", "version": "1.2.3"}
    assert segkit("train", "--config", tmp_path / "run", "--out", tmp_path / "again").code == 0
    assert tomllib.loads((tmp_path / "again" / "run.toml").read_text())["recipe"] == {"name": "acme/quick"}
