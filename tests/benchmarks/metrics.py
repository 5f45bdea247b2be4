"""What metrics cost: overlap, lesions and calibration beside the plain NumPy and SciPy calls that they need, and HD95 beside
MONAI's; ratios from one run, on slices of 512 x 512 with 4 classes and on volumes.

python tests/benchmarks/metrics.py [--repeat 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from segkit import plugins
from segkit.evaluation.aggregate import score_case
from segkit.task import CaseResult, Metric, Task

CLASSES = ("background", "one", "two", "three")
SPACING = {2: (0.7, 0.7), 3: (1.0, 0.7, 0.7)}
SHAPES = {"slice 512 x 512": (512, 512), "volume 160 x 192 x 96": (160, 192, 96)}
TOGETHER = ("dice", "lesion-recall", "ece")


def example(shape: tuple[int, ...]) -> CaseResult:
    """Smooth blobs of three classes that fill about a tenth of the image, and probabilities a little off them."""
    draw = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    truth, labels = np.zeros((2, *shape), np.int64)
    for value in (1, 2, 3):
        middle = draw.uniform(-0.5, 0.5, len(shape))
        for mask, shift in ((truth, 0.0), (labels, 0.02)):
            mask[sum((axis - own - shift) ** 2 for axis, own in zip(grid, middle, strict=True)) < 0.05] = value
    p = np.full((4, *shape), 0.02, np.float32)
    np.put_along_axis(p, labels[None], 0.94, 0)
    return CaseResult(p, labels, truth, Task(1, CLASSES, len(shape), "multiclass"), SPACING[len(shape)])


def made(name: str, task: Task) -> Metric:
    spec = plugins.load().find("metrics", name).spec
    metric: Metric = spec.load()(task, spec.options())
    return metric


def plain(case: CaseResult) -> None:
    """One count of labels, one labelling of objects for each class and mask, one histogram of confidences."""
    np.bincount((case.truth * 4 + case.labels).ravel(), minlength=16)
    for mask in (case.truth, case.labels):
        for value in (1, 2, 3):
            ndimage.label(mask == value, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    confidence, right = case.probabilities.max(0), case.labels == case.truth
    for weights in (None, confidence, right):
        np.histogram(confidence, 15, (0, 1), weights=weights)


def theirs(case: CaseResult) -> None:
    masks = [torch.from_numpy(np.stack([mask == value for value in range(4)])[None]) for mask in (case.labels, case.truth)]
    compute_hausdorff_distance(*masks, percentile=95, spacing=case.spacing)


def ratio(ours: Callable[[], object], reference: Callable[[], object], repeat: int) -> tuple[float, float, float]:
    """Medians in seconds of both, in turns, and the first over the second."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeat):
        for own, call in zip(times, (ours, reference), strict=True):
            began = time.perf_counter()
            call()
            own.append(time.perf_counter() - began)
    first, second = map(statistics.median, times)
    return first, second, first / second


def lines(repeat: int) -> Iterator[str]:
    for name, shape in SHAPES.items():
        case = example(shape)
        together = {key: made(key, case.task) for key in TOGETHER}
        hd95 = {"hd95": made("hd95", case.task)}

        def fresh(metrics: dict[str, Metric], case: CaseResult = case) -> None:
            copy = CaseResult(case.probabilities, case.labels, case.truth, case.task, case.spacing)
            score_case(metrics, "a", "a", copy)

        ours, other, own = ratio(lambda: fresh(together), lambda: plain(case), repeat)  # noqa: B023
        yield f"{name:<22} {', '.join(TOGETHER)}: {ours:.4f} s, plain calls {other:.4f} s, ratio {own:.2f} (aim: 1.5)"
        ours, other, own = ratio(lambda: fresh(hd95), lambda: theirs(case), repeat)  # noqa: B023
        yield f"{name:<22} hd95: {ours:.4f} s, MONAI {other:.4f} s, ratio {own:.2f} (aim: 0.5)"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--repeat", type=int, default=7)
    for line in lines(words.parse_args().repeat):
        print(line, flush=True)


if __name__ == "__main__":
    main()
