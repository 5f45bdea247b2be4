"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.api import DatasetSpec, hookimpl, option

FOLDER_LAYOUT = """\
  DATA_DIR/
    images/   any tree of PNG, JPEG, BMP, GIF, WebP, TIFF, or of NIfTI volumes
    masks/    the same names; also NAME_mask, NAME_gt, NAME_segmentation, ...; the extension may differ;
              several masks of one image (NAME_mask_1, NAME_mask_2) are united
  or an official split: DATA_DIR/train, val and test, each with images/ and masks/
"""

POLYP_LAYOUT = """\
  DATA_DIR/            (or DATA_DIR/CVC-ClinicDB, with PNG/ or TIF/ between)
    Original/          1.tif ... 612.tif, or .png
    Ground Truth/      the same names
"""

LGG_LAYOUT = """\
  DATA_DIR/                      (or up to three folders deeper, as kaggle_3m)
    data.csv                     optional: facts by patient
    TCGA_XX_NNNN_YYYYMMDD/       one folder a patient
      TCGA_XX_NNNN_YYYYMMDD_1.tif, TCGA_XX_NNNN_YYYYMMDD_1_mask.tif, ...
"""

FIGSHARE_LAYOUT = """\
  DATA_DIR/                      any tree below it
    1.mat ... 3064.mat           MATLAB v7.3; cvind.mat or cvind5fold.mat beside them for dataset.fold
  or, the PNG copy, which has lost the patients:
    0.png, 0_mask.png, 1.png, ...
"""

COCO_LAYOUT = """\
  DATA_DIR/
    train/ valid/ test/          each with its images and
      _annotations.coco.json
"""


ACDC_LAYOUT = """\
  DATA_DIR/                      (or one folder deeper)
    training/ testing/           or the patients at once
      patient001/
        Info.cfg                 the numbers of the ED and ES frames, the diagnosis
        patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz, ...   or patient001_4d.nii.gz; .nii too
"""

BRATS_LAYOUT = """\
  DATA_DIR/                      any tree below it
    BraTS20_Training_001/        one folder a case; also the names of 2021 and 2023
      BraTS20_Training_001_flair.nii.gz, _t1, _t1ce, _t2, _seg; .nii too
"""

NNUNET_LAYOUT = """\
  DATA_DIR/
    dataset.json                 of nnU-Net v2 or the Medical Segmentation Decathlon; without it classes are inferred
    imagesTr/                    case_0000.nii.gz, case_0001.nii.gz (channels), or case.nii.gz
    labelsTr/                    case.nii.gz
    imagesTs/ labelsTs/          optional: the test subset
"""


@dataclass(frozen=True)
class PhantomOptions:
    dims: Literal[2, 3] = option(2, "3: volumes, whose classes are nested like the parts of a tumour")
    size: int = option(128, "length of each side in pixels", minimum=16)
    cases: int = option(64, "how many images", minimum=1)
    classes: int = option(1, "number of foreground classes", minimum=1, maximum=8)
    colour: bool = option(True, "RGB images; false: gray ones")
    empty: float = option(0.0, "share of the cases without any target", minimum=0, maximum=1)
    seed: int = option(0, "random seed", minimum=0)


@dataclass(frozen=True)
class FolderOptions:
    images: str | None = option(None, "folder of the images below DATA_DIR, if it is not called images")
    masks: str | None = option(None, "folder of the masks below DATA_DIR, if it is not called masks")
    classes: tuple[str, ...] | None = option(None, "class names, background first; inferred if not given")
    values: tuple[str, ...] | None = option(
        None, "mask value of each class: a number, 1+ for 1 and above, or a colour like #ff0000; inferred if not given"
    )
    ignore: int | None = option(None, "mask value that is ignored", minimum=0)
    channels: int | None = option(None, "image channels; inferred if not given", minimum=1)
    group: str | None = option(
        None, "regular expression on the image's name; what it matches names the patient, whom no split tears"
    )


@dataclass(frozen=True)
class LggOptions:
    only_tumour: bool = option(False, "leave out slices without tumour (Ehab & Li); all masks are read for it")


@dataclass(frozen=True)
class FigshareOptions:
    target: Literal["binary", "type"] = option("binary", "type: meningioma, glioma and pituitary as classes (.mat only)")
    channels: Literal[1, 3] = option(1, "3: the gray image three times, for encoders of colour images (Vaona)")
    fold: int | None = option(None, "this fold of cvind.mat is the official test subset", minimum=1, maximum=5)


@dataclass(frozen=True)
class BrainCocoOptions:
    mask: Literal["bbox", "polygon"] = option("bbox", "bbox: filled boxes, as Mueller & Wolf; polygon: outlines and RLE")
    target: Literal["tumour", "category"] = option("tumour", 'category: the categories "0" and "1" as classes')


@dataclass(frozen=True)
class BratsOptions:
    modalities: tuple[str, ...] = option(("flair", "t1", "t1ce", "t2"), "channels in order; zeros: an empty one")
    slices: tuple[int, int] | None = option(None, "first axial slice and how many: 5,145 is Keller's cut", minimum=0)


DATASETS = (
    DatasetSpec(
        "phantom",
        "generated images with bright blobs as targets; needs no data",
        target="segkit_datasets.phantom:open_phantom",
        options=PhantomOptions,
        licence="generated: yours",
        synthesize="segkit_datasets.phantom:synthesize",
        needs_root=False,
    ),
    DatasetSpec(
        "folder",
        "your own images and masks, paired by name",
        target="segkit_datasets.folder:open_folder",
        options=FolderOptions,
        licence="yours",
        layout=FOLDER_LAYOUT,
        synthesize="segkit_datasets.phantom:synthesize",
    ),
    DatasetSpec(
        "polyp",
        "CVC-ClinicDB: 612 colonoscopy frames of 29 video sequences, polyp masks",
        target="segkit_datasets.polyp:open_polyp",
        homepage="https://polyp.grand-challenge.org/CVCClinicDB/",
        licence="research and education only, no commercial use (README of the dataset)",
        layout=POLYP_LAYOUT,
        synthesize="segkit_datasets.polyp:synthesize",
    ),
    DatasetSpec(
        "lgg",
        "TCGA-LGG: brain MR slices of 110 patients with lower-grade glioma, tumour masks",
        target="segkit_datasets.lgg:open_lgg",
        options=LggOptions,
        homepage="https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
        licence="CC BY-NC-SA 4.0, as far as known (Kaggle page)",
        layout=LGG_LAYOUT,
        preprocess={"intensity": "zscore"},
        synthesize="segkit_datasets.lgg:synthesize",
    ),
    DatasetSpec(
        "figshare",
        "Cheng's brain tumours: 3,064 T1-CE slices of 233 patients, three tumour types",
        target="segkit_datasets.figshare:open_figshare",
        options=FigshareOptions,
        homepage="https://doi.org/10.6084/m9.figshare.1512427",
        licence="CC BY 4.0 (Figshare page)",
        layout=FIGSHARE_LAYOUT,
        preprocess={"intensity": "minmax"},
        synthesize="segkit_datasets.figshare:synthesize",
    ),
    DatasetSpec(
        "brain-coco",
        "Kaggle's 2,146 brain tumour images with COCO boxes, official split",
        target="segkit_datasets.brain_coco:open_brain_coco",
        options=BrainCocoOptions,
        homepage="https://www.kaggle.com/datasets/pkdarabi/brain-tumor-image-dataset-semantic-segmentation",
        licence="CC BY 4.0 (README of the dataset)",
        layout=COCO_LAYOUT,
        requires={"pycocotools": "pip install pycocotools"},
        synthesize="segkit_datasets.brain_coco:synthesize",
    ),
    DatasetSpec(
        "acdc",
        "ACDC: cardiac MR volumes of 150 patients at end of diastole and systole; RV, myocardium, LV",
        target="segkit_datasets.acdc:open_acdc",
        homepage="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
        licence="research only, citation required (MANDATORY_CITATION.md of the dataset)",
        layout=ACDC_LAYOUT,
        preprocess={"intensity": "percentile"},
        synthesize="segkit_datasets.acdc:synthesize",
    ),
    DatasetSpec(
        "brats2020",
        "BraTS 2020 (and 2021, 2023): brain MR of glioma in four modalities; NCR, edema, enhancing tumour",
        target="segkit_datasets.brats:open_brats",
        options=BratsOptions,
        homepage="https://www.med.upenn.edu/cbica/brats2020/data.html",
        licence="registration, citation required",
        layout=BRATS_LAYOUT,
        remarks="the task names the regions WT, TC and ET (unions of the classes), but no metric uses them yet: all figures "
        "are of the classes",
        preprocess={"intensity": "zscore"},
        synthesize="segkit_datasets.brats:synthesize",
    ),
    DatasetSpec(
        "nnunet",
        "any dataset laid out for nnU-Net v2 or the Medical Segmentation Decathlon",
        target="segkit_datasets.nnunet:open_nnunet",
        licence="of the dataset",
        layout=NNUNET_LAYOUT,
        preprocess={"intensity": "zscore"},
        synthesize="segkit_datasets.nnunet:synthesize",
    ),
)


@hookimpl
def segkit_datasets() -> list[DatasetSpec]:
    return list(DATASETS)
