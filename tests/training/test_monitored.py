"""Any metric of any plugin may decide best weights, plateau and early stopping, in its own direction."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command, history

PLUGIN = """
from segkit.api import Metric, MetricSpec, hookimpl

@hookimpl
def segkit_metrics():
    lower = {"higher_is_better": False, "unit": "mm"}
    return [
        MetricSpec("distance", "grows with each epoch", target="acme_module:build_distance", **lower),
        MetricSpec("merit", "grows with each epoch", target="acme_module:build_merit"),
        MetricSpec("matrix", "no direction", target="acme_module:build_merit", higher_is_better=None),
        MetricSpec("classy", "of classes alone", target="acme_module:build_merit", kinds=("classification",)),
    ]

calls = [0]

def growing(task, values):
    def measure(result):
        calls[0] += 1
        return {"n": 1, "call": calls[0]}
    return Metric(measure, values)

def build_distance(task, options):
    return growing(task, lambda counts: {"": counts["call"], "a/b": 1.0})

def build_merit(task, options):
    return growing(task, lambda counts: {"target": counts["call"]})
"""
SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=8 -o dataset.size=16 "
    "-o preprocess.size=16 --epochs 4"
).split()


@pytest.mark.parametrize(
    ("monitor", "epochs", "best"),
    [("distance", 3, 1), ("acme/distance", 3, 1), ("merit", 4, 4), ("merit/target", 4, 4), ("acme/merit/target", 4, 4)],
)
def test_a_metric_of_a_plugin_decides_in_its_own_direction(
    monitor: str, epochs: int, best: int, segkit: Command, install: Callable[..., Path], tmp_path: Path
) -> None:
    install("acme", PLUGIN)
    words = ["--monitor", monitor, "--patience", "2", "-o", "train.schedule=plateau", "-o", "train.plateau_patience=0"]
    done = segkit(*SMALL, *words, "--lr", "0.01", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    told, rows = json.loads(done.out), history(tmp_path / "run")
    assert (told["epochs"], told["best_epoch"], len(rows)) == (epochs, best, epochs)
    name = monitor.removeprefix("acme/")
    assert f"val_{name}" in rows[0] and f"val {name} " in done.err  # it is added to the metrics of the run
    rates = [float(row["lr"]) for row in rows]
    assert (rates[-1] < rates[0]) == (best == 1)  # the plateau has the same opinion
    record = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert record["train"]["monitor"] == name and f"acme/{name.partition('/')[0]}" in record["metrics"]


def test_the_default_is_the_mean_dice_of_the_foreground(trained: Path, segkit: Command) -> None:
    assert tomllib.loads((trained / "run.toml").read_text())["train"]["monitor"] == "dice"
    rows = history(trained)
    best = max(rows, key=lambda row: float(row["val_dice"]))
    assert json.loads(segkit("info", trained, "--json").out)["metrics"]["val_dice"] == pytest.approx(float(best["val_dice"]))


@pytest.mark.parametrize(
    ("monitor", "parts"),
    [
        ("dise", ["Did you mean 'dice'", "loss, dice, iou"]),
        ("matrix", ["has no direction", "Allowed: loss, dice"]),
        ("confusion", ["has no direction"]),
        ("classy", ["does not suit"]),
        ("dice/liver", ["no class 'liver'", "Allowed: dice, dice/target"]),
    ],
)
def test_what_cannot_be_monitored_is_refused_before_training(
    monitor: str, parts: list[str], segkit: Command, install: Callable[..., Path], tmp_path: Path
) -> None:
    install("acme", PLUGIN)
    done = segkit(*SMALL, "--monitor", monitor, "--out", tmp_path / "run")
    assert done.code == 2 and not (tmp_path / "run").exists()
    assert all(part in done.err for part in parts), done.err


def test_a_value_that_no_validation_gives_is_told_with_those_that_there_are(
    segkit: Command, install: Callable[..., Path], tmp_path: Path
) -> None:
    install("acme", PLUGIN)
    done = segkit(*SMALL, "--monitor", "distance/target", "--out", tmp_path / "run")
    assert done.code == 1 and "validation gives no such value" in done.err and "distance" in done.err


def test_direction_and_unit_are_shown_and_written(
    segkit: Command, install: Callable[..., Path], trained: Path, tmp_path: Path
) -> None:
    install("acme", PLUGIN)
    listed = {metric["name"]: metric for metric in json.loads(segkit("metrics", "--json").out)}
    assert (listed["distance"]["higher_is_better"], listed["distance"]["unit"]) == (False, "mm")
    assert listed["matrix"]["higher_is_better"] is None and listed["dice"]["higher_is_better"] is True
    assert "lower" in segkit("metrics").out and "better: lower" in segkit("metrics", "distance").out
    done = segkit("evaluate", trained, "--metric", "distance", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]
    assert metrics["distance"] == {"higher_is_better": False, "unit": "mm"}


def test_a_plugins_metric_of_the_confusion_table_is_followed_while_training(
    segkit: Command, install: Callable[..., Path], tmp_path: Path
) -> None:
    source = "from segkit.api import Metric, MetricSpec, count_confusion, hookimpl\n@hookimpl\ndef segkit_metrics():\n"
    source += "    return [MetricSpec('hits', 'TP', target='acme_module:build')]\n\ndef build(task, options):\n"
    source += "    return Metric(count_confusion, lambda counts: {'target': counts['confusion'][1, 1]})\n"
    install("acme", source)
    done = segkit(*SMALL, "--epochs", "1", "--metric", "hits", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    row = history(tmp_path / "run")[0]
    assert float(row["train_hits"]) >= 0 and float(row["train_hits/target"]) == float(row["train_hits"])
