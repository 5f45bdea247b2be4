"""The import law, in fresh interpreters: what is light stays light, whoever imports it first."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "numpy", "timm", "cv2", "nibabel", "monai", "pennylane", "accelerate", "scipy", "tifffile"}
NETWORKS = {"torch", "torchvision", "timm", "monai", "pennylane", "accelerate"}

LIGHT = ["segkit"] + [
    f"segkit.{name}"
    for name in [
        "api",
        "specs",
        "options",
        "hookspecs",
        "plugins",
        "task",
        "errors",
        "settings",
        "config",
        "completion",
        "run",
        "weights",
        "onnxfile",
        "files",
        "terminal",
        "__main__",
    ]
]
COMMANDS = [f"segkit.cli.{path.stem}" for path in (ROOT / "segkit/cli").glob("*.py") if path.stem != "__init__"]
SPECS = [f"{path.parent.name}.plugin" for path in (ROOT / "plugins").glob("segkit_*/plugin.py")]
ARRAYS = [
    f"segkit.data.{name}"
    for name in [
        "images",
        "pairing",
        "preprocess",
        "intensity",
        "split",
        "overlay",
        "outlines",
        "inputs",
        "cache",
        "reading",
        "volumes",
        "check",
    ]
] + [
    f"segkit.engine.{name}"
    for name in [
        "infer",
        "windows",
        "predict",
        "evaluate",
        "stats",
        "summary",
        "holdout",
        "networks",
        "onnx_backend",
        "artefacts",
        "parity",
    ]
]


def imported_by(code: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter that ran the code."""
    script = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ), check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["every light module", "every command", "every plugin.py"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    names = {"every light module": LIGHT, "every command": COMMANDS, "every plugin.py": SPECS}[module]
    assert names
    assert imported_by("\n".join(f"import {name}" for name in names)) & HEAVY == set()


def test_what_predict_needs_imports_arrays_but_no_network_library() -> None:
    assert imported_by("\n".join(f"import {name}" for name in ARRAYS)) & NETWORKS == set()


def run_and_list(*words: str) -> tuple[int, str, set[str]]:
    """Exit code, stderr and imported modules of one command line in a fresh interpreter."""
    script = (
        f"import sys, json\nfrom segkit.cli.app import run\ncode = run({list(words)!r})\n"
        "names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print(json.dumps([code, names, 'segkit_unets.plugin' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ), check=True)
    code, names, plugins_loaded = json.loads(done.stdout.splitlines()[-1])
    return code, done.stderr, set(names) | ({"plugins"} if plugins_loaded else set())


def test_help_imports_nothing_heavy_and_loads_no_plugin() -> None:
    code, _, modules = run_and_list("--help")
    assert code == 0
    assert modules & (HEAVY | {"plugins"}) == set()


@pytest.mark.parametrize(
    ("words", "closest"),
    [
        (["trian"], "train"),
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--dataset", "phantom", "--model", "resnuet"], "'resunet'"),
        (["train", "--dataset", "polip", "--model", "unet"], "'polyp'"),
        (["train", "--dataset", "phantom", "--model", "unet", "--loss", "dicefocal"], "'dice-focal'"),
        (["train", "--dataset", "phantom", "--model", "unet", "--metric", "dise"], "'dice'"),
        (["train", "--dataset", "phantom", "--model", "unet", "-o", "model.widht=3"], "'width'"),
        (["train", "--dataset", "phantom", "--model", "unet", "-o", "tarin.lr=3"], "'train'"),
        (["models", "resnuet"], "'resunet'"),
    ],
)
def test_a_mistyped_word_shows_the_closest_right_one_without_torch(words: list[str], closest: str) -> None:
    code, error, modules = run_and_list(*words)
    assert code == 2
    assert closest in error and "Traceback" not in error
    assert modules & HEAVY == set()


def test_reading_a_weights_header_needs_no_torch(trained: Path) -> None:
    code, _, modules = run_and_list("info", str(trained))
    assert code == 0
    assert modules & HEAVY == set()


ROOMS = ["cli", "engine", "report", "data"]  # top to bottom; the rest of segkit lies below them


def test_arrows_run_one_way() -> None:
    wrong = []
    for path in (ROOT / "segkit").rglob("*.py"):
        room = path.relative_to(ROOT / "segkit").parts[0]
        level = ROOMS.index(room) if room in ROOMS else len(ROOMS)
        above = ROOMS[:level] if room in ROOMS else ROOMS
        if room in ("__main__.py", "api.py", "testing"):  # the door, the authors' window, and what stands outside
            continue
        wrong += [f"{path}: {name}" for name in imports_of(path) if name.startswith(tuple(f"segkit.{top}" for top in above))]
        wrong += [f"{path}: {name}" for name in imports_of(path) if name.startswith("segkit_")]
    assert wrong == []


def test_plugins_import_the_api_and_nothing_else_of_segkit() -> None:
    allowed = ("segkit.api", "segkit.testing")
    wrong = [
        f"{path}: {name}"
        for path in (ROOT / "plugins").rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] == "segkit" and not name.startswith(allowed)
    ]
    assert wrong == []


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found
