"""The commands as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command
from segkit import __version__


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train",
        "evaluate",
        "predict",
        "models",
        "datasets",
        "losses",
        "metrics",
        "recipes",
        "settings",
        "info",
        "plugins",
        "data",
        "data synth",
    ],
)
def test_every_command_has_help(segkit: Command, command: str) -> None:
    for flag in ("--help", "-h"):
        done = segkit(*command.split(), flag)
        assert done.code == 0 and "Usage" in done.out


def test_every_setting_is_listed_and_can_be_typed(segkit: Command) -> None:
    listed = json.loads(segkit("settings", "--json").out)
    assert {"preprocess.size", "augment.rotate", "split.val", "train.lr"} <= {row["key"] for row in listed}
    words = [word for row in listed if row["default"] != "auto" for word in ("-o", f"{row['key']}={row['default']}")]
    told = segkit("train", "--dataset", "phantom", "--model", "unet", *words, "-o", "train.device=nonsense")
    assert "--device nonsense" in told.err  # all others were taken
    assert "split.val" not in segkit("settings", "train").out
    assert segkit("settings", "trian").code == 2


def test_the_version(segkit: Command) -> None:
    assert segkit("--version").out.strip() == f"segkit {__version__}"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "segkit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"segkit {__version__}"


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("models", {"unet", "resunet"}),
        ("datasets", {"phantom", "folder", "polyp", "lgg", "figshare", "brain-coco"}),
        ("losses", {"bce", "cross-entropy", "focal", "dice", "dice-focal"}),
        ("metrics", {"dice", "iou", "precision", "recall", "specificity", "pixel-accuracy", "accuracy", "confusion"}),
    ],
)
def test_what_ships_is_listed_for_people_and_programs(segkit: Command, group: str, names: set[str]) -> None:
    listed = json.loads(segkit(group, "--json").out)
    assert names <= {item["name"] for item in listed}
    assert all({"name", "plugin", "distribution", "version", "summary"} <= set(item) for item in listed)
    table = segkit(group).out
    assert all(name in table for name in names) and f"segkit-med {__version__}" in table


@pytest.mark.parametrize("group", ["models", "datasets", "losses", "metrics"])
def test_each_one_shows_its_options(segkit: Command, group: str) -> None:
    for item in json.loads(segkit(group, "--json").out):
        document = json.loads(segkit(group, item["full_name"], "--json").out)
        assert all({"name", "type", "default", "help"} == set(option) and option["help"] for option in document["options"])
        assert segkit(group, item["name"]).code == 0


def test_a_model_is_counted_with_its_options(segkit: Command) -> None:
    # a 1x1 convolution and a batch norm at the end: 1 + 1 + 2 parameters for width 1, and so on up
    whole = json.loads(segkit("models", "unet", "--channels", "3", "--classes", "1", "--json").out)
    slim = json.loads(segkit("models", "unet", "--channels", "3", "--classes", "1", "-o", "model.width=16", "--json").out)
    assert slim["parameters"] < whole["parameters"] / 15
    assert "31,390,723" in segkit("models", "unet", "--channels", "3", "--classes", "1").out


def test_a_dataset_tells_homepage_licence_and_tree(segkit: Command) -> None:
    told = segkit("datasets", "polyp").out
    for words in ("https://", "research", "Ground Truth"):
        assert words in told


def test_info_shows_the_header(segkit: Command, trained: Path) -> None:
    document = json.loads(segkit("info", trained, "--json").out)
    assert document["model"]["name"] == "unets/unet" and document["preprocess"]["size"] == [32, 32]
    assert document == json.loads(segkit("info", trained / "model.safetensors", "--json").out)
    assert "unets/unet" in segkit("info", trained).out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["info", "nowhere"], 2, "nowhere does not exist"),
        (["evaluate", "."], 2, "no model.safetensors"),
        (["models", "unet", "--channels", "0"], 2, "--channels"),
        (["models", "unet", "-o", "model.depth=99"], 2, "model.depth"),
        (["train", "--config", "nowhere.toml"], 2, "nowhere.toml cannot be read"),
        (["train", "--config", "a", "--recipe", "b"], 2, "both starting points"),
        (["data", "synth", "polip", "--out", "x"], 2, "'polyp'"),
        (["train", "--dataset", "polyp", "--data-dir", "nowhere", "--model", "unet"], 2, "nowhere is not a folder"),
    ],
)
def test_wrong_use_is_told_in_words(
    segkit: Command, words: list[str], code: int, told: str, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    done = segkit(*words)
    assert done.code == code and told in done.err and "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_wherever_it_stands(segkit: Command) -> None:
    from segkit.errors import UsageError

    for words in (["--debug", "models", "resnuet"], ["models", "resnuet", "--debug"]):
        with pytest.raises(UsageError):
            segkit(*words)


def test_an_absent_polyp_copy_says_all_that_helps(segkit: Command, tmp_path: Path) -> None:
    (tmp_path / "Orignal").mkdir()
    told = segkit("train", "--dataset", "polyp", "--data-dir", tmp_path, "--model", "unet")
    assert told.code == 2
    for words in (
        str(tmp_path),
        "Looked for: Original/, Ground Truth/",
        "Found there: Orignal/",
        "Expected tree",
        "https://",
        "phantom",
    ):
        assert words in told.err


@pytest.mark.parametrize("name", ["phantom", "folder", "polyp"])
def test_made_up_data_is_the_same_for_the_same_seed_and_never_overwrites(segkit: Command, tmp_path: Path, name: str) -> None:
    for out, seed in (("one", 1), ("two", 1), ("three", 2)):
        assert segkit("data", "synth", name, "--cases", "2", "--seed", seed, "--out", tmp_path / out).code == 0
    contents = [
        [path.read_bytes() for path in sorted((tmp_path / out).rglob("*")) if path.is_file()]
        for out in ("one", "two", "three")
    ]
    assert contents[0] == contents[1] != contents[2]
    assert segkit("data", "synth", name, "--out", tmp_path / "one").code == 2
