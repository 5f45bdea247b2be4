"""The cache spares decoding, notices change, and refuses what is wrong."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segkit import plugins
from segkit.config.complete import Config, complete_config
from segkit.config.resolve import gather, resolve_config
from segkit.data.cache import fill_cache, fingerprint
from segkit.data.images import write_image
from segkit.errors import SegkitError
from segkit.files import cache_folder
from segkit.task import Case, Dataset, Sample, Task
from segkit.training.setup import cache_recipe


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    for name in "ab":
        write_image(tmp_path / "data" / "images" / f"{name}.png", np.full((8, 8, 3), 50, np.uint8))
        write_image(tmp_path / "data" / "masks" / f"{name}.png", np.eye(8, dtype=np.uint8) * 255)
    return tmp_path / "data"


def record(folder: Path, *assignments: str) -> tuple[Config, Dataset]:
    catalogue = plugins.load()
    values = gather({}, {"dataset": "folder", "data_dir": str(folder), "model": "unet"}, assignments)
    config = resolve_config(values, catalogue)
    dataset = config.dataset.make(config.root)
    return complete_config(config, dataset, catalogue), dataset


def files() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache_folder().rglob("*.npy")}


def test_a_second_fill_makes_nothing_and_gives_the_same_arrays(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    first = fill_cache(cache_recipe(config, dataset), dataset.cases)
    made = files()
    second = fill_cache(cache_recipe(config, dataset), dataset.cases)
    assert len(made) == 6 and files() == made
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.load(), other.load(), strict=True))
    image, mask = first[0].load()
    assert (image.shape, image.dtype, mask.shape) == ((3, 4, 4), np.float32, (4, 4))
    assert image.max() == pytest.approx(50 / 255)


def test_another_preprocessing_or_a_changed_file_is_made_anew(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    fill_cache(cache_recipe(config, dataset), dataset.cases)
    fill_cache(cache_recipe(record(folder, "preprocess.size=6")[0], dataset), dataset.cases)
    assert len(files()) == 12
    write_image(folder / "images" / "a.png", np.full((8, 8, 3), 200, np.uint8))
    again = fill_cache(cache_recipe(config, dataset), dataset.cases)
    assert again[0].load()[0].max() == pytest.approx(200 / 255)


def test_a_half_written_file_is_never_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, dataset = record(folder, "preprocess.size=4")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", killed)
        fill_cache(cache_recipe(config, dataset), dataset.cases)
    assert [path for path in cache_folder().rglob("*") if path.is_file()] == []
    assert len(fill_cache(cache_recipe(config, dataset), dataset.cases)) == 2


def test_the_fingerprint_knows_the_copy_and_not_the_machine(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(record(folder)[1])
    os.rename(folder, tmp_path / "elsewhere")
    moved = fingerprint(record(tmp_path / "elsewhere")[1])
    assert before == moved and before["cases"] == 2
    write_image(tmp_path / "elsewhere" / "images" / "a.png", np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    assert fingerprint(record(tmp_path / "elsewhere")[1])["sha256"] != before["sha256"]


def broken(image: np.ndarray, mask: np.ndarray | None) -> Dataset:  # type: ignore[type-arg]
    return Dataset(Task(3, ("background", "polyp")), (Case("7", "7", files={}),), lambda case: Sample(image, mask))


OK = np.zeros((3, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (OK[:1], np.zeros((8, 8)), r"'7'.*shape \(1, 8, 8\); the task has 3 channels in 2D"),
        (OK, None, "'7' has no mask"),
        (OK, np.zeros((8, 9)), r"the mask's size \(8, 9\) is not the image's \(8, 8\)"),
        (OK, np.full((8, 8), 5), r"its mask holds \[5\], which are not among the labels \[0, 1\]"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_case_named(folder: Path, image, mask, words: str) -> None:  # type: ignore[no-untyped-def]
    dataset = broken(image, mask)
    with pytest.raises(SegkitError, match=words):
        fill_cache(cache_recipe(record(folder)[0], dataset), dataset.cases)


def test_a_reader_that_fails_in_its_own_way_is_one_clear_error(folder: Path) -> None:
    def read(case: Case) -> Sample:
        raise IndexError("list index out of range")

    dataset = Dataset(Task(3, ("background", "polyp")), (Case("7", "7"),), read)
    with pytest.raises(SegkitError, match="case '7' cannot be read: IndexError: list index out of range"):
        fill_cache(cache_recipe(record(folder)[0], dataset), dataset.cases)


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_entry_is_made_again(folder: Path, damage: bytes) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    for cached in fill_cache(cache_recipe(config, dataset), dataset.cases):
        cached.image.write_bytes(damage)
    assert fill_cache(cache_recipe(config, dataset), dataset.cases)[0].load()[0].shape == (3, 4, 4)


def test_another_folder_is_another_entry_though_its_cases_have_no_files(folder: Path, tmp_path: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    blank = Sample(np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    cases = tuple(dataclasses.replace(case, files={}) for case in dataset.cases)
    bare = dataclasses.replace(dataset, cases=cases, read=lambda case: blank)
    here = fill_cache(cache_recipe(config, bare), bare.cases)
    there = fill_cache(cache_recipe(dataclasses.replace(config, root=tmp_path), bare), bare.cases)
    assert here[0].image != there[0].image


def test_two_processes_may_fill_it_at_once(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_cache import record\n"
        "from segkit.data.cache import fill_cache\nfrom segkit.training.setup import cache_recipe\n"
        "config, dataset = record(Path(sys.argv[2]), 'preprocess.size=64')\nrecipe = cache_recipe(config, dataset)\n"
        "print([float(cached.load()[0].sum()) for cached in fill_cache(recipe, dataset.cases * 10)][-1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    sums = {process.communicate(timeout=120)[0] for process in started}
    assert all(process.returncode == 0 for process in started) and len(sums) == 1
    assert len(files()) == 6 and not list(cache_folder().rglob(".*"))


def test_an_empty_variable_means_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/segkit")


def test_another_meaning_of_the_labels_is_another_entry(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    renamed = dataclasses.replace(dataset, task=Task(3, ("background", "a", "b"), mode="multiclass"))
    assert (
        fill_cache(cache_recipe(config, dataset), dataset.cases)[0].image
        != fill_cache(cache_recipe(config, renamed), dataset.cases)[0].image
    )


def test_the_fingerprint_sees_content_of_equal_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100_000))
    dataset = Dataset(Task(3, ("background", "a")), (Case("1", "1", files={"image": tmp_path / "x"}),), lambda case: None)  # type: ignore[arg-type, return-value]
    before = fingerprint(dataset)["sha256"]
    (tmp_path / "x").write_bytes(bytes(50_000) + b"1" + bytes(49_999))
    assert fingerprint(dataset)["sha256"] != before
