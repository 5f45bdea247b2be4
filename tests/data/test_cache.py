"""The cache spares decoding, notices change, and refuses what is wrong."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Command
from segkit import plugins
from segkit.config.complete import Config, complete_config
from segkit.config.resolve import gather, resolve_config
from segkit.data.cache import fill_cache, fingerprint
from segkit.data.cache_entries import in_use
from segkit.data.images import write_image
from segkit.errors import SegkitError, UsageError
from segkit.files import cache_folder
from segkit.task import Case, Dataset, Sample, Task
from segkit.testing.sandbox import Install
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


def test_content_of_equal_size_and_time_is_seen_wherever_it_changed(folder: Path) -> None:
    """A corrected mask whose time was set back, as `cp -p` and version control do; in the middle of a large file, too."""
    large = folder / "masks" / "a.png"
    image = folder / "images" / "a.png"
    with image.open("ab") as file:  # what follows the end of a PNG is not decoded
        file.write(bytes(100_000))
    config, dataset = record(folder, "preprocess.size=8")
    before = [cached.key for cached in fill_cache(cache_recipe(config, dataset), dataset.cases)]
    for path, place, value in ((large, None, None), (image, 40_000, b"1")):
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        content = bytearray(path.read_bytes())
        if place is None:
            write_image(path, np.fliplr(np.eye(8, dtype=np.uint8)) * 255)
            path.write_bytes(path.read_bytes().ljust(len(content), b"\0")[: len(content)])
        else:
            content[place : place + 1] = value
            path.write_bytes(content)
        os.utime(path, ns=times)
        after = fill_cache(cache_recipe(config, dataset), dataset.cases)
        assert after[0].key != before[0] and after[1].key == before[1] and after[0].made
        before = [cached.key for cached in after]
    assert np.array_equal(after[0].load()[1], np.fliplr(np.eye(8, dtype=np.int32)))


def test_what_a_case_says_besides_its_files_is_part_of_it(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    recipe, (case, _) = cache_recipe(config, dataset), dataset.cases
    keys = set()
    for metadata in (
        {},
        {"frame": 1},
        {"frame": 2},
        {"box": np.arange(4)},
        {"box": (0, 1, 2, 4)},
        {1: {"a": None}, "b": []},
    ):
        changed = dataclasses.replace(case, metadata=metadata)
        (first,), (again,) = fill_cache(recipe, [changed]), fill_cache(recipe, [changed])
        assert first.key == again.key and not again.made
        keys.add(first.key)
    assert len(keys) == 6


def test_a_folder_is_what_lies_in_it(folder: Path, tmp_path: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"1")
    case = dataclasses.replace(dataset.cases[0], files={**dataset.cases[0].files, "series": tmp_path / "series"})
    recipe, whole = cache_recipe(config, dataset), dataclasses.replace(dataset, cases=(case,))
    seen = {(fill_cache(recipe, [case])[0].key, fingerprint(whole)["sha256"])}
    for name, content in (("1.dcm", b"2"), ("2.dcm", b"3")):
        (tmp_path / "series" / name).write_bytes(content)
        seen.add((fill_cache(recipe, [case])[0].key, fingerprint(whole)["sha256"]))
    assert len({key for key, _ in seen}) == len({digest for _, digest in seen}) == 3


def test_files_that_change_while_they_are_read_leave_nothing(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")

    def read(case: Case) -> Sample:
        sample = dataset.read(case)
        write_image(case.files["mask"], np.zeros((8, 8), np.uint8))
        return sample

    changing = dataclasses.replace(dataset, read=read)
    with pytest.raises(SegkitError, match="'a' changed while they were read"):
        fill_cache(cache_recipe(config, changing), changing.cases)
    assert list(cache_folder().rglob("*.json")) == []


def test_an_unreadable_file_is_a_bad_case_and_no_more(folder: Path) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    (folder / "images" / "a.png").unlink()
    unreadable: dict[str, str] = {}
    assert [cached.case.id for cached in fill_cache(cache_recipe(config, dataset), dataset.cases, unreadable)] == ["b"]
    assert "a.png cannot be read" in unreadable["a"]
    assert fingerprint(dataset) == fingerprint(dataset)


SOURCE = """
import numpy as np
from segkit.api import Case, Dataset, DatasetSpec, Sample, Task, hookimpl
{more}
def read(case):
    mask = np.zeros((32, 32), np.uint8)
    {body}
    return Sample(np.full((1, 32, 32), 100, np.uint8), mask)

def open(root, options, labelled=True):
    return Dataset(Task(1, ("background", "a")), tuple(Case(str(n), str(n)) for n in range(4)), read)

@hookimpl
def segkit_datasets():
    return [DatasetSpec("invented", "an example", target="{module}:open", needs_root=False)]
"""


@pytest.mark.parametrize("beside", [False, True], ids=["its module", "a module beside it"])
def test_the_code_of_a_plugin_is_part_of_what_it_read(
    beside: bool, install: Install, segkit: Command, tmp_path: Path
) -> None:
    """One good training, then read() is broken: the next one must not find what the old code gave."""
    words = (
        "train --dataset invented --model unet -o model.width=2 -o model.depth=1 -o preprocess.size=32 --epochs 1".split()
    )
    words += "-o split.val=0.25 -o split.test=0.25 --device cpu --out".split()
    body = "paint(mask)" if beside else "mask[8:16] = 1"
    source = SOURCE.format(more="from paint import paint" if beside else "", body=body, module="invented_module")
    site = install("invented", source)
    (site / "paint.py").write_text("def paint(mask):\n    mask[8:16] = 1\n")
    first = segkit(*words, tmp_path / "1")
    assert first.code == 0 and "preprocessed before" not in first.err, first.err
    again = segkit(*words, tmp_path / "2")
    assert again.code == 0 and "cache       3 of 3 cases were preprocessed before, in " in again.err, again.err
    if beside:
        (site / "paint.py").write_text("def paint(mask):\n    raise ValueError('transposed')\n")
    else:
        (site / "invented_module.py").write_text(source.replace("mask[8:16] = 1", "raise ValueError('transposed')"))
    for name in ("invented_module", "paint"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    plugins.load.cache_clear()
    broken = segkit(*words, tmp_path / "3")
    assert broken.code == 1 and "transposed" in broken.err, broken.err


def test_a_cache_that_cannot_be_is_named_and_no_case_is_blamed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file"))
    unreadable: dict[str, str] = {}
    with pytest.raises(
        SegkitError, match=r"The cache cannot be written in .*file: Not a directory.*\n.*SEGKIT_CACHE=FOLDER"
    ):
        fill_cache(cache_recipe(config, dataset), dataset.cases, unreadable)
    assert unreadable == {}


def test_a_cache_that_others_have_filled_may_be_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    fill_cache(cache_recipe(config, dataset), dataset.cases)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    found = fill_cache(cache_recipe(config, dataset), dataset.cases)
    with in_use(cache_folder(), [cached.key for cached in found]):
        assert not any(cached.made for cached in found)


def test_a_full_disk_of_the_cache_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, dataset = record(folder, "preprocess.size=4")
    monkeypatch.setattr(np, "save", failing(OSError(28, "No space left on device")))
    with pytest.raises(SegkitError, match=r"no space left on the disk of the cache.*\n.*data cache --limit"):
        fill_cache(cache_recipe(config, dataset), dataset.cases, {})


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGKIT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", failing(RuntimeError("Could not determine home directory.")))
    with pytest.raises(UsageError, match=r"There is no home folder.*\n.*SEGKIT_CACHE=FOLDER"):
        cache_folder()
