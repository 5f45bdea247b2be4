"""What one arm is told, and what it hands back: the same for all arms."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import plugins
from segkit.config.resolve import resolve_data
from segkit.data.reading import open_dataset, read_case
from segkit.task import Case, Dataset, Sample

SETS = {"hippocampus": "nnunet", "polyp": "polyp", "acdc": "acdc", "lgg": "lgg", "brain-coco": "brain-coco"}
LATE = 1.08  # of its time: where an arm stops that the machine made slower than it had measured

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Job:
    """One training of one arm.

    Args:
        set: the folder below `root`; SETS names its dataset.
        seconds: from `started` to the last weights.
        split: ids of cases by subset.
        split_seed: that made the split.
        folder: for all that is written.
        started: time.time() when the arm's process was started.
        words: what else is typed, of an arm that is a command.
    """

    set: str
    arm: str
    seed: int
    seconds: float
    root: str
    split: Mapping[str, Sequence[str]]
    split_seed: int
    folder: str
    started: float
    words: Sequence[str] = ()

    @property
    def data(self) -> Path:
        return Path(self.root, self.set)

    @property
    def deadline(self) -> float:
        return self.started + self.seconds

    def open(self) -> Dataset:
        return open_set(self.data)

    def read(self, dataset: Dataset, subset: str) -> list[Sample]:
        return [read_case(dataset, case) for case in self.cases(dataset, subset)]

    def cases(self, dataset: Dataset, subset: str) -> list[Case]:
        by_id = {case.id: case for case in dataset.cases}
        return [by_id[id] for id in self.split[subset]]


@dataclass(frozen=True)
class Trained:
    """What an arm made.

    Args:
        predict: a case with its image (C, *S) -> labels (*S), on the image's own grid.
        note: the facts that a reader needs beside the figure.
        evaluate: what the arm's own evaluation says of the test cases, where it has one.
        started: where the clock starts later than with the process: after the data took the arm's own format.
    """

    predict: Callable[[Case, Sample], Labels]
    note: str
    evaluate: Callable[[], float] | None = None
    started: float | None = None


def open_set(folder: Path) -> Dataset:
    choice, root, _ = resolve_data({"dataset": {"name": SETS[folder.name], "root": str(folder)}}, plugins.load())
    return open_dataset(choice, root)


def answer(train: Callable[[Job], Trained]) -> None:
    """Do the job that the command line names: train, note the seconds, then predict the test cases and write it all."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    trained = train(job)
    seconds = time.time() - (trained.started or job.started)
    dataset = job.open()
    cases = zip(job.cases(dataset, "test"), job.read(dataset, "test"), strict=True)
    np.savez_compressed(Path(job.folder, "labels.npz"), *(trained.predict(case, sample) for case, sample in cases))
    own = trained.evaluate() if trained.evaluate is not None else None
    outcome = {"seconds": seconds, "note": trained.note, "own_dice": own}
    Path(job.folder, "outcome.json").write_text(json.dumps(outcome))


def write_job(job: Job) -> Path:
    path = Path(job.folder, "job.json")
    path.write_text(json.dumps(asdict(job)))
    return path


def read_outcome(job: Job) -> tuple[dict[str, Any], list[Labels]]:
    """What `answer` wrote: the outcome, and labels in the order of the test cases."""
    outcome: dict[str, Any] = json.loads(Path(job.folder, "outcome.json").read_text())
    with np.load(Path(job.folder, "labels.npz")) as stored:
        return outcome, [stored[f"arr_{number}"] for number in range(len(job.split["test"]))]
