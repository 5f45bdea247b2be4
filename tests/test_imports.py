"""The import law, in fresh interpreters: what is light stays light, whoever imports it first; and arrows run one way."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "segkit"

# Folders from the top down: each may import those behind it and the ground floor, whose files are listed likewise.
ROOMS = (
    "testing",
    "cli",
    "experiments",
    "workflows",
    "planning",
    "prediction",
    "training",
    "exporting",
    "reports",
    "evaluation",
    "inference",
    "models",
    "data",
    "runs",
    "config",
)
BESIDE = {frozenset({"prediction", "training"}), frozenset({"exporting", "reports"}), frozenset({"data", "runs"})}
GROUND = ("plugins", "hookspecs", "specs", "protocols", "settings", "options", "sides", "task")
GROUND += ("durations", "distributed", "rendezvous", "watchdog", "cpus", "reporter", "files", "source", "errors", "words")
DOORS = ("__init__", "__main__", "api")  # they hand out what lies in other rooms

HEAVY = {"torch", "torchvision", "numpy", "timm", "cv2", "nibabel", "monai", "pennylane", "accelerate", "scipy", "tifffile"}
NETWORKS = {"torch", "torchvision", "timm", "monai", "pennylane", "accelerate"}
LIGHT_ROOMS = ("config", "runs", "cli")
ARRAY_ROOMS = ("data", "inference", "evaluation", "prediction")
TORCH_FILES = ("segkit.inference.torch_backend",)


def modules_of(*rooms: str) -> list[str]:
    return [name_of(path) for room in rooms for path in sorted((CORE / room).rglob("*.py")) if "templates" not in path.parts]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`segkit.data.cache` -> "data"; a file of the ground floor is a room of its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


GROUND_FLOOR = [name_of(path) for path in sorted(CORE.glob("*.py"))]
SPECS = [f"{path.parent.name}.plugin" for path in sorted((ROOT / "plugins").glob("segkit_*/plugin.py"))]


def imported_by(code: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter that ran the code."""
    script = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ), check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "modules", [[*GROUND_FLOOR, *modules_of(*LIGHT_ROOMS)], SPECS], ids=["ground floor and light rooms", "every plugin.py"]
)
def test_light_modules_import_nothing_heavy(modules: list[str]) -> None:
    assert modules
    assert imported_by("\n".join(f"import {name}" for name in modules)) & HEAVY == set()


def test_what_reads_scores_and_predicts_imports_arrays_but_no_network_library() -> None:
    modules = [name for name in modules_of(*ARRAY_ROOMS) if name not in TORCH_FILES]
    assert imported_by("\n".join(f"import {name}" for name in modules)) & NETWORKS == set()


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


def test_every_folder_and_file_has_its_place_in_the_order() -> None:
    folders = {path.parent.name for path in CORE.glob("*/__init__.py")}
    files = {path.stem for path in CORE.glob("*.py")} - set(DOORS)
    assert folders | files == {*ROOMS, *GROUND}


def test_arrows_run_one_way() -> None:
    order = [*ROOMS, *GROUND]
    wrong = []
    for path in CORE.rglob("*.py"):
        own = room_of(name_of(path))
        if own in DOORS:
            continue
        for name in imports_of(path):
            other = room_of(name) if name.startswith("segkit.") else own
            up = order.index(other) < order.index(own) if other in order else False
            if up or (other != own and frozenset({own, other}) in BESIDE) or name.startswith("segkit_"):
                wrong.append(f"{name_of(path)} imports {name}")
    assert wrong == []


def test_no_circle() -> None:
    """Between files, imports inside of functions included."""
    graph = {
        name_of(path): {target for name in imports_of(path) if (target := module_of(name))} - {name_of(path)}
        for path in CORE.rglob("*.py")
        if room_of(name_of(path)) not in DOORS
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            visit(target, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


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


def module_of(name: str) -> str:
    """The file of segkit that an imported name means: `segkit.task.Task` -> `segkit.task`; "" for a name of others."""
    if name.split(".")[0] != "segkit":
        return ""
    for candidate in (name, name.rpartition(".")[0]):
        path = ROOT / candidate.replace(".", "/")
        if path.with_suffix(".py").is_file():
            return candidate
    return ""
