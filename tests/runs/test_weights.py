"""Weights are read without executing anything, and a file that is not ours is refused in words."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from conftest import Command, history
from segkit import plugins
from segkit.errors import SegkitError
from segkit.models.build import load_model
from segkit.runs.weights import read_header


def rewrite(source: Path, target: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """Copy a weights file with its header document changed."""
    header = read_header(source).to_dict()
    change(header)
    save_file(load_file(source), target, metadata={"segkit": json.dumps(header)})
    return target


def test_the_header_says_all_that_rebuilding_needs(trained: Path) -> None:
    header = read_header(trained / "model.safetensors")
    assert (header.model, header.distribution) == ("unets/unet", "segkit-med")
    assert header.options["width"] == 4 and header.options["depth"] == 2 and header.options["upsample"] == "nearest"
    assert header.task.classes == ("background", "target")
    assert header.preprocess.size == (32, 32)
    assert "val_dice" in header.metrics


REMEMBERED = """
from dataclasses import dataclass
from segkit.api import ModelSpec, hookimpl, option

MADE = []

@dataclass(frozen=True)
class Options:
    slope: float = option(0.1, "of its leaky ReLU: no tensor tells it")

@hookimpl
def segkit_models():
    return [ModelSpec("remembered", "networks that can be asked for", target="acme_module:build", options=Options)]

def build(task, options):
    from torch import nn
    first, last = nn.Conv2d(task.channels, 4, 3, padding=1), nn.Conv2d(4, task.outputs, 1)
    MADE.append(nn.Sequential(first, nn.BatchNorm2d(4), nn.LeakyReLU(options.slope), last))
    return MADE[-1]
"""


def test_the_file_of_a_run_gives_the_logits_of_the_very_network_that_was_trained(
    segkit: Command, install: Callable[..., None], tmp_path: Path
) -> None:
    """Without validation the last weights are kept: those that the network in memory has."""
    install("acme", REMEMBERED)
    words = "train --dataset phantom --model remembered -o model.slope=0.7 -o dataset.cases=8 -o dataset.size=16 --epochs 2"
    assert segkit(*words.split(), "-o", "split.val=0", "--lr", "0.01", "--out", tmp_path / "run").code == 0
    trained = sys.modules["acme_module"].MADE[-1].eval()
    _, _, loaded = load_model(tmp_path / "run" / "model.safetensors")
    assert loaded is not trained and not loaded.training
    ours, theirs = loaded.state_dict(), trained.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), trained(x), rtol=0, atol=1e-6)


def test_the_kept_weights_score_in_evaluate_what_the_best_epoch_did_in_its_validation(
    segkit: Command, tmp_path: Path
) -> None:
    """With a learning rate too large, the best of these epochs is not the last."""
    run = tmp_path / "run"
    words = "train --dataset phantom --model resunet -o dataset.cases=12 -o dataset.size=24 -o preprocess.size=24"
    more = "-o model.width=2 -o model.depth=2 --batch-size 4 --epochs 12 --lr 0.03".split()
    as_it_is = ["-o", "train.smoothing=0", "-o", "train.batch_norm=running"]  # which makes it worse at times
    as_it_is += ["-o", "augment.rotate=15", "-o", "augment.scale=0.2"]
    assert segkit(*words.split(), *more, *as_it_is, "--out", run).code == 0
    rows = history(run)
    best = max(rows, key=lambda row: float(row["val_dice"]))  # what is monitored
    assert best is not rows[-1] and best["val_dice/target"] != rows[-1]["val_dice/target"]
    document = json.loads(segkit("evaluate", run, "--subset", "val", "--json").out)
    for name in ("dice/target", "precision/target", "recall/target"):
        assert document["figures"]["per_case"][name]["mean"] == pytest.approx(float(best[f"val_{name}"]), abs=1e-6)


def test_what_a_header_says_of_input_sizes_is_that_of_the_network(trained: Path) -> None:
    header, spec, model = load_model(trained / "model.safetensors")
    assert header.stride == (4, 4) and spec.name == "unet"
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 8, 12)).shape == (1, 1, 8, 12)


def test_a_pickle_called_safetensors_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "exploded",))

    file = tmp_path / "model.safetensors"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SegkitError, match="not a safetensors file"):
        load_model(file)
    assert not (tmp_path / "exploded").exists()


def test_a_foreign_safetensors_file_is_told_from_ours(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SegkitError, match="not one that segkit wrote"):
        read_header(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("task"),
        lambda header: header["task"].update(classes=["one"]),
        lambda header: header["task"].update(channels="three"),
        lambda header: header["model"].update(name=7),
        lambda header: header["model"].update(stride=[0, 0]),
        lambda header: header["model"].update(options=[]),
        lambda header: header["preprocess"].update(fit="explode"),
        lambda header: header.update(format="x"),
    ],
)
def test_a_tampered_header_is_one_clear_error(trained: Path, tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    file = rewrite(trained / "model.safetensors", tmp_path / "model.safetensors", change)
    with pytest.raises(SegkitError, match="damaged"):
        read_header(file)


def test_a_newer_format_says_upgrade(trained: Path, tmp_path: Path) -> None:
    file = rewrite(trained / "model.safetensors", tmp_path / "model.safetensors", lambda header: header.update(format=2))
    with pytest.raises(SegkitError, match="newer") as error:
        read_header(file)
    assert "pip install --upgrade segkit-med" in error.value.hint


def test_options_that_do_not_fit_the_tensors_are_refused(trained: Path, tmp_path: Path) -> None:
    file = rewrite(
        trained / "model.safetensors",
        tmp_path / "model.safetensors",
        lambda header: header["model"]["options"].update(width=8),
    )
    with pytest.raises(SegkitError, match="do not match unets/unet"):
        load_model(file)


def test_a_header_cannot_name_an_import_path(trained: Path, tmp_path: Path) -> None:
    def change(header: dict) -> None:  # type: ignore[type-arg]
        header["model"]["name"] = "os:system"

    file = rewrite(trained / "model.safetensors", tmp_path / "model.safetensors", change)
    with pytest.raises(SegkitError, match="not installed"):
        load_model(file)


def test_a_missing_plugin_is_named_with_its_package(trained: Path, tmp_path: Path) -> None:
    def change(header: dict) -> None:  # type: ignore[type-arg]
        header["model"].update(name="wonder/wonder-net", distribution="segkit-wonder", version="9.1")

    file = rewrite(trained / "model.safetensors", tmp_path / "model.safetensors", change)
    with pytest.raises(SegkitError, match=r"segkit-wonder 9.1") as error:
        load_model(file)
    assert error.value.hint == "pip install segkit-wonder"


def test_only_the_plugin_of_the_model_is_loaded(trained: Path) -> None:
    plugins.load.cache_clear()
    load_model(trained / "model.safetensors")
    assert [plugin.name for plugin in plugins.load("unets").plugins] == ["unets"]


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_crash_the_header_reader(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(SegkitError):
        read_header(file)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_crashes_the_header_reader(tmp_path: Path, document: object) -> None:
    file = tmp_path / "model.safetensors"
    text = json.dumps({"__metadata__": {"segkit": json.dumps(document)}}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(SegkitError):
        read_header(file)


def test_weights_can_be_read_by_whoever_may_read_other_new_files(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    assert (trained / "model.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode
