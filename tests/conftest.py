"""Fixtures: the command line in this process, invented plugins, a small trained run, real data where it is at hand."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from segkit import plugins
from segkit.cli.app import run
from segkit.testing.sandbox import Install, sandbox

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch comes: workers that share cores wait for each other's threads

hypothesis_settings.register_profile("segkit", deadline=None)  # no test asserts a time
hypothesis_settings.load_profile("segkit")

SHARED = Path(os.environ.get("SEGKIT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow-slice", metavar="K/N", help="of the slow tests, the K-th of N parts alone (K counts on past N)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Which part a slow test is in hangs on its name alone, so that each comes up once in N days."""
    if words := config.getoption("--slow-slice"):
        number, parts = map(int, words.split("/"))
        other = [
            item
            for item in items
            if item.get_closest_marker("slow") and zlib.crc32(item.nodeid.encode()) % parts != number % parts
        ]
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in set(other)]


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the cache of the person who runs it; what helps users narrow a terminal does not cut our output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "200")
        patch.delenv("SEGKIT_PLUGINS", raising=False)
        patch.delenv("SEGKIT_STRICT", raising=False)
        yield


def save_blank(figure: Any, path: Path, **_: Any) -> None:
    """In the place of matplotlib's Figure.savefig: the header of a PNG, and no picture."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n")


@pytest.fixture(scope="session", autouse=True)
def _blank_pictures() -> Iterator[Any]:
    """Most of a small training's time would go into its curves.png; a test that is about pictures takes `pictures_drawn`."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        whole = Figure.savefig
        patch.setattr(Figure, "savefig", save_blank)
        yield whole


@pytest.fixture
def pictures_drawn(_blank_pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn as they are for a user."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", _blank_pictures)


@pytest.fixture
def segkit(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command line: `segkit("train", "--dataset", "phantom", ...)`."""

    def command(*words: Any) -> Result:
        capfd.readouterr()
        code = run([str(word) for word in words])
        return Result(code, *capfd.readouterr())

    return command


@pytest.fixture
def install() -> Iterator[Install]:
    """Make an installed distribution out of source text (see segkit.testing.sandbox)."""
    with sandbox() as make:
        yield make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: a tiny unet, trained on small phantoms for two epochs."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    words = "train --dataset phantom --model unet -o dataset.cases=16 -o dataset.size=32 -o model.width=4 -o model.depth=2"
    assert (
        run([*words.split(), "-o", "preprocess.size=32", "--epochs", "2", "--batch-size", "4", "--out", str(out), "-q"]) == 0
    )
    return out


def save_weights(path: Path, model: str, task: Any, preprocess: Any, **options: Any) -> Path:
    """Weights of a freshly made model, as a training would leave them, without one."""
    import torch

    from segkit.config.resolve import Choice
    from segkit.models.build import build_model
    from segkit.options import build
    from segkit.runs.weights import build_header, save_weights

    found = plugins.load().find("models", model)
    choice = Choice(found, build(found.spec.options, options, "model"))
    dims = max(dims for dims in found.spec.dims if dims <= task.dims)
    torch.manual_seed(0)
    learned = task.learned_by(found.spec.kind)
    header = build_header(choice, dims, learned, preprocess, {})
    save_weights(path, build_model(choice, learned, dims).state_dict(), header)
    return path


def history(run: Path) -> list[dict[str, str]]:
    """The rows of a run's history.csv."""
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs hold the same weights, bit for bit."""
    from safetensors.torch import load_file

    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def real(folder: str) -> Path:
    """A folder of the real test data; skips the test, with the reason, where it is absent."""
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"the real test data is not at {path} (set SEGKIT_TEST_DATA)")
    return path
