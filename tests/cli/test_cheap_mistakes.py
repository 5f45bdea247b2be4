"""What can be known to fail without torch fails without it, in a fresh interpreter, and writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PHANTOM = ["train", "--dataset", "phantom", "--model", "unet"]


MISTAKES = [
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
]
FILES = ("full/notes.txt", "file", "there.onnx", "image.png")
EACH = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from segkit.cli.app import run

answers = []
for words in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as told:
        code = run(words)
    heavy = [name for name in ("torch", "onnxruntime", "timm") if name in sys.modules]
    answers.append([code, heavy, told.getvalue(), sorted(path.as_posix() for path in Path().rglob("*"))])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What one interpreter answers to all mistakes: exit code, heavy modules, words, and the files that are there then."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "full").mkdir()
    for name in FILES:
        (folder / name).write_text("mine")
    places = {"FULL": "full", "FILE": "file", "THERE": "there", "IMAGE": "image.png", "RUN": str(trained)}
    typed = json.dumps([words for words, _ in MISTAKES])
    for place, path in places.items():
        typed = typed.replace(place, path)
    command = [sys.executable, "-c", EACH, typed]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: MISTAKES[number][1])
def test_no_torch_is_imported_to_say_it(number: int, answers: list[Any]) -> None:
    code, heavy, told, files = answers[number]
    assert (code, heavy) == (2, []) and MISTAKES[number][1] in told
    assert files == sorted(["full", *FILES])


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
