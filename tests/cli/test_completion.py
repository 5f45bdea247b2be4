"""Tab completes names and keys, without torch; --version names the plugins of others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conftest import Command
from segkit import __version__
from segkit.testing.sandbox import Install

OFFER = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("echo", "its channels are its logits", target="acme_module:build")]
"""


def completed(line: str) -> list[str]:
    """What bash would propose for the last word of a line."""
    words = line.split(" ")
    env = {**os.environ, "_SEGKIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    script = (
        "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "from segkit.cli.app import app\napp(prog_name='segkit')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.stderr.splitlines()[-1] == "False"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "holds", "lacks"),
    [
        ("segkit train --dataset pha", {"phantom"}, {"folder"}),
        ("segkit train --model res", {"resunet", "resnet50-unet"}, {"unet"}),
        ("segkit train --loss ", {"dice", "dice-focal"}, {"iou"}),
        ("segkit train --metric ", {"iou", "dice"}, {"focal"}),
        ("segkit train --optimizer ", {"adam", "sgd"}, set()),
        ("segkit train --monitor ", {"auto", "loss", "dice"}, {"confusion"}),
        ("segkit train --model unet -o model.", {"model.width=", "model.depth="}, {"model.encoder="}),
        ("segkit train --model resunet -o train.w", {"train.weight_decay=", "train.warmup="}, {"train.lr="}),
        ("segkit evaluate run --subset ", {"train", "val", "test", "all"}, set()),
        ("segkit predict run --dataset nn", {"nnunet"}, set()),
        ("segkit models unet", {"unet", "unet3d"}, {"resunet"}),
        ("segkit data check a", {"acdc"}, {"phantom"}),
        ("segkit export run --format ", {"onnx", "torch-export"}, set()),
    ],
)
def test_names_and_keys_are_completed_without_torch(line: str, holds: set[str], lacks: set[str]) -> None:
    found = set(completed(line))
    assert holds <= found and not lacks & found


def test_the_version_names_the_plugins_of_others(segkit: Command, install: Install) -> None:
    assert segkit("--version").out.split() == ["segkit", __version__]
    install("acme", OFFER)
    assert "acme 1" in segkit("--version").out
