"""What augmentation costs: ms per image of MONAI and torchvision over segkit's, measured in one run, in turns.

Every arm does every operation to every image (segkit with augment.chance=1), each image with draws of its own: flips,
rotation, scaling, elastic bending of image and mask; brightness, contrast, gamma, noise, blur.

    segkit       one resampling of the batch; control points at every quarter of the side bend
    MONAI        image by image, on tensors without metadata (its fastest): RandFlipd for each axis; rotation, scale and
                 bending in one resampling by Rand2DElasticd (control points at every quarter of the side) or
                 Rand3DElasticd (random vectors smoothed by 5 to 7 voxels); RandStdShiftIntensityd,
                 RandScaleIntensityFixedMeand, RandAdjustContrastd, RandGaussianNoised, RandGaussianSmoothd
    torchvision  v2, image by image, on tv_tensors: flips, RandomAffine, ElasticTransform with its default sigma of 5 pixels
                 (as smooth as the others' would be far slower), ColorJitter (brightness, contrast), adjust_gamma with a
                 random exponent, GaussianNoise, GaussianBlur. It knows no volumes: one is a stack of slices that share
                 their draws, and all moves and the blur stay within the slice, which is less than the others do

Bending is the dearest part of the references, so all is measured a second time without it: there MONAI has RandAffined.

    python tests/benchmarks/augment.py
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from clock import synchronise
from monai import transforms as monai
from monai.data.meta_obj import set_track_meta
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from segkit.settings import AUGMENT_POLICIES, Augment
from segkit.training.augmentation.augment import augment

Arm = Callable[[Tensor, Tensor, int], Any]

ALL = Augment("standard", chance=1.0, **AUGMENT_POLICIES["standard"])  # type: ignore[arg-type]


def ours(settings: Augment) -> Arm:
    def run(images: Tensor, masks: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        return augment(images, masks, settings, 0, turn, [str(row) for row in range(len(images))])

    return run


def monai_moves(size: tuple[int, ...], elastic: float) -> Any:
    """Rotation, scale and, where asked, bending: one resampling."""
    dims = len(size)
    common: dict[str, Any] = {
        "keys": ["image", "mask"],
        "prob": 1.0,
        "mode": ("bilinear", "nearest"),
        "padding_mode": "zeros",
        "rotate_range": (math.radians(ALL.rotate),) * (1 if dims == 2 else 3),
        "scale_range": (ALL.scale,) * dims,
    }
    if not elastic:
        return monai.RandAffined(**common)
    shift = elastic * size[0]
    if dims == 2:
        return monai.Rand2DElasticd(spacing=(size[0] / 4, size[1] / 4), magnitude_range=(0, shift), **common)
    return monai.Rand3DElasticd(sigma_range=(5, 7), magnitude_range=(0, 20 * shift), **common)


def with_monai(size: tuple[int, ...], elastic: float) -> Arm:
    """The same operations as dictionary transforms, on plain tensors."""
    set_track_meta(False)
    both, dims = ["image", "mask"], len(size)
    blur = {f"sigma_{axis}": (0.0, ALL.blur) for axis in "xyz"}
    chain = monai.Compose(
        [
            *(monai.RandFlipd(both, ALL.flip, axis) for axis in range(dims)),
            monai_moves(size, elastic),
            monai.RandStdShiftIntensityd("image", ALL.brightness, prob=1, channel_wise=True),
            monai.RandScaleIntensityFixedMeand("image", prob=1, factors=ALL.contrast),
            monai.RandAdjustContrastd("image", prob=1, gamma=(1 / (1 + ALL.gamma), 1 + ALL.gamma)),
            monai.RandGaussianNoised("image", prob=1, std=ALL.noise / 4),
            monai.RandGaussianSmoothd("image", prob=1, **blur),
        ]
    )

    def run(images: Tensor, masks: Tensor, turn: int) -> list[Any]:
        pairs = zip(images, masks, strict=True)
        return [chain({"image": image, "mask": mask[None]}) for image, mask in pairs]

    return run


class RandomGamma(v2.Transform):
    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"gamma": math.exp(random.uniform(-1, 1) * math.log1p(ALL.gamma))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        is_image = isinstance(inpt, tv_tensors.Image)
        return v2.functional.adjust_gamma(inpt, params["gamma"]) if is_image else inpt


def with_torchvision(dims: int, elastic: float) -> Arm:
    chain = v2.Compose(
        [
            v2.RandomHorizontalFlip(ALL.flip),
            v2.RandomVerticalFlip(ALL.flip),
            v2.RandomAffine(
                ALL.rotate, scale=(1 / (1 + ALL.scale), 1 + ALL.scale), interpolation=InterpolationMode.BILINEAR
            ),
            *([v2.ElasticTransform(alpha=50.0, sigma=5.0)] if elastic else []),
            v2.ColorJitter(ALL.brightness, ALL.contrast),
            RandomGamma(),
            v2.GaussianNoise(sigma=ALL.noise / 4),
            v2.GaussianBlur(7, (0.01, ALL.blur)),
        ]
    )

    def run(images: Tensor, masks: Tensor, turn: int) -> list[Any]:
        if dims == 3:  # (C, X, Y, Z) -> slices (X, C, Y, Z)
            images = images.transpose(1, 2)
        pairs = zip(images, masks, strict=True)
        return [chain(tv_tensors.Image(image), tv_tensors.Mask(mask)) for image, mask in pairs]

    return run


def measure(shape: tuple[int, ...], rounds: int, elastic: float, device: torch.device) -> dict[str, list[float]]:
    """Seconds per image of each arm, in turns, on a batch (B, C, *S); the first turn is left out."""
    batch, channels, *rest = shape
    size, everything = tuple(rest), dataclasses.replace(ALL, elastic=elastic)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    masks = (images[:, 0] > 0.5).int()
    arms = {"segkit": ours(everything), "MONAI": with_monai(size, elastic)}
    if len(size) == 2:
        arms["torchvision"] = with_torchvision(2, elastic)
    elif channels == 1:  # its contrast takes one channel or three
        arms["torchvision, slice by slice"] = with_torchvision(3, elastic)
    if elastic:
        arms["segkit, --augment standard"] = ours(dataclasses.replace(ALL, chance=Augment().chance))
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, arm in arms.items():
            synchronise(device)
            started = time.perf_counter()
            arm(images, masks, turn)
            synchronise(device)
            seconds[name].append((time.perf_counter() - started) / batch)
    return {name: values[1:] for name, values in seconds.items()}


def lines(seconds: dict[str, list[float]]) -> Iterator[tuple[str, float, str]]:
    """Of each arm its name, milliseconds per image, and how many times segkit's."""
    for name, values in seconds.items():
        ratios = [theirs / own for theirs, own in zip(values, seconds["segkit"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} times segkit's (rounds {min(ratios):.2f} to {max(ratios):.2f})"
        yield name, 1000 * statistics.median(values), spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch chooses")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the references'
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{platform.processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for shape in ((8, 3, 256, 256), (2, 1, 96, 96, 96), (2, 4, 96, 96, 96)):
        for elastic in (ALL.elastic or 0.0, 0.0):
            operations = "all operations" if elastic else "all but elastic"
            print(f"{' x '.join(map(str, shape))} and masks, {operations}: ms per image")
            for name, milliseconds, spread in lines(measure(shape, arguments.rounds, elastic, torch.device("cpu"))):
                print(f"  {name:<28} {milliseconds:8.2f}   {spread}")


if __name__ == "__main__":
    main()
