"""What predict writes besides masks, what it is told on the command line, and what it does when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from conftest import Command, real, save_weights
from segkit.cli.app import run as run_segkit
from segkit.data.images import read_image, read_mask
from segkit.inference.torch_backend import Runner
from segkit.prediction import prefetch
from segkit.reports.overlay import palette
from segkit.runs.weights import read_header
from segkit.settings import Preprocess
from segkit.specs import ModelSpec
from segkit.task import Task

ORGANS = Task(3, ("background", "liver", "spleen"), mode="multiclass")
RECORD = Preprocess("stretch", (32, 32), intensity="zscore")


ECHO = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("echo", "its channels are its logits", target="acme_module:build")]

def build(task, options):
    import torch

    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            return self.scale * x

    return Echo()
"""


@pytest.fixture
def organs(install, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    install("acme", ECHO)
    return save_weights(tmp_path / "organs.safetensors", "echo", ORGANS, RECORD)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, size in {"a.png": (40, 56), "b.jpg": (33, 31), "c.tif": (20, 24)}.items():
        Image.fromarray(draw.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record(out: Path) -> dict[str, Any]:
    files: dict[str, Any] = json.loads((out / "predictions.json").read_text())["files"]
    return files


def test_palette_masks_are_labels_that_show_colours(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    for out, more in (("plain", []), ("coloured", ["--palette"])):
        assert segkit("predict", organs, pictures, "--out", tmp_path / out, *more).code == 0
    shown = Image.open(tmp_path / "coloured" / "a.png")
    labels = read_mask(tmp_path / "plain" / "a.png")
    assert shown.mode == "P" and np.array_equal(np.asarray(shown), labels) and len(np.unique(labels)) > 1
    assert np.array_equal(np.asarray(shown.convert("RGB")), np.array(palette(3), np.uint8)[labels])
    assert np.array_equal(read_mask(tmp_path / "coloured" / "c.tif"), read_mask(tmp_path / "plain" / "c.tif"))


def test_probabilities_of_images_agree_with_their_masks(
    segkit: Command, organs: Path, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("predict", organs, pictures, "--out", tmp_path / "organs", "--probabilities").code == 0
    for name, mask in (("a", "a.png"), ("c", "c.tif")):
        found = np.load(tmp_path / "organs" / f"{name}.probabilities.npz")["probabilities"]
        assert found.dtype == np.float32 and np.allclose(found.sum(axis=0), 1, atol=1e-4)
        assert (found.argmax(axis=0) == read_mask(tmp_path / "organs" / mask)).mean() > 0.999
    assert segkit("predict", trained, pictures, "--out", tmp_path / "one", "--probabilities").code == 0
    levels = read_image(tmp_path / "one" / "a.probability.png")[0]
    assert levels.dtype == np.uint16
    assert ((levels > 32767) == (read_mask(tmp_path / "one" / "a.png") > 0)).mean() > 0.999
    assert read_image(tmp_path / "one" / "c.probability.tif").dtype == np.uint16


def test_the_table_counts_what_the_masks_show(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_text("x")
    assert segkit("predict", organs, pictures, "--out", tmp_path / "out", "--table", "--min-size", "5").code == 3
    table = rows(tmp_path / "out" / "measures.csv")
    assert [row["file"] for row in table] == ["a.png", "a.png", "b.jpg", "b.jpg", "broken.png", "c.tif", "c.tif"]
    assert "broken.png" in table[4]["error"]
    labels = read_mask(tmp_path / "out" / "a.png")
    for value, row in enumerate(table[:2], start=1):
        components, count = ndimage.label(labels == value, np.ones((3, 3)))
        assert (int(row["count"]), int(row["components"])) == ((labels == value).sum(), count)
        assert count == 0 or ndimage.sum(labels == value, components, range(1, count + 1)).min() >= 5
        if count:
            y, x = ndimage.center_of_mass(labels == value)
            assert (float(row["x"]), float(row["y"])) == pytest.approx((x, y), abs=1e-3)
            assert 1 / 3 < float(row["confidence"]) <= 1  # the most probable of three


def test_polygons_are_one_coco_file_of_all_calls(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    out = tmp_path / "out"
    for name in ("a.png", "b.jpg"):
        assert segkit("predict", organs, pictures / name, "--out", out, "--polygons").code == 0
    document = json.loads((out / "polygons.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.jpg"]
    for image, name in zip(document["images"], ("a.png", "b.png"), strict=True):
        labels = read_mask(out / name)
        drawn = np.zeros(labels.shape, np.uint8)
        for entry in document["annotations"]:
            if entry["image_id"] == image["id"]:
                code = coco_mask.frPyObjects(
                    [[float(at) for at in entry["segmentation"][0]]], image["height"], image["width"]
                )
                drawn[coco_mask.decode(coco_mask.merge(code)) > 0] = entry["category_id"]
        assert np.array_equal(drawn, labels)


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


def test_several_models_predict_their_mean_probability(segkit: Command, pictures: Path, tmp_path: Path) -> None:
    task = Task(3, ("background", "x"))
    members = [
        save_weights(
            tmp_path / f"{fit}.safetensors", name, task, Preprocess(fit, size, intensity="zscore"), width=4, depth=2
        )  # type: ignore[arg-type]
        for fit, size, name in (
            ("stretch", (32, 32), "unet"),
            ("patch", (16, 16), "resunet"),
            ("native", None, "attention-unet"),
        )
    ]
    for out, what in (("all", members), *((member.stem, [member]) for member in members)):
        assert segkit("predict", *what, pictures / "a.png", "--out", tmp_path / str(out), "--probabilities").code == 0
    found = [read_image(tmp_path / out / "a.probability.png")[0] / 65535 for out in ("stretch", "patch", "native")]
    mean = read_image(tmp_path / "all" / "a.probability.png")[0] / 65535
    np.testing.assert_allclose(mean, np.mean(found, axis=0), atol=3e-5)
    assert len(record(tmp_path / "all")["a.png"]["model"]) == 3
    other = save_weights(tmp_path / "organs.safetensors", "unet", ORGANS, RECORD, width=4, depth=2)
    for words, part in (
        ([members[0], other, pictures], "cannot predict together"),
        ([members[0], pictures, members[1]], "come first"),
    ):
        told = segkit("predict", *words, "--out", tmp_path / "no")
        assert told.code == 2 and part in told.err and not (tmp_path / "no").exists()


def test_names_come_from_stdin_lines_nul_or_a_list(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(pictures / name) for name in ("a.png", "b.jpg")]
    strange = pictures / "new\nline.png"
    shutil.copy(pictures / "a.png", strange)
    for number, (words, content) in enumerate(
        ((["-"], "\n".join(names)), (["-0"], "\0".join([*names, str(strange)])), ([tmp_path / "list.txt"], ""))
    ):
        (tmp_path / "list.txt").write_text("\n".join([*names, str(pictures / "gone.png")]))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        done = segkit("predict", trained, *words, "--out", tmp_path / str(number), "--json")
        counts = json.loads(done.out)
        assert (done.code, counts["done"], counts["failed"]) == [(0, 2, 0), (0, 3, 0), (3, 2, 1)][number], done.err
    assert "gone.png does not exist" in done.err


def test_cases_of_several_files_are_put_together_by_their_dataset(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "brats2020", "--cases", "2", "--out", tmp_path / "data").code == 0
    task = Task(4, ("background", "NCR", "edema", "ET"), dims=3, mode="multiclass")
    weights = save_weights(
        tmp_path / "m.safetensors", "unet3d", task, Preprocess("patch", (8, 8, 8), intensity="zscore"), width=4, depth=1
    )
    done = segkit("predict", weights, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "out", "--overlay")
    assert done.code == 0, done.err
    cases = sorted((tmp_path / "data").rglob("*_flair.nii.gz"))
    assert len(cases) == 2
    for path in cases:
        name = path.name.removesuffix("_flair.nii.gz")
        mask, source = nib.load(tmp_path / "out" / f"{name}.nii.gz"), nib.load(path)
        assert mask.shape == source.shape and np.array_equal(mask.affine, source.affine)
        assert (tmp_path / "out" / f"{name}.overlay.png").exists()
    again = segkit("predict", weights, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "out", "--overlay")
    assert "2 already done" in again.err
    alone = segkit("predict", weights, cases[0], "--out", tmp_path / "no")
    assert alone.code == 2 and "--dataset brats2020" in alone.err and not (tmp_path / "no").exists()
    wrong = segkit("predict", weights, tmp_path / "data", "--dataset", "polyp", "--out", tmp_path / "no")
    assert wrong.code == 2 and not (tmp_path / "no").exists()


def test_what_no_input_fits_is_told_before_anything_runs(
    segkit: Command, trained: Path, organs: Path, pictures: Path, tmp_path: Path
) -> None:
    volume = save_weights(
        tmp_path / "v.safetensors", "unet3d", Task(1, ("b", "x"), dims=3), Preprocess("native"), width=4, depth=1
    )
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 5), np.float32), np.eye(4)), tmp_path / "five.nii.gz")
    for words, part in (
        ([volume, pictures], "the model takes volumes"),
        ([trained, tmp_path / "five.nii.gz"], "5 channel(s); the model takes 3"),
        ([volume, pictures, "--polygons"], "--polygons"),
        ([trained, pictures, "--threshold", "2"], "not a number from 0"),
        ([trained, pictures, "-o", "dataset.cases=3"], "--dataset"),
        ([trained], "There is no input"),
        ([trained, pictures, "--device", "tpu"], "cannot be used"),
    ):
        told = segkit("predict", *words, "--out", tmp_path / "no")
        assert told.code == 2 and part in told.err and not (tmp_path / "no").exists(), told.err


def test_a_2d_model_sees_volumes_slice_by_slice_in_a_mixed_tree(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(draw.random((9, 12, 4)).astype(np.float32), np.diag([1.0, 1, 5, 1])), pictures / "v.nii.gz")
    (pictures / "broken.nii").write_bytes(b"x" * 500)
    done = segkit("predict", trained, pictures, "--out", tmp_path / "out", "--overlay", "--table")
    assert done.code == 3 and "4 predicted" in done.err
    assert nib.load(tmp_path / "out" / "v.nii.gz").shape == (9, 12, 4)
    assert record(tmp_path / "out")["v.nii.gz"]["voxels"].keys() == {"background", "target"}


class Greedy(torch.nn.Conv2d):
    """A model that needs more memory than there is for more than two images, or for any on a device."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("too much")
        return super().forward(x)


def test_out_of_memory_makes_batches_smaller_and_says_so(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    header, model = read_header(trained / "model.safetensors"), Greedy(3, 1, 1)
    runner = Runner(header, ModelSpec("greedy", "x", target="a:b"), model, torch.device("cpu"))
    images = np.random.default_rng(0).random((7, 3, 8, 8)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.nn.Conv2d.forward(model, torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(runner.forward(images), expected, atol=1e-6)
    assert "too small for 7 at a time; continuing with 3" in caplog.text and runner.largest == 1
    np.testing.assert_allclose(runner.forward(images[:3]), expected[:3], atol=1e-6)


class NeedsTheCPU(torch.nn.Conv2d):
    """A model with no room on any other device; "meta" stands for one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu":
            raise torch.OutOfMemoryError("no memory")
        return super().forward(x)


def test_out_of_memory_of_a_gpu_ends_on_the_cpu(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    header, model = read_header(trained / "model.safetensors"), NeedsTheCPU(3, 1, 1)
    runner = Runner(header, ModelSpec("greedy", "x", target="a:b"), model, torch.device("cpu"))
    runner.device = torch.device("meta")
    assert runner.forward(np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 1, 8, 8)
    assert runner.device.type == "cpu" and "continuing on the CPU" in caplog.text


def test_a_folder_and_a_file_without_permission_are_named(trained: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "tree" / "open")
    for name in ("closed", "tree/closed"):
        shutil.copytree(pictures, tmp_path / name)
    (tmp_path / "tree" / "open" / "a.png").chmod(0)
    (tmp_path / "tree" / "closed").chmod(0)
    weights = tmp_path / "m.safetensors"
    shutil.copy(trained / "model.safetensors", weights)
    weights.chmod(0o644)
    words = ["predict", str(weights), str(tmp_path / "tree"), "--out", str(tmp_path / "out"), "--json"]
    first = ["predict", str(trained), str(pictures), "--out", str(tmp_path / "first")]  # so that all is imported
    program = f"""
import os
from segkit.cli.app import run
run({first!r})
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
raise SystemExit(run({words!r}))
"""
    folder = tmp_path
    while folder != Path(folder.anchor):  # another user than root must get there
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o711)
        folder = folder.parent
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    files = json.loads(done.stdout)["files"]
    assert {key: entry["status"] for key, entry in files.items()} == {
        "closed": "failed",
        "open/a.png": "failed",
        "open/b.jpg": "done",
        "open/c.tif": "done",
    }
    assert "Permission denied" in files["closed"]["reason"] and "Permission denied" in files["open/a.png"]["reason"]


def test_weights_that_are_tampered_with_missing_or_pickled_are_refused(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    content = (trained / "model.safetensors").read_bytes()
    wrong = {
        "tampered": content.replace(b"unets/unet", b"unets/ment"),
        "elsewhere": content.replace(b"unets/unet", b"acmes/unet").replace(b'\\"segkit-med\\"', b'\\"segkit-acm\\"'),
        "pickled": b"\x80\x04\x95cposix\nsystem\n",
        "cut": content[: len(content) // 2],
    }
    assert wrong["elsewhere"] != content
    for name, parts in wrong.items():
        (tmp_path / f"{name}.safetensors").write_bytes(parts)
        told = segkit("predict", tmp_path / f"{name}.safetensors", pictures, "--out", tmp_path / "no")
        assert told.code == 1 and "Error" in told.err and "segkit itself failed" not in told.err, told.err
        assert not (tmp_path / "no").exists()
    assert (
        "pip install segkit-acm"
        in segkit("predict", tmp_path / "elsewhere.safetensors", pictures, "--out", tmp_path / "no").err
    )


NAMES = st.sampled_from(["a.png", "b.jpg", "c.tif", "d.gif", "e.bmp", "f.webp", "g.nii.gz", "h.nii", "i.dcm"])


@given(st.lists(st.tuples(NAMES, st.integers(0, 10**6), st.binary(max_size=60)), min_size=1, max_size=4), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_any_content_are_done_or_named_and_nothing_is_written_elsewhere(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, bytes]], data: st.DataObject
) -> None:
    """Whole files, mutated: cut short, overwritten in places, mislabelled."""
    folder = tmp_path_factory.mktemp("mutated")
    source = sound_files(tmp_path_factory.getbasetemp() / "sound")
    (folder / "in").mkdir()
    for name, place, noise in changes:
        content = bytearray((source / name).read_bytes())
        place %= len(content)
        content[place : place + len(noise)] = noise
        if data.draw(st.booleans()):
            content = content[:place]
        (folder / "in" / data.draw(NAMES)).write_bytes(content)
    before = set(folder.rglob("*"))
    code = run_segkit(
        ["-q", "predict", str(trained), str(folder / "in"), "--out", str(folder / "out"), "--table", "--overlay"]
    )
    assert code in (0, 1, 2, 3)
    new = set(folder.rglob("*")) - before
    assert all((folder / "out") in (path, *path.parents) for path in new)
    if code != 2:
        entries = record(folder / "out")
        known = [
            path for path in before if path.is_file() and (path.suffix != ".dcm" or path.read_bytes()[128:132] == b"DICM")
        ]
        assert set(entries) == {path.name for path in known}
        for entry in entries.values():
            assert entry["status"] == "done" or entry["reason"]


def sound_files(folder: Path) -> Path:
    """One of each kind, made once."""
    if folder.exists():
        return folder
    from data.test_dicom import PIXELS, write

    folder.mkdir()
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=np.uint8))
    for name in ("a.png", "b.jpg", "c.tif", "d.gif", "e.bmp", "f.webp"):
        pixels.save(folder / name)
    for name in ("g.nii.gz", "h.nii"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 3), np.int16), np.eye(4)), folder / name)
    write(folder / "i.dcm", PIXELS)
    return folder


def test_items_made_ahead_come_in_order_bounded_and_end_with_what_their_source_raises() -> None:
    made: list[int] = []

    def source(count: int) -> Any:
        for number in range(count):
            made.append(number)
            yield number
        raise ValueError("the end")

    found = []
    with pytest.raises(ValueError, match="the end"):
        for number in prefetch.prefetch(source(50), lambda number: 10, limit=30):
            assert len(made) <= number + 5
            found.append(number)
    assert found == list(range(50))
    few = prefetch.prefetch(source(1000), lambda number: 10, limit=30)
    next(few)
    few.close()
    assert len(made) < 70


def test_real_drive_images_come_out_as_tiff_of_their_size(segkit: Command, trained: Path, tmp_path: Path) -> None:
    folder = real("folder/drive") / "training" / "images"
    assert segkit("predict", trained, folder, "--out", tmp_path / "out", "--polygons", "--table").code == 0
    masks = sorted((tmp_path / "out").glob("*.tif"))
    assert masks and all(read_mask(mask).shape == (584, 565) for mask in masks)


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


def test_a_stack_is_its_pages(segkit: Command, tmp_path: Path) -> None:
    """Decoded, normalised, predicted and measured alike, whatever their photometric interpretation."""
    import tifffile

    weights = save_weights(
        tmp_path / "m.safetensors",
        "unet",
        Task(1, ("background", "x")),
        Preprocess("stretch", (32, 32), intensity="zscore"),
        width=4,
        depth=2,
    )
    draw = np.random.default_rng(0)
    pages = [draw.integers(0, 255, (20, 30), dtype=np.uint8), draw.integers(0, 80, (20, 30), dtype=np.uint8)]
    for kind, arrays, photometric in (
        ("white", pages, "miniswhite"),
        ("bits", [page > 99 for page in pages], "minisblack"),
        ("floats", [page.astype(np.float32) for page in pages], "minisblack"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        tifffile.imwrite(folder / "stack.tif", np.stack(arrays), photometric=photometric)
        for number, page in enumerate(arrays):
            tifffile.imwrite(folder / f"{number}.tif", page, photometric=photometric)
        assert segkit("predict", weights, folder, "--out", folder / "out", "--probabilities", "--table").code == 0
        stack = tifffile.imread(folder / "out" / "stack.probability.tif")
        for number in range(2):
            assert np.array_equal(stack[number], tifffile.imread(folder / "out" / f"{number}.probability.tif"))
    colour = np.stack([np.stack(pages), np.stack(pages)[::-1], np.stack(pages)], axis=1)  # (pages, 3, H, W)
    from segkit.data.images import read_image, read_pages

    tifffile.imwrite(tmp_path / "planes.tif", colour, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "plane.tif", colour[0], photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_pages(tmp_path / "planes.tif")[..., 0], read_image(tmp_path / "plane.tif"))


def test_columns_are_x_and_rows_y_in_a_stack_too(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    install("acme", ECHO)
    weights = save_weights(
        tmp_path / "m.safetensors", "echo", Task(1, ("background", "x")), Preprocess("native", intensity="zscore")
    )
    page = np.zeros((20, 30), np.uint8)
    page[5, 22] = 255
    tifffile.imwrite(tmp_path / "one.tif", page)
    tifffile.imwrite(tmp_path / "two.tif", np.stack([page, page]), photometric="minisblack")
    assert (
        segkit("predict", weights, tmp_path / "one.tif", tmp_path / "two.tif", "--out", tmp_path / "out", "--table").code
        == 0
    )
    one, two = rows(tmp_path / "out" / "measures.csv")
    assert (one["x"], one["y"], one["z"]) == ("22.0", "5.0", "") and (two["x"], two["y"], two["z"]) == ("22.0", "5.0", "0.5")


def test_names_that_are_no_unicode_stand_in_the_tables(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    os.link(pictures / "a.png", os.fsencode(pictures) + b"/im\xff.png")
    assert segkit("predict", trained, pictures, "--out", tmp_path / "out", "--table", "--polygons").code == 0
    assert b"im\xff.png" in (tmp_path / "out" / "measures.csv").read_bytes()


def test_what_a_classifier_cannot_do_with_masks_is_refused(segkit: Command, pictures: Path, tmp_path: Path) -> None:
    weights = save_weights(
        tmp_path / "m.safetensors",
        "resnet-classifier",
        Task(3, ("background", "x")),
        RECORD,
        encoder="test_resnet",
        hidden=8,
    )
    for words in (["--threshold", "0.9"], ["--keep-largest"], ["--min-size", "5"], ["--overlay"], ["--table"]):
        told = segkit("predict", weights, pictures, "--out", tmp_path / "no", *words)
        assert told.code == 2 and "this model gives classes" in told.err


def test_models_after_inputs_are_told_where_they_belong(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    told = segkit("predict", pictures, trained, "--out", tmp_path / "no")
    assert told.code == 2 and "Models come first" in told.err


def test_values_of_another_scale_are_said(segkit: Command, trained: Path, tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "x.tif", np.random.default_rng(0).random((9, 9, 3)).astype(np.float32), photometric="rgb")
    done = segkit("predict", trained, tmp_path / "x.tif", "--out", tmp_path / "out")
    assert done.code == 0 and "holds float32 values" in done.err


def test_a_pair_of_files_gives_one_file_with_its_scale_and_no_window_of_the_scan(segkit: Command, tmp_path: Path) -> None:
    weights = save_weights(
        tmp_path / "m.safetensors",
        "unet3d",
        Task(1, ("b", "x"), dims=3),
        Preprocess("native", intensity="zscore"),
        width=4,
        depth=1,
    )
    image = nib.Nifti1Pair(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), np.eye(4))
    image.header["cal_max"] = 900
    nib.save(image, tmp_path / "x.hdr")
    assert segkit("predict", weights, tmp_path / "x.hdr", "--out", tmp_path / "out", "--probabilities").code == 0
    found = nib.load(tmp_path / "out" / "x.probabilities.nii.gz").get_fdata()
    assert 0 < found.max() <= 1
    assert nib.load(tmp_path / "out" / "x.nii.gz").header["cal_max"] == 0
