"""What a busy neighbour costs: seconds of `segkit` over those of a bare torch loop, both beside a process that keeps one
core busy, in turns.

    train      an epoch of `segkit train` (augmented; of its history.csv) over one of a loop of the same network, batch
               size, loss and optimiser on tensors in memory
    evaluate, predict
               seconds for each image over those of the network alone in torch, start-up left out on both sides
Each bare loop is a process of its own that imports torch and nothing of segkit before it, so it waits as torch does by
default. A ratio of at most 1.2 is wanted; `--no-neighbour` shows what all that costs on a quiet machine.

    python tests/benchmarks/neighbour.py --rounds 3
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETUP = {"model": "resunet", "width": 16, "size": 128, "batch_size": 8}
EPOCHS = 3
BUSY = "while True: pass"


def bare(part: str, count: int) -> None:
    """Print the seconds of a plain loop for one image; of a training, the first epoch is left out."""
    import torch  # before segkit, which would change how its threads wait
    from overhead import bare_loop
    from phantoms import Setup

    setup = Setup(**{**SETUP, "cases": count})  # type: ignore[arg-type]
    if part == "train":
        print(1 / bare_loop(setup, EPOCHS))
        return
    from segkit.models.build import build_model

    config, dataset = setup.record()
    model = build_model(config.model, dataset.task, 2).eval()
    images = torch.rand(count, 3, setup.size, setup.size)
    with torch.inference_mode():
        model(images[:8])
        started = time.perf_counter()
        for start in range(0, count, 8):
            model(images[start : start + 8])
    print((time.perf_counter() - started) / count)


def bare_seconds(part: str, count: int) -> float:
    words = [sys.executable, __file__, "--bare", part, "--count", str(count)]
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    return float(subprocess.run(words, check=True, capture_output=True, text=True, env=clean).stdout)


def segkit(*words: object) -> float:
    """Seconds of a command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "segkit", "-q", *map(str, words)], check=True)
    return time.perf_counter() - started


def cases(run: Path, subset: str) -> int:
    return len(json.loads((run / "split.json").read_text())[subset])


def train(out: Path, count: int) -> float:
    """Seconds of an epoch for each image of it, validation left out; the first epoch is not counted."""
    data = f"-o dataset.cases={count} -o dataset.size=128 -o preprocess.size=128 -o split.val=0.05 -o split.test=0"
    rest = f"--model resunet -o model.width=16 --batch-size 8 --epochs {EPOCHS} --device cpu --out {out}"
    segkit("train", "--dataset", "phantom", *data.split(), *rest.split())
    with (out / "history.csv").open() as file:
        return statistics.median(float(row["train_seconds"]) for row in list(csv.DictReader(file))[1:]) / cases(out, "train")


def prepare(folder: Path, count: int) -> None:
    """A run whose test subset holds about `count` cases, its export, and a folder of as many JPEGs."""
    from predict import photographs

    data = f"-o dataset.cases={2 * count} -o dataset.size=128 -o preprocess.size=128 -o split.val=0.05 -o split.test=0.5"
    rest = f"--model resunet -o model.width=16 --epochs 1 --device cpu --out {folder / 'run'}"
    segkit("train", "--dataset", "phantom", *data.split(), *rest.split())
    segkit("export", folder / "run", "--out", folder / "run.onnx")
    photographs(folder / "images", count)
    (folder / "one").mkdir()
    (folder / "images" / "000.jpg").rename(folder / "one" / "000.jpg")


def predict(folder: Path, what: str, count: int) -> float:
    out = folder / f"predicted-{time.time()}"
    whole, one = (segkit("predict", folder / what, folder / name, "--out", out / name) for name in ("images", "one"))
    return (whole - one) / (count - 2)


def evaluate(folder: Path) -> float:
    run = folder / "run"
    whole, few = (segkit("evaluate", run, "--subset", name, "--device", "cpu") for name in ("test", "val"))
    return (whole - few) / (cases(run, "test") - cases(run, "val"))


@contextmanager
def neighbour(there: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if there else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--bare", help=argparse.SUPPRESS)
    words.add_argument("--count", type=int, default=80, help="images; default: 80")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--no-neighbour", action="store_true")
    typed = words.parse_args()
    if typed.bare:
        bare(typed.bare, typed.count)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), typed.count
        os.environ["SEGKIT_CACHE"] = str(folder / "cache")
        prepare(folder, count)
        found: dict[str, list[float]] = {"train": [], "evaluate": [], "predict": [], "predict, ONNX": []}
        with neighbour(not typed.no_neighbour):
            for turn in range(typed.rounds):
                found["train"].append(train(folder / f"train-{turn}", count) / bare_seconds("train", count))
                alone = bare_seconds("forward", count)
                found["evaluate"].append(evaluate(folder) / alone)
                found["predict"].append(predict(folder, "run", count) / alone)
                found["predict, ONNX"].append(predict(folder, "run.onnx", count) / alone)
    for part, ratios in found.items():
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{part:<14} {statistics.median(ratios):.2f} of the bare loop (rounds {each})")


if __name__ == "__main__":
    main()
