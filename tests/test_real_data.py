"""On real files: numbers are read independently, with tifffile or Pillow, in the test. Skipped where the data is absent."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from conftest import Command, real
from segkit import plugins
from segkit.options import build
from segkit.task import Dataset


def opened(name: str, root: Path, **options: object) -> Dataset:
    spec = plugins.load().find("datasets", name).spec
    return spec.load()(root, build(spec.options, options, "dataset"))  # type: ignore[no-any-return]


def test_polyp_frames_are_in_colour_and_masks_are_binary() -> None:
    root = real("polyp")
    dataset = opened("polyp", root)
    assert len(dataset.cases) == 30 and len({case.group for case in dataset.cases}) == 10
    for case in dataset.cases[::5]:
        sample = dataset.read(case)
        pixels = tifffile.imread(root / "CVC-ClinicDB" / "Original" / f"{case.id}.tif")
        truth = tifffile.imread(root / "CVC-ClinicDB" / "Ground Truth" / f"{case.id}.tif")
        assert np.array_equal(np.moveaxis(sample.image, 0, -1), pixels)
        red, _, blue = sample.image.mean(axis=(1, 2))
        assert red > 1.3 * blue  # the inside of a colon is red
        assert sample.mask is not None
        assert np.array_equal(sample.mask, truth > 127) and 0 < sample.mask.mean() < 0.6


def test_the_sequences_of_the_readme_are_the_groups() -> None:
    root = real("polyp")
    text = (root / "CVC-ClinicDB" / "README.txt").read_text(encoding="latin-1")
    rows = [line.replace("|", " ").split() for line in text.splitlines() if " to " in line and "|" in line]
    table = {int(row[3]): range(int(row[0]), int(row[2]) + 1) for row in rows if len(row) == 4}
    assert len(table) == 29
    from segkit_datasets.polyp import sequence_of

    for sequence, frames in table.items():
        assert {sequence_of(Path(f"{frame}.tif")) for frame in frames} == {sequence}


@pytest.mark.parametrize("folder", ["kvasir-seg", "isic"])
def test_folders_of_other_people_are_paired_and_binary(folder: str) -> None:
    root = real(f"folder/{folder}")
    dataset = opened("folder", root)
    assert len(dataset.cases) == 5 and dataset.task.mode == "binary" and dataset.task.channels == 3
    for case in dataset.cases:
        sample = dataset.read(case)
        with Image.open(case.files["mask"]) as file:
            stored = np.asarray(file.convert("L"))
        assert sample.mask is not None and sample.mask.shape == sample.image.shape[1:] == stored.shape
        assert sample.mask.mean() == pytest.approx((stored > 127).mean())


def test_the_main_job_on_real_frames(segkit: Command, tmp_path: Path) -> None:
    root, photographs = real("polyp"), real("folder/kvasir-seg") / "images"
    small = "-o model.width=4 -o preprocess.size=64 --batch-size 4 --epochs 6 --seed 0 --loss dice-focal --lr 1e-3".split()
    run = tmp_path / "run"
    done = segkit("train", "--dataset", "polyp", "--data-dir", root, "--model", "resunet", *small, "--out", run)
    assert done.code == 0, done.err
    with (run / "history.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]
    document = json.loads(segkit("evaluate", run, "--json").out)
    split = json.loads((run / "split.json").read_text())
    assert document["cases"] == len(split["test"]) and document["groups"] >= 1
    assert 0 <= document["figures"]["per_case"]["dice"]["mean"] <= 1
    assert segkit("predict", run, photographs, "--out", tmp_path / "masks", "--overlay").code == 0
    for image in photographs.iterdir():
        with Image.open(tmp_path / "masks" / f"{image.stem}.png") as mask, Image.open(image) as photograph:
            assert mask.size == photograph.size
