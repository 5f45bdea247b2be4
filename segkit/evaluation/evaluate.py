"""Score weights on a dataset, on the ground truth's own grid: a table, cases.csv and metrics.json."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segkit import distributed, reporter
from segkit.config.complete import complete_metrics
from segkit.config.resolve import Assignments, Choice, gather
from segkit.data.preprocess import geometry_of
from segkit.data.reading import read_case
from segkit.errors import SegkitError, UsageError
from segkit.evaluation.aggregate import CaseScore, Figure, add, all_figures, build_metrics, score_case
from segkit.evaluation.breakdown import breakdown, facts_of_case
from segkit.evaluation.spread import Spread, spread_of
from segkit.evaluation.subset import SECTIONS, check_members, check_task, open_evaluation_data, select
from segkit.files import write_csv, write_json
from segkit.inference.doubts import Doubts
from segkit.inference.load import load_networks, read_headers
from segkit.inference.network import Network, with_flips
from segkit.inference.postprocess import Postprocess, clean_up, options_of, read_postprocess
from segkit.inference.predictor import predict_images
from segkit.inference.probabilities import labels_of, presence_of
from segkit.plugins import Catalogue
from segkit.runs.reference import is_own
from segkit.settings import Preprocess
from segkit.specs import MetricSpec
from segkit.task import Case, CaseResult, Dataset, Metric, Sample, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores, and what they are of.

    Args:
        scores: of every case.
        figures: by aggregation ("per_case", "per_group", "pooled") and name ("dice", "dice/polyp").
        counts: of the metrics, through all cases.
        spread: of the values of the cases, by name.
        inference_ms: milliseconds of an image on average, from its pixels to its probabilities, without reading; NaN where
            nothing was predicted.
        by: figures of parts of the cases, by what they were asked for, part and name.
        failed: cases that could not be read -> reason.
        about: weights, dataset and subset, as metrics.json says them.
        folder: that holds metrics.json and cases.csv; None where nothing was written.
    """

    scores: tuple[CaseScore, ...]
    figures: Mapping[str, Mapping[str, Figure]]
    failed: Mapping[str, str]
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    inference_ms: float = math.nan
    by: Mapping[str, Mapping[str, Mapping[str, Figure]]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document of metrics.json: plain values."""
        return _document(self)


@dataclass(frozen=True)
class HowPredicted:
    """How the predictions are made that are scored.

    Args:
        tta: mean over all flips.
        thresholds: as typed.
        post: what is done to labels.
        batch_size: images, slices or windows at a time; None: chosen by their size.
        device: as --device.
    """

    tta: bool = False
    thresholds: tuple[str, ...] = ()
    post: Postprocess = field(default_factory=Postprocess)
    batch_size: int | None = None
    device: str = "auto"

    @property
    def plain(self) -> bool:
        """Whether labels are those that the run's own figures are of."""
        return not self.tta and not self.thresholds and self.post == Postprocess()

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json says of it: only what is not the default."""
        named = {"tta": self.tta, "thresholds": list(self.thresholds)}
        return {key: value for key, value in named.items() if value} | dict(options_of(self.post))


Watch = Callable[[Case, Sample, CaseResult], None]
Draw = Callable[[Path, str, Sample, CaseResult, Preprocess], None]  # a picture of a case, by its id, below a folder


def evaluate(
    networks: Sequence[Network],
    dataset: Dataset,
    cases: Sequence[Case],
    metrics: Mapping[str, Metric],
    post: Postprocess | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Predict and score each case; one that cannot be read is named in `failed` and the rest is done.

    Each process takes its share of the cases; all of them get all scores. `watch` is shown each case with its prediction.
    """
    network, post = networks[0], post or Postprocess()
    task, failed, scores = dataset.task.learned_by(network.task.kind), dict[str, str](), list[CaseScore]()
    own, doubts = distributed.shard(cases), Doubts(network)
    reading = predicting = 0.0

    def read() -> Iterator[tuple[tuple[Case, Sample], NDArray[Any], tuple[float, ...] | None]]:
        nonlocal reading
        for case in own:
            began = time.perf_counter()
            try:
                sample = read_case(dataset, case)
            except SegkitError as error:
                failed[case.id] = error.message
                logger.error(f"{case.id}: {error.message}")
                continue
            doubts.look(case.id, sample.image)
            reading += time.perf_counter() - began
            yield (case, sample), sample.image, sample.spacing

    with reporter.progress("evaluating", len(own)) as bar:
        began = time.perf_counter()
        for (case, sample), probabilities in predict_images(networks, read()):
            predicting += time.perf_counter() - began
            assert sample.mask is not None
            truth = sample.mask
            if task.kind != dataset.task.kind:
                geometry = geometry_of(sample.image.shape[1:], network.preprocess, network.dims, sample.spacing)
                truth = presence_of(sample.mask, dataset.task, geometry.slice_axis)
            labels = clean_up(labels_of(probabilities, task, post.thresholds), post)
            result = CaseResult(probabilities, labels, truth, task, sample.spacing)
            if task.kind == "segmentation" and truth.any():
                doubts.count(not result.labels.any())
            score = score_case(metrics, case.id, case.group, result)
            scores.append(replace(score, facts=facts_of_case(case, result)))
            if watch is not None:
                watch(case, sample, result)
            bar.advance()
            began = time.perf_counter()
    doubts.say_rest()
    milliseconds = 1000 * (predicting - reading) / (len(own) - len(failed)) if len(own) > len(failed) else math.nan
    order = {case.id: number for number, case in enumerate(cases)}
    scores = sorted(distributed.gather_shards(scores), key=lambda score: order[score.id])
    failed = dict(sorted(distributed.gather_shards(list(failed.items())), key=lambda pair: order[pair[0]]))
    figures, counts = all_figures(metrics, scores, task), add(score.counts for score in scores)
    return Evaluation(tuple(scores), figures, failed, counts, inference_ms=milliseconds)


def evaluate_weights(
    weights: Sequence[Path],
    catalogue: Catalogue,
    subset: str = "test",
    flags: Mapping[str, Any] | None = None,
    assignments: Assignments = (),
    how: HowPredicted | None = None,
    out: Path | None = None,
    run: Path | None = None,
    draw: Draw | None = None,
    by: Sequence[str] = (),
) -> Evaluation:
    """Score a weights file, or an ensemble of several, on held-out cases and write the result, as `segkit evaluate` does.

    Args:
        weights: of a run, or standing alone, or exported; data and held-out cases are those of the first.
        catalogue: of the plugins.
        subset: train, val, test or all.
        flags, assignments: what was asked for: dataset, data_dir, metrics; settings of dataset, metrics and model.
        how: predictions are made.
        out: where to write; None: into the run, where these are its own weights, cases and options.
        run: that the weights were made in, where they do not lie in it.
        draw: makes a picture of each case in the folder `overlays` beside the figures; one that fails is logged.
        by: figures of parts of the cases, too: "size", "label", or a name of the cases' metadata.

    Raises:
        UsageError: data or options that do not fit the weights, or a member of an ensemble that was trained on the cases.
        SegkitError: the subset is empty, or a file cannot be used.
    """
    first, how, headers = weights[0], how or HowPredicted(), read_headers(weights)
    changes = gather({}, {}, assignments, SECTIONS).get("model", {})
    holdout = open_evaluation_data(first, headers[0], flags or {}, assignments, catalogue, run)
    task = holdout.dataset.task.learned_by(headers[0].task.kind)
    check_task(headers[0].task, task, holdout.dataset.cases)
    post = read_postprocess(how.post, how.thresholds, task)
    chosen = complete_metrics(holdout.metrics, task, catalogue)
    cases, about = select(holdout, subset)
    if not about["holds_training_data"]:
        check_members(list(zip(weights[1:], headers[1:], strict=True)), holdout, cases)
    own_weights = holdout.run is not None and is_own(holdout.run, first) and len(weights) == 1
    # figures of a changed or exported model, or of other labels, are not the run's
    own_place = own_weights and holdout.own_data and not changes and how.plain
    folder = out or (holdout.run.path / subset if holdout.run and own_place else None)
    if draw is not None and (folder is None or task.kind == "classification"):
        if task.kind == "classification":
            raise UsageError("--overlay draws masks; this model gives classes.", "Leave it out.")
        raise UsageError("--overlay: these are not the run's own cases and options, so there is no place.", "Add --out DIR.")
    networks = load_networks(weights, how.device, how.batch_size, changes)
    networks = with_flips(networks) if how.tta else networks
    watch = _drawing(draw, folder / "overlays", networks[0].preprocess) if draw is not None and folder is not None else None
    made = build_metrics(chosen, task)
    evaluation = evaluate(networks, holdout.dataset, cases, made, post, watch)
    described = {"weights": [str(one) for one in weights] if len(weights) > 1 else str(first), "changes": changes}
    about = {**described, "predicted": how.to_dict(), **facts_of(task, chosen), **about}
    directions = {name: facts["higher_is_better"] for name, facts in about["metrics"].items()}
    spread = spread_of(evaluation.scores, task, directions) if evaluation.scores else {}
    parts = {key: breakdown(evaluation.scores, key, made, task) for key in by} if evaluation.scores else {}
    evaluation = replace(evaluation, spread=spread, by=parts, about=about, folder=folder)
    if folder and distributed.is_main():
        write_evaluation(evaluation, folder)
    return evaluation


def facts_of(task: Task, chosen: Sequence[Choice]) -> dict[str, Any]:
    """What metrics.json says of the task and the metrics."""
    classes = {"classes": list(task.classes), "foreground": list(task.foreground)}
    return {"kind": task.kind, **classes, "metrics": _directions(chosen)}


def _drawing(draw: Draw, folder: Path, preprocess: Preprocess) -> Watch:
    """Draw each case; a picture that cannot be made stops nothing."""

    def watch(case: Case, sample: Sample, result: CaseResult) -> None:
        try:
            draw(folder, case.id, sample, result, preprocess)
        except (SegkitError, OSError) as error:
            logger.error(f"{case.id}: it could not be drawn: {error}")

    return watch


def _directions(metrics: Sequence[Choice]) -> dict[str, dict[str, Any]]:
    specs: list[MetricSpec] = [metric.spec for metric in metrics]
    return {spec.name: {"higher_is_better": spec.higher_is_better, "unit": spec.unit} for spec in specs}


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write cases.csv and metrics.json, and confusion.json where the table was counted."""
    columns = dict.fromkeys(key for score in evaluation.scores for key in score.values)
    known = dict.fromkeys(f"case.{key}" for score in evaluation.scores for key in score.facts)
    rows: list[dict[str, Any]] = [
        {"case": one.id, "group": one.group, **one.values, **{f"case.{key}": value for key, value in one.facts.items()}}
        for one in evaluation.scores
    ]
    rows += [{"case": case, "error": reason} for case, reason in evaluation.failed.items()]
    write_csv(folder / "cases.csv", ["case", "group", *columns, *known, "error"], rows)
    document = evaluation.to_dict()
    write_json(folder / "metrics.json", document)
    tables = [own["confusion"] for own in document["counts"].values() if "confusion" in own]
    if tables:
        write_json(folder / "confusion.json", {"classes": evaluation.about.get("classes"), "truth by prediction": tables[0]})


def _document(evaluation: Evaluation) -> dict[str, Any]:
    return {
        **evaluation.about,
        "cases": len(evaluation.scores),
        "groups": len({score.group for score in evaluation.scores}),
        "failed": dict(evaluation.failed),
        "inference_ms": evaluation.inference_ms,
        "figures": {
            how: {key: asdict(figure) for key, figure in figures.items()} for how, figures in evaluation.figures.items()
        },
        "by": {
            key: {part: {name: asdict(figure) for name, figure in own.items()} for part, own in parts.items()}
            for key, parts in evaluation.by.items()
        },
        "spread": {key: asdict(own) for key, own in evaluation.spread.items()},
        "counts": {
            owner: {key: value.tolist() if hasattr(value, "tolist") else value for key, value in own.items()}
            for owner, own in evaluation.counts.items()
        },
    }
