"""predictions.json knows what was made from what: nothing is made twice, goes stale or is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from conftest import Command, save_weights
from data.test_dicom import write as write_dicom
from prediction.small import record, rows
from segkit.data.images import read_mask
from segkit.settings import Preprocess
from segkit.task import Task


def test_options_are_recorded_and_other_ones_make_everything_new(
    segkit: Command, organs: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["predict", organs, pictures, "--out", tmp_path / "out", "--json"]
    more = ["--tta", "--threshold", "liver=0.2", "--keep-largest", "--min-size", "3"]
    assert json.loads(segkit(*words, *more).out)["done"] == 3
    options = record(tmp_path / "out")["a.png"]["options"]
    assert options == {"thresholds": [None, 0.2, None], "keep_largest": True, "min_size": 3, "flips": True}
    assert json.loads(segkit(*words, *more).out)["skipped"] == 3
    for fewer in (more[1:], more[:1] + more[3:], more[:3] + more[4:], more[:4], []):
        assert json.loads(segkit(*words, *fewer).out)["done"] == 3


def test_two_calls_that_finish_at_once_lose_no_record(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from segkit.prediction.inputs import Input
from segkit.prediction.jobs import Job
from segkit.prediction.record import PredictionRecord
for number in range(60):
    key = f"{sys.argv[1]}-{number}"
    record = PredictionRecord(Path(sys.argv[2]), {})
    record.begin([Job(Input(key, (Path(key),), "image"), {})])
"""
    running = [subprocess.Popen([sys.executable, "-c", program, name, str(tmp_path / "out")]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(record(tmp_path / "out")) == 180


def test_outputs_may_be_added_and_left_out_and_none_goes_stale(
    segkit: Command, organs: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["predict", organs, pictures, "--out", tmp_path / "out", "--json"]
    done = [json.loads(segkit(*words, *more).out)["done"] for more in ([], ["--overlay"], [], ["--overlay"], ["--table"])]
    assert done == [3, 3, 0, 0, 3]  # an overlay that is there already is no reason to start again
    assert not (tmp_path / "out" / "a.overlay.png").exists()  # what --table did again has other outputs
    assert segkit(*words, "--overlay", "--table", "--polygons").code == 0
    assert segkit(*words, "--threshold", "liver=0.9").code == 0
    assert not (tmp_path / "out" / "a.overlay.png").exists() and rows(tmp_path / "out" / "measures.csv") == []
    labels = read_mask(tmp_path / "out" / "a.png")
    document = json.loads((tmp_path / "out" / "polygons.json").read_text())
    area = sum(entry["area"] for entry in document["annotations"] if entry["image_id"] == 1)
    assert area == (labels > 0).sum()


def test_a_result_whose_name_changes_leaves_nothing_behind(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("predict", trained, pictures, "--out", tmp_path / "out").code == 0
    shutil.copy(pictures / "a.png", pictures / "b.png")
    assert segkit("predict", trained, pictures, "--out", tmp_path / "out").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.png", "b.jpg.png", "b.png.png", "c.tif", "predictions.json"]


def test_a_file_that_is_gone_keeps_its_mask_and_foreign_files_are_never_lost_to_a_failure(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "list.txt").write_text("\n".join(str(path) for path in sorted(pictures.iterdir())))
    assert segkit("predict", trained, tmp_path / "list.txt", "--out", out).code == 0
    (pictures / "a.png").rename(tmp_path / "elsewhere.png")
    assert segkit("predict", trained, tmp_path / "list.txt", "--out", out).code == 3
    assert (out / "a.png").exists()
    (tmp_path / "elsewhere.png").rename(pictures / "a.png")
    assert segkit("predict", trained, tmp_path / "list.txt", "--out", out).code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").write_text("drawn by hand")
    (pictures / "b.jpg").write_text("broken")
    assert segkit("predict", trained, pictures / "b.jpg", "--out", tmp_path / "other", "--overwrite").code == 1
    assert (tmp_path / "other" / "b.png").read_text() == "drawn by hand"


def test_results_that_a_list_names_are_no_inputs(segkit: Command, trained: Path, pictures: Path, tmp_path: Path) -> None:
    for _ in range(2):  # as find . -name '*.png' | segkit predict RUN - --out masks does when it is typed again
        listed = sorted(str(path) for path in tmp_path.rglob("*.png"))
        (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\n".join(listed).encode())
        document = json.loads(segkit("predict", trained, tmp_path / "list.txt", "--out", tmp_path / "masks", "--json").out)
        assert list(document["files"]) == ["a.png"] and document["failed"] == 0
    assert segkit("predict", trained, tmp_path / "masks" / "a.png", "--out", tmp_path / "again").code == 0  # typed, so meant


def test_other_channels_or_other_dataset_options_are_not_taken_for_the_same(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "brats2020", "--cases", "1", "--out", tmp_path / "data").code == 0
    order = ("t2", "t1ce", "t1", "flair")
    classes = ("background", "NCR", "edema", "ET")
    record_of = Preprocess("patch", (8, 8, 8), intensity="zscore")
    turned, usual = (
        save_weights(
            tmp_path / f"{names[0]}.safetensors",
            "unet3d",
            Task(4, classes, dims=3, mode="multiclass", channel_names=names),
            record_of,
            width=4,
            depth=1,
        )
        for names in (order, order[::-1])
    )
    words = ["--dataset", "brats2020", "--out", tmp_path / "out"]
    told = segkit("predict", turned, tmp_path / "data", *words)
    assert told.code == 2 and "t2, t1ce, t1, flair" in told.err
    assert segkit("predict", turned, tmp_path / "data", *words, "-o", f"dataset.modalities={','.join(order)}").code == 0
    told = segkit("predict", turned, usual, tmp_path / "data", *words)
    assert told.code == 2 and "cannot predict together" in told.err
    free = save_weights(
        tmp_path / "m.safetensors", "unet3d", Task(4, classes, dims=3, mode="multiclass"), record_of, width=4, depth=1
    )
    for more, done in (([], 1), ([], 0), (["-o", f"dataset.modalities={','.join(order)}"], 1)):
        counts = json.loads(
            segkit(
                "predict", free, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "o", "--json", *more
            ).out
        )
        assert counts["done"] == done
    told = segkit("predict", free, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "data")
    assert told.code == 2 and "is the input folder itself" in told.err


@pytest.fixture
def scanner(tmp_path: Path) -> Callable[[int, int], None]:
    """Writes the series of a number, of some slices, into one folder."""

    def write_series(number: int, slices: int) -> None:
        (tmp_path / "p").mkdir(exist_ok=True)
        for index in range(slices):
            pixels = np.random.default_rng(100 * number + index).integers(0, 99, (8, 8))
            path, uid = tmp_path / "p" / f"{number}-{index}.dcm", f"1.2.{number}"
            write_dicom(path, pixels, position=(0, 0, 2.0 * index), SeriesInstanceUID=uid, SeriesNumber=number)

    return write_series


def masks(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))


def test_series_that_are_taken_away_leave_no_masks_under_old_names(
    segkit: Command, scanner: Callable[[int, int], None], tmp_path: Path
) -> None:
    task = Task(1, ("background", "x"), dims=3)
    weights = save_weights(tmp_path / "m.safetensors", "unet", task, Preprocess("stretch", (8, 8)), width=2, depth=1)
    out, words = tmp_path / "out", ["predict", weights, tmp_path / "p", "--out", tmp_path / "out"]
    for number in (1, 2, 3):
        scanner(number, 2 + number)
    assert segkit(*words).code == 0 and masks(out) == [f"p/series-{number}.nii.gz" for number in (1, 2, 3)]
    for path in (tmp_path / "p").glob("1-*"):
        path.unlink()
    done = segkit(*words)  # what was the second is the first now
    assert done.code == 0 and masks(out) == ["p/series-1.nii.gz", "p/series-2.nii.gz"], done.err
    assert nib.load(out / "p/series-1.nii.gz").shape == (8, 8, 4) and "series-3.nii.gz" in done.err
    assert sorted(record(out)) == ["p/series-1", "p/series-2"]
    (out / "p/series-9.nii.gz").write_text("of somebody")
    for path in (tmp_path / "p").glob("2-*"):
        path.unlink()
    assert segkit(*words).code == 0 and masks(out) == ["p.nii.gz", "p/series-9.nii.gz"] and sorted(record(out)) == ["p"]
    (out / "p/series-9.nii.gz").unlink()
    scanner(4, 3)
    assert segkit(*words).code == 0 and masks(out) == ["p/series-1.nii.gz", "p/series-2.nii.gz"]


def test_masks_of_series_that_lie_elsewhere_stay(
    segkit: Command, scanner: Callable[[int, int], None], tmp_path: Path
) -> None:
    task = Task(1, ("background", "x"), dims=3)
    weights = save_weights(tmp_path / "m.safetensors", "unet", task, Preprocess("stretch", (8, 8)), width=2, depth=1)
    scanner(1, 3)
    (tmp_path / "p").rename(tmp_path / "q")
    assert segkit("predict", weights, tmp_path / "q", "--out", tmp_path / "out").code == 0
    (tmp_path / "q").rename(tmp_path / "away")
    scanner(2, 3)
    assert segkit("predict", weights, tmp_path / "p", "--out", tmp_path / "out").code == 0
    assert masks(tmp_path / "out") == ["p.nii.gz", "q.nii.gz"]
