"""The run folder: what one training leaves behind.

run.toml            every value resolved; `segkit train --config run.toml` repeats the run
manifest.json       versions, git, hardware, seed, fingerprint of the data, notes
split.json          case ids by subset
augmented.png       the first batch as the network was given it, with its masks
history.csv         one row per epoch; curves.png shows it
resume/state.pt     all that `segkit train --resume RUN` needs; the other files can be rebuilt from it
model.safetensors   the best weights
test/ val/ train/   what `segkit evaluate` wrote

A folder of several seeds holds seeds.json and one run for each: seed-0/, seed-1/, ...
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.errors import SegkitError, UsageError
from segkit.files import TEMPORARY, write_csv, write_json, write_text
from segkit.words import command

SERIES = {"seed": "seeds.json", "fold": "folds.json"}  # of a folder of several runs, by what they differ in


@dataclass(frozen=True)
class RunFolder:
    """Names of the files in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "run.toml"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def split(self) -> Path:
        return self.path / "split.json"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def state(self) -> Path:
        return self.path / "resume" / "state.pt"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def batch_picture(self) -> Path:
        return self.path / "augmented.png"


@dataclass(frozen=True)
class RunDescription:
    """What besides its state describes a run, as plain values.

    Args:
        settings: that run.toml holds, by section.
        split: case ids by subset.
        manifest: what manifest.json holds.
    """

    settings: Mapping[str, Any]
    split: Mapping[str, Sequence[str]]
    manifest: Mapping[str, Any]


def create_run(out: Path | None, dataset: str, model: str) -> RunFolder:
    """A new, empty run folder: `out`, or runs/DATASET-MODEL-N.

    Raises:
        UsageError: it exists and holds something; a run is never overwritten.
    """
    if out is None:
        return _numbered(Path("runs").absolute(), f"{dataset}-{model}")
    check_new_run(out)
    out.mkdir(parents=True, exist_ok=True)
    return RunFolder(out.absolute())


def check_new_run(out: Path | None) -> None:
    """Refuse a folder for a new run that holds something. Raises UsageError."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        continued = f", or go on with it: {command('train', '--resume', out)}" if find_run(out) else ""
        raise UsageError(f"--out {out} exists already; a run is never overwritten.", f"Choose another --out{continued}.")


def _numbered(folder: Path, name: str) -> RunFolder:
    """The first free NAME-N, taken by making it, so that two trainings started at once do not share one."""
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = folder / f"{name}-{number}"
            path.mkdir(parents=True)
            return RunFolder(path)
    raise AssertionError("unreachable")


def discard_run(run: RunFolder) -> None:
    """Take away a run of which nothing of use came, so that its name is free again; other people's files stay."""
    unfinished = [*run.path.glob(f"{TEMPORARY}*"), *run.state.parent.glob(f"{TEMPORARY}*")]
    for path in (run.config, run.manifest, run.split, run.history, run.batch_picture, run.state, *unfinished):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not empty
        run.state.parent.rmdir()
    with contextlib.suppress(OSError):
        run.path.rmdir()


def find_run(path: Path) -> RunFolder | None:
    """The run that a folder, or a weights file inside one, belongs to; None for weights that stand alone."""
    folder = path if path.is_dir() else path.parent
    return RunFolder(folder.absolute()) if (folder / "run.toml").is_file() else None


def find_series(path: Path) -> Path | None:
    """The folder of several seeds or folds that a path is, or that its seeds.json or folds.json lies in; else None."""
    folder = path.parent if path.name in SERIES.values() else path
    return folder.absolute() if any((folder / name).is_file() for name in SERIES.values()) else None


def split_models(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """What predicts, and what is predicted: runs, weights files and exported files come first, inputs after them.

    Raises:
        UsageError: a model stands among the inputs, or there is no input.
    """
    kinds = [_is_model(Path(word)) for word in words]
    count = kinds.index(False, 1) if False in kinds[1:] else len(words)
    late = next((index for index in range(1, len(words)) if kinds[index] and (index > count or not kinds[0])), None)
    if late is not None:
        before = words[count if kinds[0] else 0]
        raise UsageError(
            f"{words[late]} is a model, but comes after {before}.", "Models come first, then what they predict."
        )
    models, inputs = [Path(word) for word in words[:count]], list(words[count:])
    return models, inputs


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / "model.safetensors").is_file() or (path / "run.toml").is_file() or find_series(path) is not None
    return path.suffix in (".safetensors", ".onnx", ".pt2")


def find_weights(path: Path) -> Path:
    """The weights file that a run folder or a file path means.

    Raises:
        UsageError: there is none.
    """
    if not path.exists():
        raise UsageError(
            f"{path} does not exist.", "Give a run folder, a model.safetensors file, or an exported model.onnx."
        )
    if path.suffix == ".pt2":
        raise UsageError(f"{path} is a torch.export file, which may hold code: segkit does not open it.", "Export as onnx.")
    weights = path / "model.safetensors" if path.is_dir() else path
    if not weights.is_file():
        if find_series(path):
            raise UsageError(f"{path} holds several runs.", f"Give one of them: {path}/seed-... or fold-...")
        known = "It is a run folder, but its training wrote no weights." if find_run(path) else "It is not a run folder."
        raise UsageError(f"There is no model.safetensors in {path}. {known}", "'segkit train' makes run folders.")
    return weights


def find_all_weights(paths: Sequence[Path]) -> list[Path]:
    """The weights files of an ensemble: a folder of seeds or folds means all of its runs.

    Raises:
        UsageError: as `find_weights`.
    """
    return [find_weights(run) for path in paths for run in (find_members(path) or [path])]


def find_members(path: Path) -> list[Path]:
    """The runs of a folder of several seeds or folds, by number; none for anything else."""
    if not find_series(path):
        return []
    runs = [run for by in SERIES for run in path.glob(f"{by}-*") if run.name.removeprefix(f"{by}-").isdecimal()]
    return sorted(runs, key=lambda run: int(run.name.rpartition("-")[2]))


def write_description(run: RunFolder, description: RunDescription) -> None:
    """Write run.toml, split.json and manifest.json."""
    import tomli_w

    write_text(run.config, tomli_w.dumps(description.settings))
    write_json(run.split, description.split)
    write_json(run.manifest, description.manifest)


def read_split(run: RunFolder) -> dict[str, list[str]]:
    try:
        split: dict[str, list[str]] = json.loads(run.split.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SegkitError(f"{run.split} cannot be read: {error}") from None
    return split


def write_history(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """The whole history at once, so that a reader never sees half a row; a metric may have come or gone on --resume."""
    write_csv(run.history, list(dict.fromkeys(key for row in rows for key in row)), rows)


def read_cases(run: RunFolder, subset: str) -> list[dict[str, str]]:
    """The rows of a subset's cases.csv, as `segkit evaluate` wrote them; none where it did not."""
    path = run.path / subset / "cases.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if not row.get("error")]
