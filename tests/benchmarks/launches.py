"""Operator calls of one training step, at a small and at a large batch: on a GPU each call costs, however small its work.

Counted by torch's profiler over whole steps of `segkit train` as steps.py takes them: augmentation, forward, loss, backward,
optimiser, counting of metrics. A loop over the cases of a batch anywhere in these shows as a ratio above 1. The operators
that an operator is made of count as well; calls are counted on the CPU, where they are given, whatever the device.

    python tests/benchmarks/launches.py --model resunet --batch-sizes 2,32
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, replace

import steps
import torch
from phantoms import Setup, numbers, parser, setup_of
from torch.profiler import ProfilerActivity, profile

from segkit.training.running_metrics import RunningCounts
from segkit.training.step_checks import where_finite

STEPS = 3  # that are counted; what is drawn differs from step to step


@dataclass(frozen=True)
class Launches:
    """Operator calls of one step at each batch size, on average.

    Args:
        calls: by batch size, smallest first.
        grown: operators that are called more often at the largest than at the smallest, and how often more.
    """

    calls: dict[int, float]
    grown: Counter[str]

    @property
    def ratio(self) -> float:
        """Calls at the largest batch over those at the smallest."""
        counts = list(self.calls.values())
        return counts[-1] / counts[0]


def measure(setup: Setup, batch_sizes: tuple[int, ...] = (2, 32)) -> Launches:
    """Of the training that the setup describes."""
    counts = {size: count(replace(setup, batch_size=size, cases=size)) for size in sorted(batch_sizes)}
    few, *_, many = counts.values()
    return Launches({size: found.total() / STEPS for size, found in counts.items()}, many - few)


def count(setup: Setup) -> Counter[str]:
    """Calls of each operator in `STEPS` steps, after one that warms up."""
    training = steps.Training(setup)
    batch, counts = training.held(), RunningCounts(training.parts.task)

    def step(epoch: int) -> None:
        logits = steps.take_step(training.parts, batch, epoch, counts, steps.untimed)
        where_finite(batch.images, [logits])

    step(1)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(STEPS):
            step(2 + number)
    return Counter({event.key: event.count for event in profiled.key_averages() if event.key.startswith("aten::")})


def main() -> None:
    defaults = {"model": "unet", "width": 8, "size": 64, "device": "cpu", "precision": "fp32", "augment": "standard"}
    options = parser(__doc__, **defaults)
    options.add_argument("--batch-sizes", default="2,32", help="default: 2,32")
    words: argparse.Namespace = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = folder
        found = measure(setup_of(words, workers=0), tuple(numbers(words.batch_sizes)))
    print(f"torch {torch.__version__}, {vars(words)}")
    for size, calls in found.calls.items():
        print(f"batch {size:>4}: {calls:8.0f} operator calls of a step")
    print(f"ratio {found.ratio:.3f}; grown: {dict(found.grown.most_common(5)) or 'none'}")


if __name__ == "__main__":
    main()
