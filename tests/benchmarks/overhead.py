"""What the toolkit costs in training: images/s of `segkit train` over those of a bare loop, measured in one run.

The bare loop trains the same model with the same batch size, precision, loss and optimiser on tensors that already lie in
the device's memory, in the same memory layout. Both arms take turns; segkit goes first, so that what it sets in torch for
the whole process holds for both. The first epoch of each is left out. Augmentation and validation are off in both; a third
arm switches them on in segkit. segkit's time is that of its history.csv: training and validation, not the writing of files
between two epochs.

A unet of width 16 (default of the model: 64) at 256 x 256 in float32 is what a CPU does in minutes.

    python tests/benchmarks/overhead.py --model resunet --width 16 --size 128
"""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from clock import synchronise
from phantoms import Setup, parser, setup_of

from segkit.cli.app import run
from segkit.data.cache import fill_cache
from segkit.models.build import build_model
from segkit.models.device import choose_device, layout, to_device
from segkit.training.setup import cache_recipe

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
ARMS = {"segkit train": "plain", "segkit train, augmented and validated": "full"}


def bare_loop(setup: Setup, epochs: int) -> float:
    """Images per second of a plain training loop."""
    config, dataset = setup.record()
    device, dtype, spec = choose_device(setup.device), AUTOCAST[setup.precision], config.model.spec
    arrays = [cached.load() for cached in fill_cache(cache_recipe(config, dataset), dataset.cases)]
    images = layout(torch.from_numpy(np.stack([image for image, _ in arrays])).to(device), spec)
    masks = torch.from_numpy(np.stack([mask for _, mask in arrays])).to(device)
    torch.manual_seed(0)
    model = to_device(build_model(config.model, dataset.task, 2), device, 2, spec).train()
    assert config.loss is not None
    criterion = config.loss.make(dataset.task).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=device.type == "cuda" or None)
    seconds = []
    for _ in range(epochs):
        synchronise(device)
        started = time.perf_counter()
        for start in range(0, len(images), setup.batch_size):
            stop = start + setup.batch_size
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = model(images[start:stop])
            criterion(logits.float(), masks[start:stop]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return len(images) / statistics.median(seconds[1:])


def segkit_train(setup: Setup, epochs: int, out: Path) -> float:
    """Images per second of `segkit train`, from its history.csv; validated where it is augmented."""
    val = 0 if setup.augment == "none" else 0.2
    more = (f"split.val={val}", "split.test=0", "train.schedule=none", "train.patience=0", f"train.epochs={epochs}")
    code = run(["-q", *setup.command(*more), "--out", str(out)])
    assert code == 0, f"segkit train ended with {code}"
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))[1:]
    seconds = [float(row["train_seconds"]) + float(row.get("val_seconds") or 0) for row in rows]
    return len(json.loads((out / "split.json").read_text())["train"]) / statistics.median(seconds)


def compare(setup: Setup, epochs: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Images per second of each round: "plain" and "full" of segkit, and "bare"."""
    figures: dict[str, list[float]] = {"plain": [], "full": [], "bare": []}
    for turn in range(rounds):
        for name, augment in (("plain", "none"), ("full", "standard")):
            arm = Setup(**{**vars(setup), "augment": augment})
            figures[name].append(segkit_train(arm, epochs, folder / f"{name}-{turn}"))
        figures["bare"].append(bare_loop(setup, epochs))
    return figures


def ratios(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Median, least and largest over the rounds."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return statistics.median(found), min(found), max(found)


def main() -> None:
    defaults = {"model": "unet", "width": 16, "size": 256, "batch_size": 8, "cases": 40, "device": "cpu"}
    options = parser(__doc__, **defaults, precision="fp32", workers=int, epochs=4, rounds=3)
    words = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = str(Path(folder) / "cache")
        figures = compare(setup_of(words), words.epochs, words.rounds, Path(folder))
    processor = platform.processor() or platform.machine()
    print(f"{processor}, torch {torch.__version__}, {torch.get_num_threads()} threads, {vars(words)}")
    print(f"bare loop                              {statistics.median(figures['bare']):8.1f} images/s")
    for name, arm in ARMS.items():
        middle, least, most = ratios(figures[arm], figures["bare"])
        speed = f"{statistics.median(figures[arm]):8.1f} images/s"
        print(f"{name:<38} {speed}, {middle:.3f} of bare (rounds {least:.2f} to {most:.2f})")


if __name__ == "__main__":
    main()
