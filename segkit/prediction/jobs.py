"""What is written for each input, so that no two inputs ever share an output.

OUT/a/x.png                    labels, or 0 and 255 for a binary task, at the image's own size; a TIFF gets a TIFF
OUT/a/x.nii.gz                 labels on the volume's own grid
OUT/a/x.overlay.png            the mask over its image; of a volume some slices (--overlay)
OUT/a/x.probability.png        16 bit, 65535 is 1: of an image with one foreground class (--probabilities); or .tif
OUT/a/x.probabilities.npz      of an image with several: array "probabilities" (classes, H, W)
OUT/a/x.probabilities.nii.gz   of a volume, classes along the fourth axis
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.data.images import is_image
from segkit.data.volumes import is_volume, volume_stem
from segkit.errors import UsageError
from segkit.prediction.inputs import Input
from segkit.task import Task

RECORD = "predictions.json"
TABLE = "predictions.csv"
MEASURES = "measures.csv"
POLYGONS = "polygons.json"
ENDS = ("", ".overlay", ".probability", ".probabilities")  # what follows the name of an input


@dataclass(frozen=True)
class OutputOptions:
    """What is written besides masks, and how.

    Args:
        overlay, probabilities: files beside each mask.
        palette: PNG masks show their labels in colours.
        polygons, table: one COCO JSON and one table of measures for all.
    """

    overlay: bool = False
    probabilities: bool = False
    palette: bool = False
    polygons: bool = False
    table: bool = False


@dataclass(frozen=True)
class Job:
    """One input and the outputs that belong to it alone: role ("mask", "overlay", "probabilities") -> name below OUT."""

    input: Input
    files: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.input.key

    @property
    def outputs(self) -> list[str]:
        return list(self.files.values())


def plan_jobs(inputs: Sequence[Input], out: Path, task: Task, outputs: OutputOptions) -> list[Job]:
    """All inputs with their outputs; no two share one, and none lies on an input.

    Args:
        inputs: from `find_inputs`.
        out: the output folder.
        task: of the model.
        outputs: what is written.

    Raises:
        UsageError: something that cannot be written for this task, or an output that would fall on an input.
    """
    typed = [name for name in ("overlay", "probabilities", "palette", "polygons", "table") if getattr(outputs, name)]
    if task.kind == "classification" and typed:
        raise UsageError(f"--{typed[0]} is about masks; this model gives classes.")
    if outputs.polygons and task.dims == 3:
        raise UsageError("--polygons draws outlines of images; this model gives volumes.")
    if task.mode == "multilabel":
        raise UsageError("Masks of overlapping classes (mode multilabel) cannot be written as label images.")
    names = _output_names([entry.key for entry in inputs])
    jobs = [
        Job(entry, _files(entry, name, task, outputs) if task.kind == "segmentation" else {})
        for entry, name in zip(inputs, names, strict=True)
    ]
    if outputs.palette and not any(job.files["mask"].endswith(".png") for job in jobs):
        raise UsageError(
            "--palette colours PNG masks; the masks of these inputs are volumes or TIFF files.", "Leave out --palette."
        )
    taken = {path.resolve() for entry in inputs for path in entry.files}
    shared = [out / name for name in (RECORD, TABLE, MEASURES, POLYGONS)]
    clash = next(
        (path for path in [*(out / name for job in jobs for name in job.outputs), *shared] if path.resolve() in taken), None
    )
    if clash is not None:
        raise UsageError(f"{clash} would overwrite an input.", "Choose another --out.")
    return jobs


def _files(entry: Input, name: str, task: Task, outputs: OutputOptions) -> dict[str, str]:
    volume = entry.form in ("volume", "series")
    ending = "nii.gz" if volume else "tif" if entry.form == "tiff" else "png"
    files = {"mask": f"{name}.{ending}"}
    if outputs.overlay:
        files["overlay"] = f"{name}.overlay.png"
    if outputs.probabilities and not volume and task.outputs == 1:
        files["probabilities"] = f"{name}.probability.{ending}"
    elif outputs.probabilities:
        files["probabilities"] = f"{name}.probabilities." + ("nii.gz" if volume else "npz")
    return files


def _output_names(keys: Sequence[str]) -> list[str]:
    """Names without extension where that is unambiguous; inputs that share a stem keep theirs.

    >>> _output_names(["a/x.png", "a/x.jpg", "b/x.png"])
    ['a/x.png', 'a/x.jpg', 'b/x']
    """
    names = [_stem(key) for key in keys]
    while True:  # a name that keeps its extension may meet another one's stem, so until nothing meets
        owners: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            for output in (f"{name}{end}" for end in ENDS):
                owners.setdefault(output.casefold(), []).append(index)
        shared = {index for indices in owners.values() if len(indices) > 1 for index in indices}
        widened = [index for index in shared if names[index] != keys[index]]
        if not widened:
            return names
        for index in widened:
            names[index] = keys[index]


def _stem(key: str) -> str:
    """
    >>> _stem("a/b.c.png"), _stem("a/x.nii.gz"), _stem("a/x.dat")
    ('a/b.c', 'a/x', 'a/x.dat')
    """
    path = Path(key)
    if is_volume(path):
        return key[: len(key) - len(path.name)] + volume_stem(path)
    return key.rpartition(".")[0] if is_image(path) else key
