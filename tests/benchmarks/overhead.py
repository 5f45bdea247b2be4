"""What the toolkit costs in training: images/s of `segkit train` over those of a bare loop, measured in one run.

The bare loop trains the same model with the same batch size, precision, loss and optimiser on tensors that already lie in
memory, in the same memory layout. Both arms take turns; the first epoch of segkit is left out. Augmentation and validation
are off in both; a third arm switches them on in segkit.

    python tests/benchmarks/overhead.py --model resunet --width 16 --size 128
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from segkit import plugins
from segkit.cli.app import run
from segkit.config import Choice
from segkit.data.preprocess import forward_image, geometry_of
from segkit.engine.backends import build_model, layout, to_device
from segkit.options import build
from segkit.settings import Preprocess


def bare_loop(arguments: argparse.Namespace) -> float:
    """Images per second of a plain training loop."""
    catalogue = plugins.load()
    dataset = catalogue.find("datasets", "phantom").spec
    opened = dataset.load()(None, build(dataset.options, {"cases": arguments.cases, "size": arguments.size}, "dataset"))
    settings = Preprocess("stretch", (arguments.size, arguments.size), intensity="scale255")
    geometry = geometry_of((arguments.size, arguments.size), settings)
    samples = [opened.read(case) for case in opened.cases]
    images = torch.from_numpy(np.stack([forward_image(sample.image, settings, geometry) for sample in samples]))
    masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))
    torch.manual_seed(0)
    found = catalogue.find("models", arguments.model)
    choice = Choice(found, build(found.spec.options, {"width": arguments.width}, "model"))
    model = to_device(build_model(choice, opened.task, 2), torch.device("cpu"), 2, choice.spec)
    loss = catalogue.find("losses", "dice-focal").spec
    criterion = loss.load()(opened.task, loss.options())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    model.train()
    seconds = []
    for _ in range(arguments.epochs):
        started = time.perf_counter()
        for start in range(0, len(images), arguments.batch_size):
            stop = start + arguments.batch_size
            value = criterion(model(layout(images[start:stop], choice.spec)), masks[start:stop])
            value.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    return len(images) / statistics.median(seconds[1:])


def segkit_train(arguments: argparse.Namespace, out: Path, everything: bool) -> float:
    """Images per second of `segkit train`, from its history.csv, first epoch left out."""
    settings = {
        "dataset.cases": arguments.cases,
        "dataset.size": arguments.size,
        "model.width": arguments.width,
        "preprocess.size": arguments.size,
        "split.val": 0.2 if everything else 0,
        "split.test": 0,
    }
    options = " ".join(f"-o {key}={value}" for key, value in settings.items())
    augment = "standard" if everything else "none"
    code = run(
        f"train -q --dataset phantom --model {arguments.model} --loss dice-focal --device cpu --augment {augment} "
        f"--patience 0 -o train.schedule=none --batch-size {arguments.batch_size} --epochs {arguments.epochs} "
        f"{options} --out {out}".split()
    )
    assert code == 0, f"segkit train ended with {code}"
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))[1:]
    seconds = [float(row["train_seconds"]) + float(row.get("val_seconds") or 0) for row in rows]
    return arguments.cases * (0.8 if everything else 1) / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resunet")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--cases", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    plain, full, bare = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            bare.append(bare_loop(arguments))
            plain.append(segkit_train(arguments, Path(folder) / f"plain-{turn}", everything=False))
            full.append(segkit_train(arguments, Path(folder) / f"full-{turn}", everything=True))
    print(f"{platform.processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {vars(arguments)}")
    print(f"bare loop                              {statistics.median(bare):8.1f} images/s")
    for name, arm in (("segkit train", plain), ("segkit train, augmented and validated", full)):
        ratios = [ours / theirs for ours, theirs in zip(arm, bare, strict=True)]
        spread = f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:<38} {statistics.median(arm):8.1f} images/s, {statistics.median(ratios):.3f} of bare {spread}")


if __name__ == "__main__":
    main()
