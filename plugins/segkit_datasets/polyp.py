"""CVC-ClinicDB (Bernal 2015): colonoscopy frames with polyp masks, grouped by the video sequence they were cut from.

Neighbouring frames of one sequence are nearly the same picture, so a split must not tear a sequence. The dataset's README
lists which frames belong to which sequence; copies often lack that file, so the table stands here.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.api import (
    Case,
    Dataset,
    NoOptions,
    Sample,
    SegkitError,
    Task,
    find_folder,
    list_folders,
    missing_data,
    pair_files,
    read_image,
    write_image,
)
from segkit_datasets.phantom import draw
from segkit_datasets.plugin import PhantomOptions
from segkit_datasets.reading import by_role, left_out, masks_of, read_binary, unite

MASK_FOLDERS = ("ground truth", "ground_truth", "groundtruth")

LAST_FRAMES = (  # of sequences 1 to 29
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503, 528,
    546, 571, 591, 612,
)  # fmt: skip


def open_polyp(root: Path, options: NoOptions, labelled: bool = True) -> Dataset:
    """Open Original/ and Ground Truth/, tif or png.

    Raises:
        UsageError: they are not there.
    """
    images, masks = _find_folders(root, labelled)
    found = pair_files(images, masks if labelled else None)
    cases = tuple(_case(key, image, own) for key, image, own in found.pairs if own or not labelled)
    if not cases:
        raise missing_data("A frame with its mask", root, ["Original/N.tif", "Ground Truth/N.tif"])
    task = Task(3, ("background", "polyp"), channel_names=("red", "green", "blue"))
    notes = left_out("frame(s) without a mask", [path.name for path in found.unpaired_images]) if labelled else ()
    return Dataset(task, cases, _read, options, notes)


def sequence_of(image: Path) -> int:
    """The video sequence, 1 to 29, of a frame's file.

    >>> sequence_of(Path("26.tif"))
    2
    """
    if not image.stem.isdecimal() or not 1 <= int(image.stem) <= LAST_FRAMES[-1]:
        raise SegkitError(f"{image}: a frame of CVC-ClinicDB is called 1 to {LAST_FRAMES[-1]}.", "Use --dataset folder.")
    return bisect.bisect_left(LAST_FRAMES, int(image.stem)) + 1


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write made-up frames in this layout, spread over the sequences, with the original's odd TIFF tags."""
    import tifffile

    options = PhantomOptions(cases=cases, seed=seed)
    for number in range(cases):
        frame = 1 + number * LAST_FRAMES[-1] // cases
        image, mask = draw(number, options)
        (out / "CVC-ClinicDB" / "Original").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            out / "CVC-ClinicDB" / "Original" / f"{frame}.tif",
            np.ascontiguousarray(np.moveaxis(image, 0, -1)),
            photometric="minisblack",
            planarconfig="contig",
        )
        write_image(out / "CVC-ClinicDB" / "Ground Truth" / f"{frame}.tif", (mask * 255).astype(np.uint8))


def _case(key: str, image: Path, masks: Sequence[Path]) -> Case:
    try:
        sequence = sequence_of(image)
    except SegkitError as error:
        return Case(key, key, problem=f"{error.message} {error.hint}")
    files = {"image": image} | by_role(masks)
    return Case(key, f"sequence-{sequence:02d}", files=files, metadata={"frame": int(image.stem)})


def _read(case: Case) -> Sample:
    masks = [read_binary(path) for path in masks_of(case)]
    return Sample(read_image(case.files["image"]), unite(masks, case) if masks else None)


def _find_folders(root: Path, labelled: bool) -> tuple[Path, Path]:
    """Original and Ground Truth in root, or one or two folders below it; TIF before PNG, since it is the original."""
    below = list_folders(root)
    deeper = [path for folder in below for path in list_folders(folder)]
    candidates = [root, *below, *deeper]
    for folder in sorted(candidates, key=lambda path: (len(path.parts), "png" in path.name.lower())):
        images, masks = find_folder(folder, ["original"]), find_folder(folder, MASK_FOLDERS)
        if images is not None and (masks is not None or not labelled):
            return images, masks or images
    raise missing_data("CVC-ClinicDB", root, ["Original/", "Ground Truth/"])
