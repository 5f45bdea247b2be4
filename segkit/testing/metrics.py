"""What every metric must do, in each mode and kind that its spec claims, on images, volumes and classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from segkit.config.resolve import Choice
from segkit.evaluation.aggregate import add
from segkit.specs import MetricSpec
from segkit.task import CaseResult, Metric, Task
from segkit.testing.contract import Contract, named

Labels = NDArray[np.int64]
SITUATIONS = ("both-empty", "empty-truth", "empty-prediction", "full-truth")


class MetricContract(Contract):
    """Subclass it, set `name`, and pytest runs it.

    Attributes:
        name: the metric's spec name, bare or full.
        options: options it is made with.
        undefined: those of `SITUATIONS` in which its value for a class may be NaN.
        divisible: an image cut in two has, added up, the counts of the whole; False for what looks at neighbourhoods, such
            as surface distances.
        of_labels: the right labels are the best, whatever their probabilities; False for calibration.
    """

    group = "metrics"
    undefined: ClassVar[tuple[str, ...]] = ()
    divisible: ClassVar[bool] = True
    of_labels: ClassVar[bool] = True

    def tasks(self, choice: Choice) -> Iterator[Task]:
        """One for each mode, kind and number of axes that the spec claims."""
        spec: MetricSpec = choice.spec
        for mode in spec.modes:
            classes = ("background", "first", "second")[: 2 if mode == "binary" else 3]
            for kind in spec.kinds:
                for dims in (2, 3) if kind == "segmentation" else (3,):
                    yield Task(1, classes, dims, mode, kind)  # type: ignore[arg-type]

    def truth(self, task: Task, seed: int = 0) -> Labels:
        """(*S), or (K, *S) for multilabel; every class is there. Of a classification the slices of a volume."""
        sides = (8,) * task.dims if task.kind == "segmentation" else (24,)
        shape = (task.outputs, *sides) if task.mode == "multilabel" else sides
        values = 2 if task.mode == "multilabel" else len(task.classes)
        return np.random.default_rng(seed).permutation(np.arange(math.prod(shape)) % values).reshape(shape)

    def wrong(self, task: Task, truth: Labels, share: float, seed: int = 1) -> Labels:
        """Labels of which about this share is wrong."""
        draw = np.random.default_rng(seed)
        values = 2 if task.mode == "multilabel" else len(task.classes)
        return np.where(draw.random(truth.shape) < share, (truth + 1) % values, truth)

    def result(self, task: Task, truth: Labels, labels: Labels) -> CaseResult:
        """A prediction with these labels, beside the truth, with 1 mm of spacing."""
        classes = np.arange(len(task.classes)).reshape(-1, *[1] * labels.ndim)
        chosen = labels == classes if task.mode == "multiclass" else labels if task.mode == "multilabel" else labels[None]
        other = 0.1 / (task.outputs - 1) if task.mode == "multiclass" else 0.1
        probabilities = np.where(chosen, 0.9, other).astype(np.float32)
        spacing = (1.0,) * task.dims if task.kind == "segmentation" else None
        return CaseResult(probabilities, labels, truth, task, spacing)

    def test_values_are_named_by_class_or_not_at_all(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            truth = self.truth(task)
            values = _values(_made(choice, task), self.result(task, truth, self.wrong(task, truth, 0.3)))
            assert values
            for name in values:
                known = name in ("", *task.classes, *task.regions) or ("/" in name and all(name.split("/")))
                assert known, f"{name!r} is neither '', nor a class or region, nor 'a/b'"
                assert name.partition("/")[0] != choice.spec.name, "the metric's own name is put before it by the core"

    def test_counts_add_up(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            metric, axis = _made(choice, task), 1 if task.mode == "multilabel" else 0
            truths = [self.truth(task, seed) for seed in (0, 1)]
            labels = [self.wrong(task, truth, 0.3, seed=2) for truth in truths]
            parts = [{"own": _counts(metric, self.result(task, *pair))} for pair in zip(truths, labels, strict=True)]
            total = _floats(metric.finish(add(parts)["own"]))
            assert total == pytest.approx(_floats(metric.finish(add(parts[::-1])["own"])), nan_ok=True)
            assert total.keys() == _floats(metric.finish(parts[0]["own"])).keys()
            if self.divisible:
                whole = self.result(task, np.concatenate(truths, axis), np.concatenate(labels, axis))
                assert _values(metric, whole) == pytest.approx(total, nan_ok=True)

    def test_a_perfect_prediction_is_the_best(self, choice: Choice) -> None:
        better = choice.spec.higher_is_better
        if better is None or not self.of_labels:
            pytest.skip("it has no direction, or is not of labels")
        for task in self.tasks(choice):
            metric, truth = _made(choice, task), self.truth(task)
            best = _values(metric, self.result(task, truth, truth))
            for share in (0.1, 0.5, 1.0):
                found = _values(metric, self.result(task, truth, self.wrong(task, truth, share)))
                for name in (name for name in best if "/" not in name and not math.isnan(found[name])):
                    assert best[name] >= found[name] if better else best[name] <= found[name], (task.mode, name, share)
            assert not any(math.isnan(value) for name, value in best.items() if "/" not in name)

    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_it_is_undefined_only_where_it_says_so(self, choice: Choice, situation: str) -> None:
        for task in self.tasks(choice):
            some = (self.truth(task) > 0).astype(np.int64)
            nothing, everything = np.zeros_like(some), np.ones_like(some)
            truth, labels = {
                "both-empty": (nothing, nothing),
                "empty-truth": (nothing, some),
                "empty-prediction": (some, nothing),
                "full-truth": (everything, some),
            }[situation]
            values = _values(_made(choice, task), self.result(task, truth, labels))
            for name in {"", task.foreground[0]} & values.keys():
                assert situation in self.undefined or not math.isnan(values[name]), f"{task.mode} {task.kind}: {name!r}"

    def test_the_same_goes_in_and_the_same_comes_out(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            metric, truth = _made(choice, task), self.truth(task)
            result = self.result(task, truth, self.wrong(task, truth, 0.3))
            arrays = (result.probabilities, result.labels, result.truth)
            copies = [array.copy() for array in arrays]
            assert _values(metric, result) == pytest.approx(_values(metric, result), nan_ok=True, rel=0, abs=0)
            assert all(np.array_equal(one, other) for one, other in zip(arrays, copies, strict=True))


def _made(choice: Choice, task: Task) -> Metric:
    metric = choice.make(task)
    assert isinstance(metric, Metric), f"build gave {named(metric)}; a segkit.api.Metric was expected"
    return metric


def _counts(metric: Metric, result: CaseResult) -> Mapping[str, Any]:
    counts = metric.measure(result)
    assert isinstance(counts, Mapping), f"measure gave {named(counts)}; counts by name were expected"
    return counts


def _values(metric: Metric, result: CaseResult) -> dict[str, float]:
    return _floats(metric.finish(_counts(metric, result)))


def _floats(values: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(values, Mapping), f"finish gave {named(values)}; values by name were expected"
    return {name: float(value) for name, value in values.items()}
