"""Several seeds: ordinary runs under one folder, on one split, and the mean and spread of what they come to."""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Command, history, same_weights
from processes import launch, start
from segkit.cli.app import run as run_segkit

SMALL = (
    "train --dataset phantom --model unet -o model.width=4 -o model.depth=1 -o dataset.cases=20 -o dataset.size=16 "
    "-o preprocess.size=16 --batch-size 4 --lr 0.01 --epochs 2"
).split()


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def split(run: Path) -> Any:
    return json.loads((run / "split.json").read_text())


def means(run: Path) -> Any:
    """The per-case means of a run's test, as `segkit evaluate` wrote them."""
    return json.loads((run / "test" / "metrics.json").read_text())["figures"]["per_case"]


def summary(folder: Path) -> Any:
    return json.loads((folder / "summary.json").read_text())


def without_times(document: Any) -> Any:
    times = ("seconds", "test_inference_ms")
    figures = {name: figure for name, figure in document["figures"].items() if name not in times}
    runs = [{**run, "values": {**run["values"], **dict.fromkeys(times, 0)}} for run in document["runs"]]
    return {**document, "run": "", "runs": runs, "figures": figures}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes that are killed: sums over several threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 4, 5 and 6, trained on one split."""
    folder = tmp_path_factory.mktemp("seeds") / "three"
    assert run_segkit([*SMALL, "--seed", "4", "--seeds", "3", "--out", str(folder), "-q"]) == 0
    return folder


def test_each_seed_is_an_ordinary_run_on_the_same_split(segkit: Command, three: Path) -> None:
    runs = [three / f"seed-{seed}" for seed in (4, 5, 6)]
    assert sorted(path.name for path in three.iterdir() if path.is_dir()) == [run.name for run in runs]
    assert split(runs[0]) == split(runs[1]) == split(runs[2])
    assert not same_weights(runs[0], runs[1]) and not same_weights(runs[1], runs[2])
    before = means(runs[1])
    assert segkit("evaluate", runs[1]).code == 0
    assert means(runs[1]) == before
    told = segkit("train", "--resume", runs[1])
    assert told.code == 2 and "nothing left to train" in told.err


def test_a_seed_trains_as_it_would_alone_and_its_record_repeats_it(segkit: Command, three: Path, tmp_path: Path) -> None:
    assert segkit(*SMALL, "--seed", "6", "-o", "split.seed=4", "--out", tmp_path / "alone").code == 0
    assert same_weights(tmp_path / "alone", three / "seed-6")
    assert [{**row, "train_seconds": "", "val_seconds": ""} for row in history(tmp_path / "alone")] == [
        {**row, "train_seconds": "", "val_seconds": ""} for row in history(three / "seed-6")
    ]
    assert segkit("train", "--config", three / "seed-5" / "run.toml", "--out", tmp_path / "again").code == 0
    assert same_weights(tmp_path / "again", three / "seed-5")


def test_mean_and_spread_are_those_of_the_runs_own_files(three: Path) -> None:
    figures, runs = summary(three)["figures"], [three / f"seed-{seed}" for seed in (4, 5, 6)]
    dice = [means(run)["dice/target"]["mean"] for run in runs]
    assert len(set(dice)) > 1
    ours = figures["test_dice/target"]
    assert ours["mean"] == pytest.approx(np.mean(dice))
    assert ours["std"] == pytest.approx(np.std(dice, ddof=1))
    assert (ours["min"], ours["max"], ours["n"]) == (min(dice), max(dice), 3)
    kept = [max(history(run), key=lambda row: float(row["val_dice"])) for run in runs]  # the first of equals
    losses = [float(row["val_loss"]) for row in kept]
    assert figures["val_loss"]["mean"] == pytest.approx(statistics.fmean(losses))
    assert figures["val_loss"]["std"] == pytest.approx(statistics.stdev(losses))
    assert [run["values"]["best_epoch"] for run in summary(three)["runs"]] == [int(row["epoch"]) for row in kept]


def test_what_is_undefined_is_left_out_and_counted(segkit: Command, tmp_path: Path) -> None:
    """Networks that are not trained: by their initial weights one of these three finds nothing, and has no precision."""
    folder = tmp_path / "seeds"
    words = "--lr 0 -o train.batch_norm=running --epochs 1 --seeds 5,6,7".split()
    done = segkit(*SMALL, *words, "--out", folder)
    assert done.code == 0 and "test precision/target in 1 of 3 seeds" in done.out
    known = [means(folder / f"seed-{seed}")["precision/target"]["mean"] for seed in (6, 7)]
    assert means(folder / "seed-5")["precision/target"]["mean"] is None and None not in known
    figure = summary(folder)["figures"]["test_precision/target"]
    assert (figure["n"], figure["undefined"]) == (2, 1)
    assert figure["std"] == pytest.approx(statistics.stdev(known))
    with (folder / "summary.csv").open() as file:
        rows = {row["seed"]: row["test_precision/target"] for row in csv.DictReader(file)}
    assert list(rows) == ["5", "6", "7", "mean", "std", "n"]
    assert rows["5"] == "" and rows["n"] == "2" and float(rows["mean"]) == pytest.approx(np.mean(known))


def test_resuming_what_is_done_trains_nothing_and_shows_the_table_again(segkit: Command, three: Path) -> None:
    before, kept = summary(three), [weights(three / f"seed-{seed}") for seed in (4, 5, 6)]
    done = segkit("train", "--resume", three)
    assert done.code == 0 and done.err.count("done already") == 3
    assert "phantom unet: 3 of 3 seeds" in done.out
    row = next(line for line in done.out.splitlines() if line.startswith("test  dice"))
    figure = before["figures"]["test_dice/target"]
    assert row.split()[2:] == ["target", *(f"{figure[part]:.4f}" for part in ("mean", "std", "min", "max")), "3"]
    assert without_times(summary(three)) == without_times(before)
    assert [weights(three / f"seed-{seed}") for seed in (4, 5, 6)] == kept
    again = json.loads(segkit("train", "--resume", three / "seeds.json", "--json").out)
    assert again == {**summary(three), "stopped": 0}


def test_killed_at_the_worst_moments_and_resumed_gives_the_same_table(segkit: Command, tmp_path: Path) -> None:
    words = [*SMALL, "-o", "train.validate=false", "--seed", "4", "--seeds", "3"]  # every epoch's weights are kept
    folder, three = tmp_path / "killed", tmp_path / "whole"
    assert segkit(*words, "--out", three).code == 0
    launch(*words, "--out", folder, dies_at=("weights", 2))  # seed 4 is over, its weights are old
    assert not same_weights(folder / "seed-4", three / "seed-4") and not (folder / "seed-4" / "test").exists()
    launch("train", "--resume", folder, dies_at=("step", 3))  # within seed 5
    assert (folder / "seed-5" / "resume" / "state.pt").exists() and not (folder / "summary.json").exists()
    unborn = folder / "seed-6" / "resume"  # killed while its first state was being written
    unborn.mkdir(parents=True)
    (unborn / ".segkit-1-abc.pt").write_bytes(b"half")
    (unborn.parent / "run.toml").write_text("")
    done = segkit("train", "--resume", folder)
    assert done.code == 0 and done.err.count("done already") == 1, done.err
    assert without_times(summary(folder)) == without_times(summary(three))
    for seed in (4, 5, 6):
        assert same_weights(folder / f"seed-{seed}", three / f"seed-{seed}")
        assert means(folder / f"seed-{seed}") == means(three / f"seed-{seed}")


def test_a_batch_size_that_is_found_is_that_of_all_seeds_and_of_their_resumes(segkit: Command, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    assert segkit(*SMALL, "--seeds", "0,1", "--batch-size", "auto", "--out", folder).code == 0
    done = segkit("train", "--resume", folder, "--epochs", "3")
    assert done.code == 0 and done.err.count("fits in memory") == 0, done.err
    sizes = [tomllib.loads((folder / f"seed-{seed}" / "run.toml").read_text())["train"]["batch_size"] for seed in (0, 1)]
    assert sizes[0] == sizes[1] and isinstance(sizes[0], int)


def test_more_epochs_go_to_every_seed_and_are_tested_again(segkit: Command, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    assert segkit(*SMALL, "--seeds", "0,9", "--out", folder).code == 0
    before = [(folder / f"seed-{seed}" / "test" / "metrics.json").stat().st_mtime_ns for seed in (0, 9)]
    done = segkit("train", "--resume", folder, "--epochs", "3")
    assert done.code == 0, done.err
    assert [len(history(folder / f"seed-{seed}")) for seed in (0, 9)] == [3, 3]
    assert summary(folder)["figures"]["epochs"]["mean"] == 3
    after = [(folder / f"seed-{seed}" / "test" / "metrics.json").stat().st_mtime_ns for seed in (0, 9)]
    assert all(new > old for new, old in zip(after, before, strict=True))
    assert segkit("train", "--resume", folder).err.count("done already") == 2  # the epochs are remembered
    for words, part in (
        (["--epochs", "2"], "seed 0 has already done 3"),
        (["--seeds", "3"], "--seeds cannot change"),
        (["--lr", "1"], "train.lr cannot change"),
        (["--seed", "1"], "train.seed cannot change"),
    ):
        told = segkit("train", "--resume", folder, *words)
        assert told.code == 2 and part in told.err, told.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_seeds_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    folder = tmp_path / "seeds"
    words = [*SMALL, "--epochs", "100000", "--patience", "0", "--seeds", "2", "--out", str(folder)]
    started = start(*words)
    while not (folder / "seed-0" / "history.csv").exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.05)
    os.kill(started.process.pid, number)
    told = started.end()
    assert told.code == code, told.err
    assert f"segkit train --resume {folder}\n" in told.err and "Traceback" not in told.err
    assert (folder / "seed-0" / "resume" / "state.pt").exists() and not (folder / "seed-1").exists()
    assert not (folder / "summary.json").exists()


def failing_at(seeds: tuple[int, ...], whole: Callable[..., Any]) -> Callable[..., Any]:
    """A loss that is not finite, for these seeds."""

    def augment(images: Any, masks: Any, settings: Any, seed: int, *rest: Any) -> Any:
        images, masks = whole(images, masks, settings, seed, *rest)
        return (images * torch.nan if seed in seeds else images), masks

    return augment


def test_a_seed_that_fails_is_named_and_the_others_are_trained(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segkit.training import epoch

    whole, folder = epoch.augment, tmp_path / "seeds"
    monkeypatch.setattr(epoch, "augment", failing_at((1,), whole))
    told = segkit(*SMALL, "--seeds", "3", "--out", folder)
    assert told.code == 3 and "2 of 3 seeds" in told.out
    assert "seed 1: The loss became nan" in told.err and f"segkit train --resume {folder}" in told.err
    assert summary(folder)["figures"]["val_loss"]["n"] == 2
    assert "The loss became nan" in summary(folder)["runs"][1]["error"]
    monkeypatch.setattr(epoch, "augment", whole)
    done = segkit("train", "--resume", folder)
    assert done.code == 0 and "3 of 3 seeds" in done.out and done.err.count("done already") == 2
    (folder / "seed-2" / "resume" / "state.pt").write_bytes(b"half")
    told = segkit("train", "--resume", folder)
    assert told.code == 3 and "seed 2: " in told.err and "2 of 3 seeds" in told.out
    monkeypatch.setattr(epoch, "augment", failing_at((0, 1), whole))
    assert segkit(*SMALL, "--seeds", "2", "--out", tmp_path / "none").code == 1


def test_classes_are_pooled_as_evaluate_shows_them(segkit: Command, tmp_path: Path) -> None:
    words = "-o model.encoder=test_resnet -o model.hidden=8 -o dataset.empty=0.5 -o dataset.size=32 --epochs 1".split()
    start = ["train", "--dataset", "phantom", "--model", "resnet-classifier", "-o", "dataset.cases=30"]
    done = segkit(*start, *words, "--seeds", "7,3", "--out", tmp_path / "seeds")
    assert done.code == 0 and "(foreground)" not in done.out and "of 10 cases" not in done.out
    files = [tmp_path / "seeds" / f"seed-{seed}" / "test" / "metrics.json" for seed in (7, 3)]
    accuracy = [json.loads(file.read_text())["figures"]["pooled"]["accuracy/present"]["mean"] for file in files]
    assert summary(tmp_path / "seeds")["figures"]["test_accuracy/present"]["mean"] == pytest.approx(np.mean(accuracy))


def test_without_a_test_subset_the_validation_is_summed_up_and_it_is_said(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "--epochs", "1", "--seeds", "1", "-o", "split.test=0", "--out", tmp_path / "seeds", "--json")
    figures = json.loads(done.out)["figures"]
    assert done.code == 0 and not any(name.startswith("test_") for name in figures)
    assert figures["val_loss"]["std"] is None and figures["val_loss"]["n"] == 1
    told = segkit("train", "--resume", tmp_path / "seeds")
    assert told.code == 0 and "Nothing was tested" in told.out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--seeds", "0"], "Allowed: how many"),
        (["--seeds", "-3"], "Allowed: how many"),
        (["--seeds", "1001"], "up to 1000"),
        (["--seeds", "five"], "neither a number of seeds nor a list"),
        (["--seeds", "1,2.5"], "neither a number of seeds nor a list"),
        (["--seeds", "1,,2"], "neither a number of seeds nor a list"),
        (["--seeds", "3,4,3"], "3 is given twice"),
        (["--seeds", f"0,{2**32}"], "0 to 4294967295"),
        (["--seeds", "2", "--seed", str(2**32 - 1)], "0 to 4294967295"),
        (["--seeds", "1,2", "--seed", "3"], "exclude each other"),
        (["--seeds", "2", "--folds", "3"], "two series of trainings"),
        (["--seeds", "2", "--aggregate", "pool"], "--aggregate pool is not allowed"),
        (["--aggregate", "pooled"], "sums up --seeds or --folds"),
        (["--seeds", "2", "--model", "resnuet"], "'resunet'"),
        (["--seeds", "2", "--device", "cuda:77"], "cuda:77"),
        (["--seeds", "2", "--precision", "fp16", "--device", "cpu"], "fp16"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_leaves_no_folder(
    segkit: Command, tmp_path: Path, words: list[str], part: str
) -> None:
    told = segkit(*SMALL, *words, "--out", tmp_path / "seeds")
    assert told.code == 2 and part in told.err, told.err
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_summed_up_as_asked(segkit: Command, three: Path) -> None:
    assert segkit("train", "--resume", three, "--aggregate", "pooled").code == 0
    document = summary(three)
    tests = [json.loads((three / f"seed-{seed}" / "test" / "metrics.json").read_text()) for seed in (4, 5, 6)]
    dices = [one["figures"]["pooled"]["dice"]["mean"] for one in tests]
    spent = [one["inference_ms"] for one in tests]
    assert document["aggregate"] == "pooled"
    assert document["figures"]["test_dice"]["mean"] == pytest.approx(statistics.mean(dices))
    assert document["figures"]["test_dice"]["std"] == pytest.approx(statistics.stdev(dices))
    assert document["figures"]["test_inference_ms"]["std"] == pytest.approx(statistics.stdev(spent))
    assert segkit("train", "--resume", three).code == 0 and summary(three)["aggregate"] == "pooled"  # it is remembered
    assert segkit("train", "--resume", three, "--aggregate", "per_case").code == 0


def test_a_wrong_seed_is_refused_before_torch_comes() -> None:
    script = (
        "import sys\nfrom segkit.cli.app import run\n"
        "code = run('train --dataset phantom --model unet --seeds 1,1'.split())\n"
        "print(code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"]


def test_nothing_is_overwritten_and_a_folder_of_seeds_is_told_from_a_run(
    segkit: Command, three: Path, tmp_path: Path
) -> None:
    before = sorted(path.name for path in three.iterdir())
    told = segkit(*SMALL, "--seeds", "2", "--out", three)
    assert told.code == 2 and "never overwritten" in told.err
    assert sorted(path.name for path in three.iterdir()) == before
    told = segkit("info", three)
    assert told.code == 2 and "holds several runs" in told.err
    (tmp_path / "seeds.json").write_text("{}")
    told = segkit("train", "--resume", tmp_path)
    assert told.code == 1 and "seeds.json cannot be read" in told.err
