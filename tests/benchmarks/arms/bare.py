"""What anybody would write first: a plain U-Net and a plain loop, with ordinary care.

AdamW and one cycle over a number of steps fixed from the measured time of a step, Dice + BCE (or + cross-entropy), flips of
images, bf16 where it is faster, channels last. The weights are those of the last step.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from arms.job import LATE, Job, Trained, answer
from arms.view import choose_view, image_tensor, labels_of, mask_tensor

WIDTHS = {2: (32, 64, 128, 256, 256), 3: (16, 32, 64, 128)}
BATCH = {2: 8, 3: 2}
RATE = 2e-3
DECAY = 1e-2
USED = 0.97  # of the time that is left, by the measured step
TRIALS = 3  # steps that are measured in each precision, after one that is not

Build = Callable[[int, int, int], nn.Module]  # channels, outputs, dims


class UNet(nn.Module):
    """Two convolutions with normalisation and ReLU on each level (batch norm in 2D, instance norm in 3D)."""

    def __init__(self, channels: int, outputs: int, dims: int) -> None:
        super().__init__()
        conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if dims == 2 else nn.InstanceNorm3d
        up: Any = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d

        def block(inputs: int, width: int) -> nn.Sequential:
            parts = [
                part
                for before in (inputs, width)
                for part in (conv(before, width, 3, padding=1, bias=False), norm(width, affine=True), nn.ReLU(True))
            ]
            return nn.Sequential(*parts)

        widths = WIDTHS[dims]
        self.pool = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)
        self.down = nn.ModuleList(block(*pair) for pair in zip((channels, *widths), widths, strict=False))
        self.up = nn.ModuleList(up(deep, flat, 2, 2) for flat, deep in itertools.pairwise(widths))
        self.merge = nn.ModuleList(block(2 * width, width) for width in widths[:-1])
        self.head = conv(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        logits: Tensor = self.head(x)
        return logits


def dice_and_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """(B, K, *S) and (B, *S); Dice is soft, of the whole batch, over the foreground classes."""
    if logits.shape[1] == 1:
        entropy = functional.binary_cross_entropy_with_logits(logits[:, 0], masks.float())
        found, truth = logits.sigmoid(), masks[:, None].float()
    else:
        entropy = functional.cross_entropy(logits, masks)
        found = logits.softmax(1)[:, 1:]
        truth = functional.one_hot(masks, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    over = (0, *range(2, logits.ndim))
    dice = (2 * (found * truth).sum(over) + 1) / (found.sum(over) + truth.sum(over) + 1)
    return entropy + 1 - dice.mean()


def batches(images: Tensor, masks: Tensor, size: int, dims: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end, every case once in each pass; images are flipped at random."""
    while True:
        for chosen in torch.randperm(len(images)).split(min(size, len(images))):
            if len(chosen) < min(size, len(images)):
                continue  # batch norm does not like the odd one
            x, y = images[chosen], masks[chosen]
            for axis in (-1, -2) if dims == 2 else ():
                if torch.rand(()) < 0.5:
                    x, y = x.flip(axis), y.flip(axis)
            yield x, y


class Loop:
    """A network, its optimiser, and one step."""

    def __init__(self, network: nn.Module, half: bool, dims: int) -> None:
        self.network, self.half = network.train(), half
        self.layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        self.network.to(memory_format=self.layout)
        self.optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)

    def step(self, images: Tensor, masks: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            logits = self.network(images.contiguous(memory_format=self.layout))
        self.optimizer.zero_grad()
        dice_and_entropy(logits.float(), masks).backward()
        self.optimizer.step()


def faster_precision(network: nn.Module, stream: Iterator[tuple[Tensor, Tensor]], dims: int) -> tuple[bool, float]:
    """Whether bf16 is faster, and the seconds of a step; measured on copies, in turns."""
    loops = {half: Loop(copy.deepcopy(network), half, dims) for half in (True, False)}
    seconds: dict[bool, list[float]] = {half: [] for half in loops}
    for _ in range(1 + TRIALS):
        for half, loop in loops.items():
            began = time.perf_counter()
            loop.step(*next(stream))
            seconds[half].append(time.perf_counter() - began)
    half = min(seconds[True]) < min(seconds[False])
    return half, statistics.median(seconds[half][1:])


def train(job: Job, build: Build = UNet, slices: bool = False) -> Trained:
    """Train a network for the job's time. `slices`: also isotropic volumes go slice by slice."""
    torch.manual_seed(job.seed)
    dataset = job.open()
    samples = job.read(dataset, "train")
    view = choose_view(samples, slices)
    images = torch.cat([image_tensor(sample, view) for sample in samples])
    masks = torch.cat([mask_tensor(sample, view) for sample in samples])
    network = build(dataset.task.channels, dataset.task.outputs, view.dims)
    stream = batches(images, masks, BATCH[view.dims], view.dims)
    half, seconds = faster_precision(network, stream, view.dims)
    loop = Loop(network, half, view.dims)
    steps = max(2, int(USED * (job.deadline - time.time()) / seconds))
    schedule = torch.optim.lr_scheduler.OneCycleLR(loop.optimizer, RATE, steps)
    done = 0
    while done < steps and time.time() < job.started + LATE * job.seconds:
        loop.step(*next(stream))
        schedule.step()
        done += 1
    network.eval()

    def predict(case: Any, sample: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(image_tensor(sample, view).contiguous(memory_format=loop.layout))
        return labels_of(logits.float(), sample, view)

    passes = done * BATCH[view.dims] / len(images)
    seen = " x ".join(map(str, view.size))
    return Trained(predict, f"{done} of {steps} steps, {passes:.0f} passes, {seen}, {'bf16' if half else 'fp32'}")


if __name__ == "__main__":
    answer(train)
