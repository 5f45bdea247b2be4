"""What a plain `segkit train` reaches in a given time, beside what one would use in its place: test Dice at equal wall time.

    segkit     segkit train --dataset D --data-dir DIR --time T
    bare       a plain U-Net in a plain loop (arms/bare.py)
    smp        segmentation-models-pytorch's Unet with a ResNet-18 from scratch in the same loop (extra smp)
    nnunet     nnU-Net's own plan and trainer, stopped when the time is over: 2D, and 3D for volumes (extra nnunet)
Each set is split once, by group, with segkit's default shares; every arm gets the same cases. The arms take turns, each in a
process of its own, whose time counts from its start to the last weights: reading, preprocessing, planning, training and
validation. No arm averages its predictions over flips. Dice is that of whole cases (volumes; single images) on their own
grid: the mean over foreground classes and cases, 1 where prediction and truth are both empty.

python tests/benchmarks/quality.py [--minutes 5] [--seeds 3] [--sets hippocampus,polyp] [--arms segkit,bare,smp,nnunet]

Five minutes, three seeds, five sets and all arms take about seven hours; with --out they may be made bit by bit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from arms.job import SETS, Job, open_set, read_outcome, write_job
from arms.score import mean_dice

from segkit.data.reading import read_case
from segkit.data.split import split_cases
from segkit.settings import Split
from segkit.task import Dataset
from segkit.words import counted

HERE = Path(__file__).resolve().parent
OWN = "segkit"
PATIENCE = 1800  # seconds for predictions, beside three times the training's
SAME = 1e-4  # Dice, between our score and an arm's own


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Args:
        module: the program, in arms/.
        needs: what must be installed, and the extra that brings it.
        dims: of the data that it takes.
        words: what else is typed, where it is a command.
    """

    module: str
    needs: tuple[str, str] | None = None
    dims: tuple[int, ...] = (2, 3)
    words: tuple[str, ...] = ()


ARMS: Mapping[str, Mapping[str, Arm]] = {
    OWN: {OWN: Arm("segkit_train")},
    "bare": {"bare": Arm("bare")},
    "smp": {"smp": Arm("smp", ("segmentation_models_pytorch", "smp"))},
    "nnunet": {
        "nnunet-2d": Arm("nnunet", ("nnunetv2", "nnunet")),
        "nnunet-3d": Arm("nnunet", ("nnunetv2", "nnunet"), (3,)),
    },
}
VERSIONS = ("segkit-med", "torch", "segmentation-models-pytorch", "nnunetv2")


@dataclass(frozen=True)
class Result:
    """Of one training; without `dice`, `note` is the reason."""

    set: str
    arm: str
    seed: int
    dice: float | None
    seconds: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        figure = "no figure" if self.dice is None else f"{self.dice:.4f}  {self.seconds:6.0f} s"
        return f"{self.set:<12} {self.arm:<10} seed {self.seed}  {figure}  {self.note}"


@dataclass
class Table:
    """Results as they come, kept in a file after each; those that the file holds already are not made again."""

    about: Mapping[str, Any]
    out: Path | None
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.out is None or not self.out.exists():
            return
        document = json.loads(self.out.read_text())
        if document["about"] != self.about:
            sys.exit(f"{self.out} was made otherwise: {document['about']}; now it would be {self.about}")
        self.results = [Result(**one) for one in document["results"]]

    def holds(self, set: str, arm: str, seed: int) -> bool:
        return any((one.set, one.arm, one.seed) == (set, arm, seed) for one in self.results)

    def add(self, result: Result) -> None:
        print(result, flush=True)
        self.results.append(result)
        if self.out is not None:
            document = {"about": self.about, "results": [asdict(one) for one in self.results]}
            self.out.write_text(json.dumps(document, indent=1))

    def lines(self) -> Iterator[str]:
        yield f"{'set':<12} {'arm':<10} {'Dice':>6}  {'seconds':>7}  seeds"
        for name in dict.fromkeys(result.set for result in self.results):
            means = {}
            for arm in dict.fromkeys(result.arm for result in self.results if result.set == name):
                own = [result for result in self.results if (result.set, result.arm) == (name, arm)]
                done = [result for result in own if result.dice is not None]
                if not done:
                    yield f"{name:<12} {arm:<10} {'-':>6}  {'-':>7}  {own[0].note}"
                    continue
                means[arm] = statistics.mean(result.dice for result in done if result.dice is not None)
                seconds = max(result.seconds for result in done)
                seeds = " ".join("-" if result.dice is None else f"{result.dice:.3f}" for result in own)
                yield f"{name:<12} {arm:<10} {means[arm]:6.3f}  {seconds:7.0f}  {seeds}"
            yield from _ratio(name, means)


def _ratio(name: str, means: Mapping[str, float]) -> Iterator[str]:
    others = {arm: dice for arm, dice in means.items() if arm != OWN}
    if OWN in means and others:
        best = max(others, key=others.__getitem__)
        ratio = f"{means[OWN] / others[best]:.3f}" if others[best] else "-"
        yield f"{name:<12} {OWN} / {best}: {ratio}; {means[OWN] - others[best]:+.3f} Dice"


def run(job: Job, arm: Arm, dataset: Dataset) -> Result:
    """Let an arm train, and score what it predicts; whatever fails is said in its result."""
    failed = Result(job.set, job.arm, job.seed, None)
    if arm.needs and importlib.util.find_spec(arm.needs[0]) is None:
        return replace(failed, note=f"skipped: {arm.needs[0]} is missing: pip install 'segkit-med[{arm.needs[1]}]'")
    words = [sys.executable, "-m", f"arms.{arm.module}", str(write_job(job))]
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    place = {**os.environ, "PYTHONPATH": paths, "SEGKIT_CACHE": str(Path(job.folder, "cache"))}
    log = Path(job.folder, "log.txt")
    try:
        with log.open("w") as lines:
            limit = 3 * job.seconds + PATIENCE
            subprocess.run(words, env=place, stdout=lines, stderr=subprocess.STDOUT, check=True, timeout=limit)
        outcome, labels = read_outcome(job)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        said = [line.strip(" │╭╰╮╯─") for line in log.read_text(errors="replace").splitlines()]
        return replace(failed, note=f"failed ({type(error).__name__}): {' '.join([line for line in said if line][-2:])}")
    truths = [read_case(dataset, case).mask for case in job.cases(dataset, "test")]
    pairs = [(found, truth) for found, truth in zip(labels, truths, strict=True) if truth is not None]
    dice = mean_dice(pairs, len(dataset.task.classes))
    note, own = outcome["note"], outcome["own_dice"]
    if own is not None and abs(own - dice) > SAME:
        note += f"; its own evaluation says {own:.4f}"
    return replace(failed, dice=dice, seconds=outcome["seconds"], note=note)


def compare(words: argparse.Namespace, all_arms: Mapping[str, Arm], folder: Path, table: Table) -> None:
    """One seed after the other; for each all sets, and of each set one arm after the other."""
    for seed in range(words.seeds):
        for name in words.sets:
            dataset = open_set(words.root / name)
            split = split_cases(dataset.cases, Split(seed=words.split_seed))
            groups = {case.id: case.group for case in dataset.cases}
            sizes = [f"{key} {len(ids)} ({counted(len({groups[id] for id in ids}), 'group')})" for key, ids in split.items()]
            print(f"{name}: {', '.join(sizes)}", flush=True)
            for key, arm in all_arms.items():
                if dataset.task.dims not in arm.dims or table.holds(name, key, seed):
                    continue
                own = folder / f"{name}-{key}-{seed}"
                own.mkdir(parents=True)
                where = {"set": name, "arm": key, "seed": seed, "root": str(words.root), "folder": str(own)}
                cases = {"split": split, "split_seed": words.split_seed}
                length = {"seconds": 60 * words.minutes, "started": time.time()}
                table.add(run(Job(**where, **cases, **length, words=arm.words), arm, dataset))


def machine() -> dict[str, str]:
    versions = {}
    for package in VERSIONS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": processor(), "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}


def processor() -> str:
    """As Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def options(arms: Mapping[str, Any] = ARMS) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--minutes", type=float, default=5, help="of each training; default: 5")
    made.add_argument("--seeds", type=int, default=3, help="how many; default: 3")
    made.add_argument("--sets", type=chosen(SETS), default=list(SETS), help=f"of {','.join(SETS)}")
    made.add_argument("--arms", type=chosen(arms), default=list(arms), help=f"of {','.join(arms)}")
    root = HERE.parents[2] / "shared" / "data" / "quality"
    made.add_argument("--root", type=Path, default=root, help="holds a folder of each set")
    made.add_argument("--split-seed", type=int, default=0, help="of the one split; default: 0")
    made.add_argument("--keep", type=Path, metavar="DIR", help="leave logs, runs and predictions in this new folder")
    kept = "write every result there as well; those that it holds are not made again"
    made.add_argument("--out", type=Path, metavar="FILE.json", help=kept)
    return made


def chosen(among: Sequence[str] | Mapping[str, Any]) -> Callable[[str], list[str]]:
    """A parser of names between commas."""

    def parse(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in among]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not among {', '.join(among)}")
        return text.split(",")

    return parse


def main() -> None:
    words = options().parse_args()
    words.root = words.root.resolve()
    about = {**machine(), "minutes": words.minutes, "split_seed": words.split_seed}
    table = Table(about, words.out)
    with tempfile.TemporaryDirectory() as folder:
        try:
            arms = {key: arm for choice in words.arms for key, arm in ARMS[choice].items()}
            compare(words, arms, words.keep or Path(folder), table)
        finally:
            print("\n".join(["", *table.lines(), "", str(about)]), flush=True)


if __name__ == "__main__":
    main()
