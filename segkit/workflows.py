"""The Python API: what the command line does, as functions. `import segkit` hands them out.

    import segkit

    run = segkit.train("phantom", "unet", epochs=20, options={"model.width": 16})
    print(segkit.evaluate(run).figures["per_case"]["dice"].mean)
    segkit.predict(run, "images/", out="masks/")
    labels = segkit.load(run).predict(image)

Nothing is printed: words go to the logger `segkit` (`logging.basicConfig(level="INFO")` shows one line per epoch) and
progress to the reporter in place (`segkit.reporter`). What is changed for the whole process is put back when a call returns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit import plugins
from segkit.config.complete import to_toml
from segkit.config.device import check_device
from segkit.config.migrate import migrate_settings
from segkit.config.plan import Plan
from segkit.config.resolve import Assignments, Choice, gather
from segkit.config.resume import apply_resume_changes, refuse_resume_changes
from segkit.errors import UsageError
from segkit.exporting.weights import Export, export_weights
from segkit.files import check_folder
from segkit.options import build
from segkit.planning import configure, plan_training
from segkit.runs.folder import find_all_weights, find_run, find_weights

if TYPE_CHECKING:
    from torch import nn

    from segkit.evaluation.result import Evaluation
    from segkit.inference.loaded_model import LoadedModel
    from segkit.inference.postprocess import Postprocess
    from segkit.prediction.jobs import OutputOptions
    from segkit.prediction.predict import Prediction
    from segkit.task import Task
    from segkit.training.train import Run

__all__ = ["Export", "build_model", "evaluate", "export", "load", "plan", "predict", "resume", "train"]

PathLike = str | os.PathLike[str]  # a Run is one, too


def train(
    dataset: str | None = None,
    model: str | None = None,
    *,
    data_dir: PathLike | None = None,
    loss: str | None = None,
    metrics: Sequence[str] | None = None,
    options: Assignments = (),
    config: PathLike | None = None,
    recipe: str | None = None,
    out: PathLike | None = None,
    **settings: Any,
) -> Run:
    """Train a model on a dataset and leave everything in a new run folder.

    Args:
        dataset, model, loss, metrics: names, as `segkit datasets`, `models`, `losses` and `metrics` list them.
        data_dir: where the data lies; generated data needs none.
        options: any other setting by section and key: {"model.width": 16, "preprocess.size": (256, 192)}.
        config: a run.toml, or the run that holds one, to start from; what is given beside it wins.
        recipe: the name of a recipe to start from.
        out: the run folder to make; None: runs/DATASET-MODEL-N in the working folder.
        settings: of the training, as `segkit settings train` lists them (epochs, batch_size, lr, seed, device, ...), and
            augment, split, folds, fold, allow_leak, freeze_encoder.

    Returns:
        Where it is, and how it went.

    Raises:
        UsageError: a name, a setting or a folder that cannot be used; then nothing is written.
        SegkitError: data that cannot be read, a loss that is not finite (the best weights so far are kept).
    """
    began = time.perf_counter()
    flags = {"dataset": dataset, "model": model, "data_dir": data_dir, "loss": loss, "metrics": metrics, **settings}
    complete, opened = plan_training(_plain(flags), options, _path(config), recipe, _path(out))

    from segkit.training.train import train as start

    return start(complete, opened, _path(out), began)


def plan(
    dataset: str | None = None,
    model: str | None = None,
    *,
    options: Assignments = (),
    config: PathLike | None = None,
    recipe: str | None = None,
    **settings: Any,
) -> Plan:
    """What `train` would decide with these arguments for every setting that is left open, and why; nothing is written.

    Some training steps are tried on this machine.

    Raises:
        UsageError, SegkitError: as `train` does.
    """
    flags = {"dataset": dataset, "model": model, **settings}
    return plan_training(_plain(flags), options, _path(config), recipe, None)[0].plan


def preview_training(
    *,
    options: Assignments = (),
    config: PathLike | None = None,
    recipe: str | None = None,
    out: PathLike | None = None,
    **flags: Any,
) -> dict[str, Any]:
    """What `train` would do with these arguments; torch is not imported and nothing is written.

    Returns:
        settings: all, as run.toml would hold them; split: the number of cases by subset; run: the folder, None for the next
        free one in runs/.

    Raises:
        UsageError: as `train` does.
    """
    complete, opened = plan_training(_plain(flags), options, _path(config), recipe, _path(out), machine=False)

    from segkit.data.split import split_cases

    split = {name: len(ids) for name, ids in split_cases(opened.cases, complete.split).items()}
    return {"settings": to_toml(complete), "split": split, "run": None if out is None else os.fspath(out)}


def resume(run: PathLike, *, options: Assignments = (), **settings: Any) -> Run:
    """Go on with a training that was interrupted, or train one that is over for more epochs.

    Args:
        run: its folder.
        options, settings: what changes, as in `train`; epochs, patience, time, workers, device and a few others may.

    Raises:
        UsageError: a setting that cannot change, or nothing left to do.
        SegkitError: the data is not what it was.
    """
    began, flags = time.perf_counter(), _plain(settings)
    refuse_resume_changes(flags, options, {})
    folder = find_run(Path(run))
    if folder is None:
        raise UsageError(f"{run} is not a run folder.", "segkit train --resume RUN")

    from segkit.training import checkpoint
    from segkit.training.optim import note_changed_schedule
    from segkit.training.train import resume as go_on

    document, catalogue = checkpoint.load(folder), plugins.load()
    before = migrate_settings(document["description"].settings, catalogue)
    values = apply_resume_changes(before, flags, options, pretrained=False)
    typed = gather({}, flags, options)
    complete, opened = configure(values, catalogue, typed, resumed=True)
    note_changed_schedule(before["train"]["epochs"], complete.train)
    more = complete.train.time if "time" in typed.get("train", {}) else None
    return go_on(complete, opened, folder, document, more, began)


def evaluate(
    what: PathLike | Sequence[PathLike],
    *,
    subset: str = "test",
    dataset: str | None = None,
    data_dir: PathLike | None = None,
    metrics: Sequence[str] | None = None,
    tta: bool = False,
    thresholds: Sequence[str] = (),
    postprocess: Postprocess | None = None,
    options: Assignments = (),
    batch_size: int | None = None,
    device: str = "auto",
    out: PathLike | None = None,
    run: PathLike | None = None,
    overlay: bool = False,
    save_predictions: bool = False,
    by: Sequence[str] = (),
    regions: Sequence[str] = (),
    grid: str = "own",
) -> Evaluation:
    """Score a model on held-out cases, and write cases.csv and metrics.json.

    Args:
        what: a run folder, a model.safetensors or an exported model.onnx; several are an ensemble, which is scored on the
            held-out cases of the first, none of which another may have been trained on.
        subset: train, val, test, or all (which holds training data).
        dataset, data_dir: other data than the run's own.
        metrics: names of more metrics.
        tta, thresholds, postprocess: as `predict` takes them; the figures are then not the run's own.
        options: settings of dataset and metrics, and options of the model that may change after training.
        batch_size: images, slices or windows at a time; None: up to 8, fewer if they are large.
        device: auto, cpu, cuda or cuda:N.
        out: folder for the files; None: RUN/SUBSET, where these are the run's own weights, cases and options.
        run: that the weights were made in, for files that lie elsewhere; None: that an exported file refers to.
        overlay, save_predictions: also write a picture of each case into `overlays`, its mask into `predictions`.
        by: figures of parts of the cases, too: "size" (of the target), "label", or a name of the cases' metadata.
        regions: unions of classes that are scored as well, "NAME=CLASS,CLASS".
        grid: "own", that of the true masks, or "model", the network's.

    Raises:
        UsageError: data or options that do not fit the model.
        SegkitError: the subset is empty, or a file cannot be used.
    """
    check_device(device)
    check_folder(_path(out))

    from segkit.evaluation.evaluate import HowPredicted, PerCase, evaluate_weights
    from segkit.inference.postprocess import Postprocess
    from segkit.reports.comparison import write_comparison
    from segkit.reports.masks import write_mask

    flags = _plain({"dataset": dataset, "data_dir": data_dir, "metrics": metrics})
    how = HowPredicted(tta, tuple(thresholds), postprocess or Postprocess(), grid, batch_size, device)
    per_case = [PerCase("--overlay", "overlays", write_comparison)] * overlay
    per_case += [PerCase("--save-predictions", "predictions", write_mask)] * save_predictions
    weights, places = find_all_weights([Path(one) for one in _several(what)]), (_path(out), _path(run))
    return evaluate_weights(weights, plugins.load(), subset, flags, options, how, *places, per_case, by, regions)


def predict(
    what: PathLike | Sequence[PathLike],
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    dataset: str | None = None,
    outputs: OutputOptions | None = None,
    postprocess: Postprocess | None = None,
    thresholds: Sequence[str] = (),
    tta: bool = False,
    overwrite: bool = False,
    options: Assignments = (),
    batch_size: int | None = None,
    device: str = "auto",
    stdin: bytes | None = None,
    null: bool = False,
    dry_run: bool = False,
) -> Prediction:
    """Write a mask for each image or volume, on its own grid; of a classification, a table. A second call does what is left.

    Args:
        what: a run folder, model.safetensors or exported model.onnx; several for their mean probability.
        inputs: images, volumes, folders, lists of them (.txt), or "-" for the list `stdin`.
        out: folder for the results, which mirror the inputs.
        dataset: put files together to cases as this dataset names them.
        outputs: what is written beside the masks; None: nothing.
        postprocess: clean-up of masks; None: none.
        thresholds: "0.4" for every class, "polyp=0.4" for one.
        tta: mean over all flips.
        overwrite: do again what is done, and replace files that are not ours.
        options: of the dataset, and of the model where they may change after training.
        batch_size, device: as in `evaluate`.
        stdin, null: a list of inputs, and whether its entries end with NUL.
        dry_run: only say what would be done; nothing is predicted or written.

    Returns:
        How many inputs were predicted, were done already and failed, with one entry for each; a bad file stops nothing.

    Raises:
        UsageError: inputs, options or outputs that cannot be used; then nothing is written.
    """
    check_device(device)
    check_folder(Path(out))

    from segkit.inference.load import load_networks, read_headers
    from segkit.inference.postprocess import Postprocess, read_postprocess
    from segkit.prediction.jobs import OutputOptions, plan_jobs
    from segkit.prediction.predict import PredictionOptions, check_inputs, predict_jobs, preview_jobs
    from segkit.prediction.record import digest_of
    from segkit.prediction.select import select_inputs

    paths = find_all_weights([Path(one) for one in _several(what)])
    changes = gather({}, {}, options, ("model", "dataset"))
    header, *others = read_headers(paths)
    task = header.task
    outputs, post = outputs or OutputOptions(), postprocess or Postprocess()
    post = read_postprocess(post, thresholds, task)
    words, folder = [os.fspath(one) for one in _several(inputs)], Path(out)
    found, opened = select_inputs(words, folder, task, dataset, changes.get("dataset", {}), stdin, null)
    jobs = plan_jobs(found, folder, task, outputs)
    check_inputs(found, task, opened)
    decisive = dict(changes.get("model", {}))
    if dataset is not None:
        decisive["dataset"] = {"name": dataset, **changes.get("dataset", {})}
    how, digests = PredictionOptions(post, outputs, tta, opened, overwrite), [digest_of([path]) for path in paths]
    if dry_run:
        return preview_jobs([header, *others], jobs, folder, digests, decisive, how)
    networks = load_networks(paths, device, batch_size, changes.get("model", {}))
    return predict_jobs(networks, jobs, folder, digests, decisive, how)


def export(
    what: PathLike,
    *,
    format: str = "onnx",
    out: PathLike | None = None,
    half: bool = False,
    size: str | None = None,
    runner: bool = False,
    overwrite: bool = False,
    options: Assignments = (),
) -> Export:
    """Write a model for another runtime, and check that it gives the same logits and masks.

    Args:
        what: a run folder or a model.safetensors.
        format: onnx, or torch-export (.pt2).
        out: the file to write; None: named after the run, in the working folder.
        half: calculate in 16 bits.
        size: "H,W" fixes the size of what the network sees; None: any size.
        runner: also write an example program and a model card.
        overwrite: replace files that exist.
        options: of the model, where they may change after training.

    Raises:
        UsageError: a format, size or file that cannot be used.
        SegkitError: the model cannot be exported, or the file differs from it; then nothing is left.
    """
    changes = gather({}, {}, options, ("model",)).get("model", {})
    return export_weights(find_weights(Path(what)), format, _path(out), half, size, runner, overwrite, changes)


def load(
    what: PathLike | Sequence[PathLike],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    tta: bool = False,
    options: Assignments = (),
) -> LoadedModel:
    """A trained model for arrays; several predict together, as in `predict`.

    Args:
        what: a run folder, model.safetensors or exported model.onnx, or several.
        device, batch_size, tta: as in `predict`.
        options: of the model, where they may change after training.

    Raises:
        UsageError: there is no such model, or no such device.
        SegkitError: a file is damaged, or its plugin is missing.
    """
    check_device(device)

    from segkit.inference.load import load_networks, read_headers
    from segkit.inference.loaded_model import LoadedModel
    from segkit.inference.network import with_flips

    paths = find_all_weights([Path(one) for one in _several(what)])
    task = read_headers(paths)[0].task
    networks = load_networks(paths, device, batch_size, gather({}, {}, options, ("model",)).get("model", {}))
    return LoadedModel(tuple(with_flips(networks) if tta else networks), task)


def build_model(name: str, task: Task, **options: Any) -> nn.Module:
    """A freshly made network, with weights drawn from torch's random state.

    Args:
        name: of a model, bare or full.
        task: the facts of the data: `segkit.api.Task(channels=3, classes=("background", "polyp"))`.
        options: of the model, as `segkit models NAME` lists them.

    Raises:
        UsageError: no such model or option.
        SegkitError: the plugin's own code fails.
    """
    from segkit.models.build import build_model as build_module

    found = plugins.load().find("models", name)
    choice = Choice(found, build(found.spec.options, options, "model"))
    return build_module(choice, task, task.dims if task.dims in found.spec.dims else 2)


def _plain(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, paths as text."""
    given = {name: value for name, value in flags.items() if value is not None}
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}


def _path(value: PathLike | None) -> Path | None:
    return None if value is None else Path(value)


def _several(value: PathLike | Sequence[PathLike]) -> Sequence[PathLike]:
    return [value] if isinstance(value, (str, os.PathLike)) else value
