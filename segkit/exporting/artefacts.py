"""What belongs to an export besides the network: its header, names, cases to compare on, example program, model card."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit import plugins
from segkit.config.migrate import migrate_settings
from segkit.config.resolve import resolve_data
from segkit.data.reading import open_dataset, read_case
from segkit.errors import SegkitError, UsageError
from segkit.exporting.model_card import card
from segkit.exporting.parity import Floats, preprocess_case, size_of, synthetic_cases
from segkit.files import read_toml, write_text
from segkit.runs.folder import RunFolder, find_run, read_cases, read_split
from segkit.runs.onnx_metadata import read_metadata
from segkit.runs.weights import Header
from segkit.specs import FORMATS
from segkit.words import counted

logger = logging.getLogger(__name__)

CASES = 3
NEEDED = {"onnx": ("onnx", "onnxruntime", "onnxscript")}


def plan_header(header: Header, format: str, size: str | None, half: bool) -> Header:
    """The header of the file that shall be written.

    A fixed size becomes the size of its preprocessing; what saw images at their own size sees windows of it then.

    Raises:
        UsageError: the size is none, or the network does not take it.
    """
    if header.export:
        raise UsageError("This file is already an export.", "Give the run folder or its model.safetensors.")
    if size is None:
        return replace(header, export={"format": format, "half": half, "size": None})
    sides = _sides(size, header.dims)
    steps = [step for side, step in zip(sides, header.stride, strict=True) if side % step or side < header.minimum]
    if steps:
        words = f"multiples of {', '.join(map(str, header.stride))}, at least {header.minimum}"
        raise UsageError(
            f"--size {size}: {header.model} takes {words}.", "Or leave out --size: the file then takes any size."
        )
    fit = "patch" if header.preprocess.fit == "native" else header.preprocess.fit
    if fit != header.preprocess.fit:
        logger.warning(f"this model sees images at their own size; the exported file sees them in windows of {size}.")
    elif header.preprocess.fit != "patch" and tuple(sides) != header.preprocess.size:
        before = " x ".join(map(str, header.preprocess.size or ()))  # type: ignore[arg-type]
        logger.warning(
            f"trained at {before}: at {' x '.join(map(str, sides))} objects appear at another scale, so masks will differ."
        )
    preprocess = replace(header.preprocess, fit=fit, size=sides)
    return replace(header, preprocess=preprocess, export={"format": format, "half": half, "size": list(sides)})


def plan_files(weights: Path, format: str, out: Path | None, runner: bool, overwrite: bool) -> list[Path]:
    """The files to write: the artefact, and with `runner` the example program and the model card.

    Raises:
        UsageError: an unknown format, another ending than its own, or a file that exists.
    """
    if format not in FORMATS:
        raise UsageError(f"--format {format} is not allowed.", f"Allowed: {', '.join(FORMATS)}.")
    if runner and format != "onnx":
        raise UsageError("--runner writes a program for ONNX files.", "--format onnx")
    missing = [name for name in NEEDED.get(format, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format {format} needs {', '.join(missing)}, not installed.", f"pip install {' '.join(NEEDED[format])}"
        )
    folder = find_run(weights)
    ending = FORMATS[format]
    target = out or Path(f"{folder.path.name if folder else weights.stem}{ending}")
    if target.suffix != ending:
        raise UsageError(f"--out {target} must end in {ending}.", f"--out {target}{ending}")
    files = [target]
    if runner:
        files += [target.with_name(f"{target.stem}{end}") for end in ("_runner.py", ".md")]
    there = next((file for file in files if file.exists()), None)
    if there is not None and not overwrite:
        raise UsageError(f"{there} exists already.", "Choose another --out, or type --overwrite.")
    return files


def comparison_cases(weights: Path, header: Header) -> tuple[list[Floats], str]:
    """What to compare on: held-out cases of the run where the data is there, else synthetic ones; and a word for which."""
    folder = find_run(weights)
    try:
        if folder is not None:
            found = _real_cases(folder, header)
            if found:
                return found, "its own held-out cases"
    except SegkitError as error:
        logger.warning(f"the data of the run cannot be read ({error.message})")
    size = size_of(header.preprocess, header.dims, header.stride, header.minimum)
    return synthetic_cases(header.task, header.preprocess, header.dims, size), "synthetic images"


def write_runner(path: Path) -> None:
    """The example program; it reads the preprocessing from the header of the ONNX file beside it."""
    write_text(path, (Path(__file__).parent / "templates" / "runner.py").read_text(encoding="utf-8"))


def write_card(path: Path, weights: Path, artefact: Path, header: Header) -> None:
    """The model card: facts of the header and, where the weights lie in a run, of its data, split and evaluation."""
    folder = find_run(weights)
    known: dict[str, Any] = {"config": {}, "manifest": {}, "split": {}, "scores": []}
    if folder is not None:
        known = {
            "config": read_toml(folder.config),
            "manifest": _json(folder.manifest),
            "split": _json(folder.split),
            "scores": read_cases(folder, "test"),
        }
    runtime = read_metadata(artefact).runtime if artefact.suffix == ".onnx" else ""
    write_text(path, card(artefact.name, header, **known, runtime=runtime))


def _real_cases(folder: RunFolder, header: Header) -> list[Floats]:
    catalogue, settings = plugins.load(), read_toml(folder.config)
    values = migrate_settings({key: settings[key] for key in ("dataset", "plugins") if key in settings}, catalogue)
    choice, root, _ = resolve_data(values, catalogue)
    dataset = open_dataset(choice, root)
    split = read_split(folder)
    ids = next((split[name] for name in ("test", "val", "train") if split.get(name)), [])[:CASES]
    found: list[Floats] = []
    for case in dataset.cases:
        if case.id in ids:
            sample = read_case(dataset, case)
            found += preprocess_case(sample.image, header.preprocess, header.dims, sample.spacing)
    return found


def _sides(text: str, dims: int) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.split(","))
    except ValueError:
        sides = ()
    sides = sides * dims if len(sides) == 1 else sides
    if len(sides) != dims or min(sides) < 1:
        raise UsageError(
            f"--size {text}: {counted(dims, 'number')} of at least 1 must be given.", "--size " + ",".join(["256"] * dims)
        )
    return sides


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
