"""Predict and score the cases of a dataset, one after the other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from segkit import distributed, reporter
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.evaluation.aggregate import CaseScore, score_case
from segkit.evaluation.breakdown import facts_of_case
from segkit.evaluation.grid import OWN, predict_on
from segkit.evaluation.result import Evaluation
from segkit.inference.doubts import Doubts, is_cut
from segkit.inference.network import Network
from segkit.inference.postprocess import Postprocess, clean_up
from segkit.inference.probabilities import labels_of
from segkit.task import Case, CaseResult, Dataset, Metric, Sample

logger = logging.getLogger(__name__)

Watch = Callable[[Case, Sample, CaseResult], None]
Item = TypeVar("Item")


def score_cases(
    networks: Sequence[Network],
    dataset: Dataset,
    cases: Sequence[Case],
    metrics: Mapping[str, Metric],
    post: Postprocess,
    grid: str = OWN,
    watch: Watch | None = None,
) -> Evaluation:
    """Predict and score each case; one that cannot be read is named in `failed` and the rest is done.

    Each process takes its share of the cases; all of them get all scores.

    Args:
        networks: one, or an ensemble.
        dataset, cases: what is scored.
        metrics: by name.
        post: what is done to probabilities.
        grid: one of `segkit.evaluation.grid.GRIDS`.
        watch: is shown each case with its prediction.
    """
    task, failed, scores = dataset.task.learned_by(networks[0].task.kind), dict[str, str](), list[CaseScore]()
    own, doubts, clock = distributed.shard(cases), Doubts(networks[0]), Clock()

    def read() -> Iterator[tuple[tuple[Case, Sample], Sample]]:
        for case in own:
            with clock.stopped():
                try:
                    sample = read_case(dataset, case)
                except SegkitError as error:
                    failed[case.id] = error.message
                    logger.error(f"{case.id}: {error.message}")
                    continue
                doubts.look(case.id, sample.image)
            yield (case, sample), sample

    with reporter.progress("evaluating", len(own)) as bar:
        for (case, sample), found in clock.during(predict_on(grid, networks, dataset.task, read())):
            labels = clean_up(labels_of(found.probabilities, task, post.thresholds), post)
            result = CaseResult(found.probabilities, labels, found.truth, task, found.spacing, found.slice_axis)
            if task.kind == "segmentation":
                doubts.count_cut(grid == OWN and is_cut(labels, found.probabilities.shape[1:], networks[0], found.spacing))
                if found.truth.any():
                    doubts.count(not labels.any())
            score = score_case(metrics, case.id, case.group, result)
            scores.append(replace(score, facts=facts_of_case(case, result)))
            if watch is not None:
                watch(case, sample, result)
            bar.advance()
    doubts.say_rest()
    milliseconds = 1000 * clock.seconds / (len(own) - len(failed)) if len(own) > len(failed) else math.nan
    order = {case.id: number for number, case in enumerate(cases)}
    scores = sorted(distributed.gather_shards(scores), key=lambda score: order[score.id])
    failed = dict(sorted(distributed.gather_shards(list(failed.items())), key=lambda pair: order[pair[0]]))
    return Evaluation(tuple(scores), failed, inference_ms=milliseconds)


@dataclass
class Clock:
    """Seconds that a stream took to give its items, without what it was stopped for."""

    seconds: float = 0.0

    def during(self, stream: Iterable[Item]) -> Iterator[Item]:
        began = time.perf_counter()
        for item in stream:
            self.seconds += time.perf_counter() - began
            yield item
            began = time.perf_counter()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds -= time.perf_counter() - began
