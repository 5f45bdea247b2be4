"""`segkit train` with the data, the folder and the time, and nothing else, as somebody new would type it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from arms.job import SETS, Job, Labels, Trained, answer
from segkit.task import Case, Sample


def command(job: Job, run: Path) -> list[str]:
    """The seeds of run and split are the benchmark's: all arms and seeds get the same cases."""
    data = ["--dataset", SETS[job.set], "--data-dir", str(job.data)]
    seeds = ["--seed", str(job.seed)]
    subsets = {case.subset for case in job.open().cases}
    if None in subsets or "val" not in subsets:  # else all subsets are the dataset's own
        seeds += ["-o", f"split.seed={job.split_seed}"]
    return ["train", *data, "--time", f"{job.seconds:g}s", *seeds, *job.words, "--out", str(run)]


class Predictor:
    """Loads the run with the first case: until then segkit, and torch, are in the training's own process alone."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.model: Any = None

    def __call__(self, case: Case, sample: Sample) -> Labels:
        import segkit

        self.model = self.model or segkit.load(self.run)
        labels: Labels = self.model.predict(sample.image, sample.spacing)
        return labels


def train(job: Job) -> Trained:
    run = Path(job.folder, "run")
    segkit_command(command(job, run))
    split = json.loads((run / "split.json").read_text())
    if split != job.split:
        raise RuntimeError(f"{run} was split otherwise than the other arms")
    return Trained(Predictor(run), facts(run), lambda: evaluate(run))


def evaluate(run: Path) -> float:
    """The figure of `segkit evaluate`."""
    document = json.loads(segkit_command(["evaluate", str(run), "--json"]))
    return float(document["figures"]["per_case"]["dice"]["mean"])


def facts(run: Path) -> str:
    with (run / "history.csv").open(newline="") as lines:
        epochs = len(list(csv.DictReader(lines)))
    return f"{epochs} epochs"


def segkit_command(words: list[str]) -> str:
    """Run `segkit` with these words. Returns what it prints on stdout; its stderr is ours, and so is its exit code."""
    done = subprocess.run([sys.executable, "-m", "segkit", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    answer(train)
