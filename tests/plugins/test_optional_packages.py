"""pycocotools is optional: only the dataset of COCO annotations asks for it, in words, and everything else goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conftest import Command
from segkit import plugins
from segkit.config.resolve import Choice
from segkit.data.reading import open_dataset, read_case
from segkit.options import build

OTHERS = [item.spec.name for item in plugins.load().all("datasets") if item.spec.name != "brain-coco"]


@pytest.fixture(autouse=True)
def without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_dataset_reads_its_cases(name: str, tmp_path: Path) -> None:
    found = plugins.load().find("datasets", name)
    root = None
    if found.spec.needs_root:
        root = tmp_path / "data"
        found.spec.load(found.spec.synthesize)(root, 4, 0)
    dataset = open_dataset(Choice(found, build(found.spec.options, {}, "dataset")), root)
    assert all(read_case(dataset, case).mask is not None for case in dataset.cases[:4])


def test_datasets_are_listed_and_shown(segkit: Command) -> None:
    listed = segkit("datasets")
    assert listed.code == 0 and "brain-coco" in listed.out
    assert segkit("datasets", "brain-coco").code == 0


def test_the_dataset_that_needs_it_says_what_to_install(segkit: Command, tmp_path: Path) -> None:
    result = segkit("data", "check", "brain-coco", "--data-dir", tmp_path)
    assert result.code == 1
    assert "'brain-coco' needs the package 'pycocotools'" in result.err and "pip install pycocotools" in result.err


def test_polygons_are_written_without_it(segkit: Command, trained: Path, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--cases", 1, "--out", tmp_path / "new").code == 0
    words = ["predict", trained, tmp_path / "new" / "images", "--out", tmp_path / "masks", "--polygons"]
    assert segkit(*words).code == 0
    assert (tmp_path / "masks" / "polygons.json").is_file()
