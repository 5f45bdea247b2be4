"""Following a training: the history's figures, the progress line, trackers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from conftest import Command, history
from segkit import plugins
from segkit.config.complete import complete_metrics
from segkit.data.images import read_image
from segkit.evaluation.aggregate import build_metrics
from segkit.evaluation.confusion import count_confusion
from segkit.task import CaseResult, Metric, Task
from segkit.training.progress import add_sums
from segkit.training.running_metrics import RunningCounts

SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=24 -o dataset.size=16 "
    "-o preprocess.size=16"
).split()
THREE = Task(1, ("background", "edema", "core"), mode="multiclass")


def metrics_for(task: Task) -> dict[str, Metric]:
    return build_metrics(complete_metrics((), task, plugins.load()), task)


def test_the_figures_of_an_epoch_are_scikit_learns_over_all_its_pixels() -> None:
    draw = torch.Generator().manual_seed(0)
    counts, labels, truths = RunningCounts(THREE), [], []
    for _ in range(3):
        logits = torch.randn(2, 3, 8, 9, generator=draw)
        masks = torch.randint(0, 3, (2, 8, 9), generator=draw, dtype=torch.int32)
        counts.add(logits, masks)
        labels.append(logits.argmax(dim=1).flatten())
        truths.append(masks.flatten())
    found, mine, true = counts.figures(metrics_for(THREE)), torch.cat(labels).numpy(), torch.cat(truths).numpy()
    scores = {"dice": f1_score, "iou": jaccard_score, "precision": precision_score, "recall": recall_score}
    for name, score in scores.items():
        each = score(true, mine, labels=[1, 2], average=None)
        assert [found[f"{name}/edema"], found[f"{name}/core"]] == pytest.approx(list(each))
        assert found[name] == pytest.approx(each.mean())


def test_pixels_that_are_to_be_ignored_are_not_counted() -> None:
    """By hand: of four found pixels one is not to be judged and two are right."""
    task = Task(1, ("background", "polyp"), mode="binary", ignore_index=255)
    counts = RunningCounts(task)
    counts.add(torch.tensor([[[[1.0, 1.0, 1.0, 1.0, -1.0]]]]), torch.tensor([[[1, 1, 0, 255, 1]]]))
    found = counts.figures(metrics_for(task))
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 3)
    assert found["iou"] == pytest.approx(2 / 4) and found["dice"] == pytest.approx(4 / 6)


def test_figures_of_training_are_means_over_cases_as_those_of_validation_are() -> None:
    """By hand: the second case comes in two slices, in two batches, and the first of no targets has a Dice of 1."""
    task = Task(1, ("background", "polyp"))
    counts = RunningCounts(task)
    counts.add(
        torch.tensor([[[[-1.0, -1.0, -1.0]]], [[[1.0, 1.0, -1.0]]]]), torch.tensor([[[0, 0, 0]], [[1, 0, 1]]]), (3, 5)
    )
    counts.add(torch.tensor([[[[1.0, -1.0, -1.0]]]]), torch.tensor([[[1, 0, 0]]]), (5,))
    assert counts.figures(metrics_for(task), "per_case")["dice"] == pytest.approx((1 + 2 * 2 / (3 + 3)) / 2)
    assert counts.figures(metrics_for(task))["dice"] == pytest.approx(2 * 2 / (3 + 3))
    parts = [{"total": 1.0, "seen": 2, "seconds": 3.0, "by_case": counts.by_case}] * 2  # two processes, each with its share
    both = add_sums([*parts, {"total": 1.0, "seen": 1, "seconds": 1.0, "by_case": None}], task)
    assert both.counts.figures(metrics_for(task), "per_case") == counts.figures(metrics_for(task), "per_case")


def test_the_history_is_put_together_alike_on_both_sides(segkit: Command, tmp_path: Path) -> None:
    """Two trainings that learn nothing, on the same cases: what one trains on, the other validates."""
    words = [*SMALL, "-o", "model.norm=none", "-o", "model.head_norm=false", "--augment", "none", "--lr", "0", "--epochs", 1]
    words += ["-o", "model.init=keras", "--seed", 4, "-o", "split.seed=0", "-o", "split.test=0"]
    assert segkit(*words, "-o", "split.val=0.5", "--out", tmp_path / "run").code == 0
    (row,) = history(tmp_path / "run")
    scored = [segkit("evaluate", tmp_path / "run", "--subset", side, "--json") for side in ("train", "val")]
    figures = [json.loads(one.out)["figures"]["per_case"] for one in scored]
    for side, found in zip(("train", "val"), figures, strict=True):
        assert float(row[f"{side}_pixel-accuracy"]) == pytest.approx(found["pixel-accuracy"]["mean"], abs=1e-6)
        assert float(row[f"{side}_dice"]) == pytest.approx(found["dice"]["mean"], abs=1e-6)


@pytest.mark.parametrize("mode", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("ignore", [None, 7])
def test_the_device_counts_what_is_counted_of_a_case(mode: str, ignore: int | None) -> None:
    classes = ("background", "edema", "core")[: 2 if mode == "binary" else 3]
    task = Task(1, classes, mode=mode, ignore_index=ignore if mode != "multilabel" else None)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, task.outputs, 5, 6, generator=draw)
    masks = torch.randint(0, 2 if mode != "multiclass" else 3, (4, 2, 5, 6), generator=draw)
    masks = masks if mode == "multilabel" else masks[:, 0]
    if task.ignore_index is not None:
        masks[:, 0] = task.ignore_index
    counts = RunningCounts(task)
    counts.add(logits, masks)
    labels = logits.argmax(dim=1) if mode == "multiclass" else (logits > 0).long()
    labels = labels[:, 0] if mode == "binary" else labels
    tables = [
        count_confusion(CaseResult(one.numpy(), found.numpy(), true.numpy(), task))["confusion"]
        for one, found, true in zip(logits, labels, masks, strict=True)
    ]
    assert counts.counts is not None and np.array_equal(counts.counts.numpy(), np.sum(tables, axis=0))


@pytest.mark.usefixtures("pictures_drawn")
def test_the_history_holds_what_the_papers_draw(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "--epochs", 2, "-o", "dataset.classes=2", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    rows = history(tmp_path / "run")
    for side in ("train", "val"):
        assert f"{side}_loss" in rows[0] and f"{side}_seconds" in rows[0]
        for name in ("dice", "iou", "precision", "recall"):
            columns = [key for key in rows[0] if key.startswith(f"{side}_{name}/")]
            assert {f"{side}_{name}/target-1", f"{side}_{name}/target-2"} <= {*columns} and f"{side}_{name}" in rows[0]
    assert [row["epoch"] for row in rows] == ["1", "2"] and "lr" in rows[0]
    assert read_image(tmp_path / "run" / "curves.png").std() > 0


def test_tensorboard_gets_every_epoch_also_after_a_resume(segkit: Command, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", 2, "--tracker", "tensorboard", "--out", run).code == 0
    assert segkit("train", "--resume", run, "--epochs", 3).code == 0
    found: dict[int, float] = {}
    for path in (run / "tensorboard").rglob("events.out.*"):
        accumulator = events.EventAccumulator(str(path))
        accumulator.Reload()
        if "val/loss" in accumulator.Tags()["scalars"]:
            found |= {event.step: event.value for event in accumulator.Scalars("val/loss")}
    assert found == {int(row["epoch"]): pytest.approx(float(row["val_loss"])) for row in history(run)}
    assert len(found) == 3
