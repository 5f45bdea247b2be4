"""What predict does when memory ends, files are damaged or closed, and words cannot be meant."""

from __future__ import annotations

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

from conftest import Command, save_weights
from prediction.small import RECORD, record
from segkit.cli.app import run as run_segkit
from segkit.inference.torch_backend import Runner
from segkit.prediction import prefetch
from segkit.runs.weights import read_header
from segkit.settings import Preprocess
from segkit.specs import ModelSpec
from segkit.task import Task


def test_what_no_input_fits_is_told_before_anything_runs(
    segkit: Command, trained: Path, organs: Path, pictures: Path, tmp_path: Path
) -> None:
    volume = save_weights(
        tmp_path / "v.safetensors", "unet3d", Task(1, ("b", "x"), dims=3), Preprocess("native"), width=4, depth=1
    )
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 5), np.float32), np.eye(4)), tmp_path / "five.nii.gz")
    for words, part in (
        ([volume, pictures], "the model takes volumes"),
        ([trained, tmp_path / "five.nii.gz"], "five.nii.gz is a volume; the model was trained on images"),
        ([volume, pictures, "--polygons"], "--polygons"),
        ([trained, pictures, "--threshold", "2"], "not a number from 0"),
        ([trained, pictures, "-o", "dataset.cases=3"], "--dataset"),
        ([trained], "There is no input"),
        ([trained, pictures, "--device", "tpu"], "cannot be used"),
    ):
        told = segkit("predict", *words, "--out", tmp_path / "no")
        assert told.code == 2 and part in told.err and not (tmp_path / "no").exists(), told.err


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
        named = {path.name for path in before if path.is_file()}
        assert named - {"i.dcm"} <= set(entries) <= named  # a DICOM file whose tags say that it is no image is left alone
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
