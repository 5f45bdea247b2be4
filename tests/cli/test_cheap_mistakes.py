"""What can be known to fail without torch fails without it, in a fresh interpreter, and writes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PHANTOM = ["train", "--dataset", "phantom", "--model", "unet"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*PHANTOM, "--out", "FULL"], "exists already"),
        ([*PHANTOM, "--seeds", "2", "--out", "FULL"], "exists already"),
        ([*PHANTOM, "--devices", "2", "--out", "FULL"], "exists already"),
        ([*PHANTOM, "--device", "quantum"], "--device quantum"),
        ([*PHANTOM, "--device", "gpu"], "--device cuda is"),
        ([*PHANTOM, "--device", "1"], "--device cuda:1"),
        ([*PHANTOM, "--folds", "99"], "only 64 groups"),
        ([*PHANTOM, "--pretrained", "imagenet"], "no encoder"),
        ([*PHANTOM, "--precision", "fp16", "--device", "cpu"], "needs a GPU"),
        (["benchmark", "--model", "unet", "--device", "quantum"], "--device quantum"),
        (["benchmark", "--model", "unet", "--size", "x"], "--size x"),
        (["evaluate", "RUN", "--device", "quantum"], "--device quantum"),
        (["evaluate", "RUN", "--out", "FILE"], "is a file"),
        (["predict", "RUN", "IMAGE", "--out", "masks", "--device", "quantum"], "--device quantum"),
        (["predict", "RUN", "IMAGE", "--out", "FILE/masks"], "is a file"),
        (["predict", "RUN", "nowhere.png", "--out", "masks"], "does not exist"),
        (["export", "RUN", "--out", "FILE"], "must end in .onnx"),
        (["export", "RUN", "--out", "THERE.onnx"], "exists already"),
    ],
)
def test_no_torch_is_imported_to_say_it(words: list[str], told: str, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    for name in ("full/notes.txt", "file", "there.onnx", "image.png"):
        (tmp_path / name).write_text("mine")
    places = {"FULL": "full", "FILE": "file", "THERE": "there", "IMAGE": "image.png", "RUN": str(trained)}
    for place, path in places.items():
        words = [word.replace(place, path) for word in words]
    before = sorted(tmp_path.rglob("*"))
    script = (
        f"import sys\nfrom segkit.cli.app import run\ncode = run({words!r})\n"
        "print(code, [name for name in ('torch', 'onnxruntime', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "2 []" and told in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_gpu_without_a_driver_is_refused_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.config import device
    from segkit.errors import UsageError

    monkeypatch.setattr(device, "_loads", lambda library: False)
    monkeypatch.setattr(device, "_torch_build", lambda: "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UsageError, match="--device cuda:1"):
        device.check_device("cuda:1")
    monkeypatch.setattr(device, "_torch_build", lambda: "cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n")
    device.check_device("cuda:1")  # AMD's, which has another driver
    monkeypatch.setattr(device, "_loads", lambda library: True)
    monkeypatch.setattr(device, "_torch_build", lambda: "cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    with pytest.raises(UsageError, match="--device cuda"):
        device.check_device("cuda")
