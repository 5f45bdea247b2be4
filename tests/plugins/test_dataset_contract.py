"""Every built-in dataset keeps the public contract."""

from __future__ import annotations

from segkit.testing import DatasetContract


class TestPhantom(DatasetContract):
    name = "phantom"


class TestFolder(DatasetContract):
    name = "folder"


class TestPolyp(DatasetContract):
    name = "polyp"


class TestLgg(DatasetContract):
    name = "lgg"


class TestLggWithTumour(DatasetContract):
    name = "lgg"
    options = {"only_tumour": True}


class TestFigshare(DatasetContract):
    name = "figshare"


class TestFigshareTypes(DatasetContract):
    name = "figshare"
    options = {"target": "type", "fold": 2}


class TestBrainCoco(DatasetContract):
    name = "brain-coco"


class TestBrainCocoCategories(DatasetContract):
    name = "brain-coco"
    options = {"target": "category", "mask": "polygon"}


class TestPhantomVolumes(DatasetContract):
    name = "phantom"
    options = {"dims": 3, "size": 16, "cases": 6, "classes": 3}


class TestAcdc(DatasetContract):
    name = "acdc"


class TestBrats(DatasetContract):
    name = "brats2020"


class TestBratsOfThePapers(DatasetContract):
    name = "brats2020"
    options = {"modalities": "flair,t1ce,zeros", "slices": "4,10"}


class TestNnunet(DatasetContract):
    name = "nnunet"
