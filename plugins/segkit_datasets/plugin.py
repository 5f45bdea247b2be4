"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from dataclasses import dataclass

from segkit.api import DatasetSpec, hookimpl, option

FOLDER_LAYOUT = """\
  DATA_DIR/
    images/   any tree of PNG, JPEG, BMP, GIF, WebP, TIFF
    masks/    the same names; also NAME_mask, NAME_gt, NAME_segmentation, ...; the extension may differ
"""

POLYP_LAYOUT = """\
  DATA_DIR/            (or DATA_DIR/CVC-ClinicDB, with PNG/ or TIF/ between)
    Original/          1.tif ... 612.tif, or .png
    Ground Truth/      the same names
"""


@dataclass(frozen=True)
class PhantomOptions:
    size: int = option(128, "height and width in pixels", minimum=16)
    cases: int = option(64, "how many images", minimum=1)
    classes: int = option(1, "how many kinds of target beside the background", minimum=1, maximum=8)
    colour: bool = option(True, "RGB images; false: gray ones")
    empty: float = option(0.0, "share of the cases without any target", minimum=0, maximum=1)
    seed: int = option(0, "of the drawing", minimum=0)


@dataclass(frozen=True)
class FolderOptions:
    images: str | None = option(None, "folder of the images below DATA_DIR, if it is not called images")
    masks: str | None = option(None, "folder of the masks below DATA_DIR, if it is not called masks")
    classes: tuple[str, ...] | None = option(None, "class names, background first; inferred if not given")
    values: tuple[int, ...] | None = option(None, "mask value of each class; inferred if not given")
    channels: int | None = option(None, "image channels, 1 or 3; inferred if not given", minimum=1, maximum=3)
    group: str | None = option(
        None, "regular expression on the image's name; what it matches names the patient, whom no split tears"
    )


@hookimpl
def segkit_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            "phantom",
            "generated images with bright blobs as targets; needs no data",
            "segkit_datasets.phantom:open_phantom",
            PhantomOptions,
            licence="generated: yours",
            preprocess={"size": 128},
            synthesize="segkit_datasets.phantom:synthesize",
            needs_root=False,
        ),
        DatasetSpec(
            "folder",
            "your own images and masks, paired by name",
            "segkit_datasets.folder:open_folder",
            FolderOptions,
            licence="yours",
            layout=FOLDER_LAYOUT,
            synthesize="segkit_datasets.phantom:synthesize",
        ),
        DatasetSpec(
            "polyp",
            "CVC-ClinicDB: 612 colonoscopy frames of 29 video sequences, polyp masks",
            "segkit_datasets.polyp:open_polyp",
            homepage="https://polyp.grand-challenge.org/CVCClinicDB/",
            licence="research and education only, no commercial use (README of the dataset)",
            layout=POLYP_LAYOUT,
            synthesize="segkit_datasets.polyp:synthesize",
        ),
    ]
