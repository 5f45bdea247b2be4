"""What `segkit predict` costs beside the bare network, and how much memory it needs.

python tests/benchmarks/predict.py              everything
python tests/benchmarks/predict.py speed        (a) 200 JPEGs: images/s of the command over those of the bare network
python tests/benchmarks/predict.py runtimes     (b) onnxruntime over torch on the CPU
python tests/benchmarks/predict.py start        (c) one image, from the start of the program, torch and ONNX
python tests/benchmarks/predict.py memory       (d) a 20,000 x 20,000 image and a 512 x 512 x 300 volume, over a small one
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

TRAIN = "train --dataset phantom --model unet -o dataset.cases=8 --epochs 1 --batch-size 2"
SIDE = 512


def segkit(*words: str | Path) -> float:
    """Seconds of a command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "segkit", "-q", *map(str, words)], check=True)
    return time.perf_counter() - started


def peak(*words: str | Path) -> int:
    """The largest resident size of a command, bytes (VmHWM: ru_maxrss would also count this process before the exec)."""
    program = "import re, sys\nfrom segkit.cli.app import run\nassert run(sys.argv[1:]) == 0\n"
    program += "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024)"
    done = subprocess.run(
        [sys.executable, "-c", program, "-q", *map(str, words)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def photographs(folder: Path, count: int) -> None:
    """Smooth noise: compresses like a photograph."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        rough = draw.integers(0, 255, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.jpg", quality=90)


def speed(folder: Path, count: int) -> None:
    """(a) The command on a folder, start-up left out, beside the network alone on tensors that are ready."""
    from segkit.inference.load import load_networks

    run, images = folder / "wide", folder / "photographs"
    segkit(*TRAIN.split(), "-o", "model.width=32", "-o", f"preprocess.size={SIDE}", "-o", "dataset.size=64", "--out", run)
    photographs(images, count)
    (network,) = load_networks([run / "model.safetensors"], "cpu", None)
    batch = np.random.default_rng(0).random((network.at_once(SIDE * SIDE), 3, SIDE, SIDE)).astype(np.float32)
    network.forward(batch)
    start_up = min(segkit("predict", run, images / "000.jpg", "--out", folder / f"one-{turn}") for turn in range(2))
    bare, command = [], []
    for turn in range(2):
        started = time.perf_counter()
        for _ in range(count // len(batch)):
            network.forward(batch)
        bare.append(count // len(batch) * len(batch) / (time.perf_counter() - started))
        taken = segkit("predict", run, images, "--out", folder / f"all-{turn}")
        command.append((count - 1) / (taken - start_up))
    ours, alone = statistics.median(command), statistics.median(bare)
    print(f"(a) {count} JPEGs of {SIDE} x {SIDE}, unet of width 32: {ours / alone:.3f} of the bare network")
    print(f"    {ours:.2f} images/s, the network alone {alone:.2f}; start-up {start_up:.2f} s")


def runtimes(folder: Path) -> None:
    """(b) One forward pass in both runtimes, taking turns."""
    from segkit.inference.load import load_networks

    for name, width, side in (("unet", 32, 256), ("resunet", 32, 256), ("deeplabv3plus", None, 256)):
        run, file = folder / f"b-{name}", folder / f"b-{name}.onnx"
        more = ["-o", f"model.width={width}"] if width else ["-o", "model.encoder=resnet18"]
        words = TRAIN.replace("--model unet", f"--model {name}").split()
        segkit(*words, *more, "-o", f"preprocess.size={side}", "-o", "dataset.size=64", "--out", run)
        segkit("export", run, "--out", file)
        networks = [load_networks([path], "cpu", None)[0] for path in (run / "model.safetensors", file)]
        batch = np.random.default_rng(0).random((4, 3, side, side)).astype(np.float32)
        seconds: list[list[float]] = [[], []]
        for turn in range(8):
            for own, network in zip(seconds, networks, strict=True):
                started = time.perf_counter()
                network.forward(batch)
                own += [time.perf_counter() - started] if turn else []
        torch_time, onnx_time = (statistics.median(own) for own in seconds)
        print(f"(b) {name}: onnxruntime takes {onnx_time / torch_time:.2f} of torch's {torch_time:.3f} s")


def start(folder: Path) -> None:
    """(c) One small image, everything included."""
    run, file, image = folder / "small", folder / "small.onnx", folder / "small.png"
    segkit(*TRAIN.split(), "-o", "model.width=8", "-o", "preprocess.size=64", "--out", run)
    segkit("export", run, "--out", file)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    for what in (run, file):
        taken = [segkit("predict", what, image, "--out", folder / f"c-{what.suffix}-{turn}") for turn in range(5)]
        print(f"(c) segkit predict of one image from {what.suffix or 'a run'}: {statistics.median(taken):.2f} s")


def memory(folder: Path) -> None:
    """(d) Peaks over that of a small input."""
    draw = np.random.default_rng(0)
    large = draw.integers(0, 255, (2500, 2500, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    Image.fromarray(large).save(folder / "large.png", compress_level=1)
    import tifffile

    tifffile.imwrite(folder / "large.tif", large, tile=(512, 512), compression="zlib", photometric="rgb")
    del large
    Image.fromarray(np.zeros((600, 600, 3), np.uint8)).save(folder / "little.png")
    for fit, size in (("stretch", "256"), ("patch", "512"), ("native", None)):
        run = folder / f"d-{fit}"
        more = ["-o", f"preprocess.fit={fit}", *(["-o", f"preprocess.size={size}"] if size else [])]
        segkit(*TRAIN.split(), "-o", "model.width=8", "-o", "dataset.size=64", *more, "--out", run)
        least = peak("predict", run, folder / "little.png", "--out", folder / f"{run.name}-little")
        for name in ("large.png", "large.tif"):
            _report(
                f"20,000 x 20,000 RGB {name[-3:]}, {fit}",
                least,
                lambda name=name, run=run: peak("predict", run, folder / name, "--out", folder / f"{run.name}-{name}"),
            )
    for name, shape in (("little", (128, 128, 64)), ("large", (512, 512, 300))):
        nib.save(
            nib.Nifti1Image(draw.integers(-1000, 2000, shape, dtype=np.int16), np.diag([0.8, 0.8, 1.0, 1.0])),
            folder / f"{name}.nii",
        )
    base = "-o dataset.dims=3 -o dataset.size=32 -o dataset.colour=false -o dataset.classes=3 -o model.width=8".split()
    for model, fit, size in (("unet3d", "patch", "96"), ("unet3d", "stretch", "128"), ("unet", "native", None)):
        run = folder / f"d-{model}-{fit}"
        more = ["-o", f"preprocess.fit={fit}", *(["-o", f"preprocess.size={size}"] if size else [])]
        segkit(*TRAIN.replace("--model unet", f"--model {model}").split(), *base, *more, "--out", run)
        least = peak("predict", run, folder / "little.nii", "--out", folder / f"{run.name}-little")
        _report(
            f"512 x 512 x 300, 4 classes, {model}, {fit}",
            least,
            lambda run=run: peak("predict", run, folder / "large.nii", "--out", folder / f"{run.name}-large"),
        )


def _report(what: str, least: int, measure: Callable[[], int]) -> None:
    most = measure()
    print(f"(d) {what}: {(most - least) / 1e9:.2f} GB over a small one's {least / 1e9:.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "runtimes", "start", "memory"])
    parser.add_argument("--images", type=int, default=200)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in words.parts:
            speed(folder, words.images)
        if "runtimes" in words.parts:
            runtimes(folder)
        if "start" in words.parts:
            start(folder)
        if "memory" in words.parts:
            memory(folder)


if __name__ == "__main__":
    main()
