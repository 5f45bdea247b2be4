"""The speed of training on a GPU, in one command of under 8 minutes.

    (a) segkit train over a bare loop on tensors that lie on the device, plain, and augmented and validated
    (b) augmentation of a batch on the device, 2D and 3D, against torchvision and MONAI
    (c) the loader alone, from the cache, by number of workers
    (d) training of unet and resunet in float32, bf16 and bf16 compiled (compiling left out): images/s, how busy the device
        is, and where a step's time goes
    (e) operator calls of one training step at batch 32 over those at batch 2: 1 where nothing loops over the cases

python tests/benchmarks/gpu.py [--json FILE]
python tests/benchmarks/gpu.py --device cpu --size 32 --batch-size 2 --width 4 --cases 4 --volume 24 --rounds 1 --window 0.1

(d) takes the training step apart in steps.py, which must be kept like that of segkit/training/epoch.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import launches
import loader
import overhead
import steps
import torch
from phantoms import numbers, parser, setup_of

from segkit.errors import SegkitError
from segkit.models.benchmark import machine
from segkit.models.device import choose_device

VOLUMES = 2  # in a batch
COMPILED = {"fp32": (False,), "bf16": (False, True)}


@dataclass(frozen=True)
class Figure:
    """One thing measured, or the reason why not.

    Args:
        part: the letter of the section.
        value: None where it could not be measured.
        note: for people; the reason where there is no value.
        more: further figures that belong to it, by what they are.
    """

    part: str
    name: str
    value: float | None
    unit: str
    note: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:10.4g} {self.unit}"
        return f"({self.part}) {self.name:<48} {value}{'; ' * bool(self.note)}{self.note}"


def overheads(words: argparse.Namespace) -> Iterator[Figure]:
    """(a) The ratios of overhead.py."""
    precision = "bf16" if choose_device(words.device).type == "cuda" else "fp32"
    setup = setup_of(words, model="unet", precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        figures = overhead.compare(setup, words.epochs, words.rounds, Path(folder))
    bare = statistics.median(figures["bare"])
    yield Figure("a", f"bare loop, unet, {precision}", bare, "images/s")
    for name, arm in overhead.ARMS.items():
        ratio, least, most = overhead.ratios(figures[arm], figures["bare"])
        speed = statistics.median(figures[arm])
        note = f"{speed:.1f} images/s (rounds {least:.2f} to {most:.2f})"
        yield Figure("a", name, ratio, "of bare", note, {"images/s": speed, "least": least, "most": most})


def augmentations(words: argparse.Namespace) -> Iterator[Figure]:
    """(b) The figures of augment.py, on the device."""
    device = choose_device(words.device)
    try:
        import augment  # needs MONAI
    except ImportError as error:
        yield Figure("b", "augmentation", None, "ms per image", f"{error}: pip install monai")
        return
    shapes = {"2D": (words.batch_size, 3, words.size, words.size), "3D": (VOLUMES, 1, *(words.volume,) * 3)}
    for dims, shape in shapes.items():
        sides = " x ".join(map(str, shape[2:]))
        for name, milliseconds, spread in augment.lines(augment.measure(shape, words.rounds, augment.ALL.elastic, device)):
            yield Figure("b", f"{name}, {dims}, {shape[0]} images of {sides}", milliseconds, "ms per image", spread)


def loading(words: argparse.Namespace) -> Iterator[Figure]:
    """(c) The figures of loader.py, pinned for the device as in training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = numbers(words.loaders) if words.loaders else [count for count in (0, 1, 2, 4, 8) if count <= max(2, cores)]
    pin = choose_device(words.device).type == "cuda"
    for speed in loader.throughput(setup_of(words), [words.batch_size], workers, words.epochs, pin):
        more = {"DataLoader over memory, images/s": speed.memory, "numpy, images/s": speed.numpy}
        note = f"{speed.segkit / speed.memory:.2f} of a DataLoader over memory, {speed.segkit / speed.numpy:.2f} of numpy"
        yield Figure("c", f"batch {speed.batch_size}, {speed.workers} workers", speed.segkit, "images/s", note, more)


def training(words: argparse.Namespace) -> Iterator[Figure]:
    """(d) Each model in each precision; what fails is said and left out."""
    for model, (precision, ways) in itertools.product(words.models.split(","), COMPILED.items()):
        for compiled in ways:
            name = f"{model}, {precision}{', compiled' * compiled}"
            setup = setup_of(words, model=model, precision=precision, augment="standard", compile=compiled)
            try:
                yield from of_training(name, steps.measure(setup, words.window))
            except (SegkitError, RuntimeError) as error:
                yield Figure("d", name, None, "images/s", str(error).strip().splitlines()[0])
            torch.cuda.empty_cache()


def of_training(name: str, found: steps.Measured) -> Iterator[Figure]:
    alone = f"the network alone {found.alone:.1f} images/s, {found.workers} workers"
    yield Figure("d", name, found.images_per_second, "images/s", alone, {"network alone, images/s": found.alone})
    nvml = {} if found.nvml is None else {"NVML, %": found.nvml}
    known = f"NVML says {found.nvml:.0f} %" if nvml else "no word from NVML"
    note = known if found.busy else f"the profiler saw none, as on a CPU; {known}"
    yield Figure("d", f"{name}: a kernel runs", found.busy, "% of the time", note, nvml)
    whole = sum(found.split.values())
    shares = ", ".join(f"{part} {100 * value / whole:.1f} %" for part, value in found.split.items())
    slowest = f"slowest: {found.slowest()}; besides the network: {found.slowest(steps.NETWORK)}"
    yield Figure("d", f"{name}: a step, part by part", whole, "ms", f"{shares}; {slowest}", found.split)


def calls(words: argparse.Namespace) -> Iterator[Figure]:
    """(e) The figures of launches.py, on a small network."""
    setup = setup_of(words, model="unet", width=8, size=64, precision="fp32", augment="standard", workers=0)
    found = launches.measure(setup)
    more = {f"batch {size}, calls": count for size, count in found.calls.items()}
    note = ", ".join(f"{count:.0f} at batch {size}" for size, count in found.calls.items())
    yield Figure("e", "operator calls of a step, by batch size", found.ratio, "largest over smallest", note, more)


def options() -> argparse.ArgumentParser:
    sizes = {"size": 256, "batch_size": 32, "width": 64, "cases": 320, "volume": 96}
    made = parser(
        __doc__, device="cuda", **sizes, workers=int, rounds=3, epochs=4, window=2.0, loaders=str, models="unet,resunet"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    return made


def main() -> None:
    words = options().parse_args()
    try:
        about = {**machine(words.device), "cores": str(os.cpu_count())}
    except SegkitError as error:
        sys.exit(str(error))
    print(f"{about}, {vars(words)}", flush=True)
    figures: list[Figure] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = folder
        for section in (overheads, augmentations, loading, training, calls):
            for figure in section(words):
                print(figure, flush=True)
                figures.append(figure)
            print(f"    {time.perf_counter() - began:.0f} s so far", flush=True)
            if words.json:
                document = {"machine": about, "figures": [asdict(figure) for figure in figures]}
                words.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
