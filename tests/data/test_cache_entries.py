"""What the cache removes: the oldest and the least recently used, never what a training uses, and nothing of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Command
from segkit.data.cache_entries import FRESH, entries, in_use, keep_limit, parse_size, prune, read_limit, write_limit
from segkit.errors import UsageError

DAY = 86400.0


def entry(cache: Path, number: int, days: float, size: int = 1000) -> str:
    """An entry of this many bytes that was last used so many days ago."""
    key = f"{number:02x}".ljust(64, "0")
    (cache / key[:2]).mkdir(parents=True)
    for part, share in (("image.npy", size - 10), ("json", 10)):
        path = cache / key[:2] / f"{key}.{part}"
        path.write_bytes(bytes(share))
        moment = time.time() - days * DAY if part == "json" else 0
        os.utime(path, (moment, moment))
    return key


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four entries of 1000 bytes, last used 40, 30, 2 and 0 days ago; what is not ours lies beside them."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEGKIT_CACHE", str(folder))
    for number, days in ((1, 2), (2, 40), (3, 0), (4, 30)):
        entry(folder, number, days)
    (folder / "pretrained").mkdir()
    (folder / "pretrained" / "encoder.safetensors").write_bytes(bytes(5000))
    return folder


def left(cache: Path) -> list[int]:
    return [int(found.key[:2], 16) for found in entries(cache)]


def test_the_least_recently_used_go_until_the_rest_fits(cache: Path) -> None:
    assert left(cache) == [2, 4, 1, 3]
    removed, kept = prune(cache, limit=2500)
    assert [found.size for found in removed] == [1000, 1000] and not kept
    assert left(cache) == [1, 3] and not (cache / "02").exists()
    assert prune(cache, limit=2000) == ([], [])
    prune(cache, limit=0)
    assert left(cache) == [] and (cache / "pretrained" / "encoder.safetensors").exists()


def test_what_was_not_used_for_long_goes(cache: Path) -> None:
    prune(cache, older_than=31)
    assert left(cache) == [4, 1, 3]
    prune(cache, limit=10_000, older_than=1)
    assert left(cache) == [3]


def test_what_a_training_uses_stays_until_it_ends_however_it_ends(cache: Path) -> None:
    oldest = entries(cache)[0].key
    with in_use(cache, [oldest]):
        removed, kept = prune(cache, limit=0)
        assert [found.key for found in kept] == [oldest] and len(removed) == 3
    code = "import sys, time; from pathlib import Path; from segkit.data.cache_entries import in_use\n"
    code += "with in_use(Path(sys.argv[1]), [sys.argv[2]]): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(cache), oldest], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert prune(cache, limit=0)[1] and left(cache) == [2]
    holder.kill()
    holder.communicate()
    assert not prune(cache, limit=0)[1] and left(cache) == []
    assert [path.name for path in cache.iterdir()] == ["pretrained"]


def test_a_limit_is_kept_by_trainings_to_come_without_touching_what_is_fresh(cache: Path) -> None:
    assert read_limit(cache) is None
    keep_limit(cache)
    assert len(left(cache)) == 4
    write_limit(cache, 500)
    keep_limit(cache)
    assert left(cache) == [3] and FRESH < DAY  # of today: another training may have prepared it
    write_limit(cache, None)
    assert read_limit(cache) is None


def test_what_a_killed_process_has_left_goes_and_what_is_being_written_stays(cache: Path) -> None:
    for name, days in (("old", 1.0), ("new", 0.0)):
        path = cache / "01" / f".segkit-{name}.npy"
        path.write_bytes(b"12")
        os.utime(path, (time.time() - days * DAY,) * 2)
    prune(cache, limit=0)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [".segkit-new.npy", "encoder.safetensors"]


@pytest.mark.parametrize("text", ["twenty", "20", "1.5", "20 PB", "-1GB", "", "1.2.3GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="20GB"):
        parse_size(text)


def test_sizes_by_hand() -> None:
    sizes = ["0", "700B", "1.5KB", "20GB", "20 gb", "1GiB", "None"]
    assert [parse_size(text) for text in sizes] == [0, 700, 1500, 20_000_000_000, 20_000_000_000, 1073741824, None]


def test_the_command_shows_sizes_ages_and_the_limit(cache: Path, segkit: Command) -> None:
    shown = segkit("data", "cache").out
    assert f"{cache}: 4 cases, 0.0 MB\n" in shown and "Least recently used 40 days ago, most recently today." in shown
    document = json.loads(segkit("data", "cache", "--limit", "3KB", "--json").out)
    assert (document["cases"], document["bytes"], document["limit"], document["removed"]["cases"]) == (3, 3000, 3000, 1)
    assert "1 case, 0.0 MB: now removed" in segkit("data", "cache", "--older-than", 10).out
    assert "limit 0.0 MB" in segkit("data", "cache").out
    with in_use(cache, [entries(cache)[0].key]):
        assert "1 case, 0.0 MB: in use by a running training" in segkit("data", "cache", "--clear").out
    for text in ("much", "20"):
        assert segkit("data", "cache", "--limit", text).code == 2
    assert len(entries(cache)) == 1 and read_limit(cache) == 3000  # the one that was in use
    assert segkit("data", "cache", "--limit", "none").code == 0 and read_limit(cache) is None


def test_a_cache_that_is_a_file_is_refused_by_name(tmp_path: Path, segkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file"))
    for more in ([], ["--clear"], ["--limit", "1GB"]):
        done = segkit("data", "cache", *more)
        assert done.code == 2 and "SEGKIT_CACHE=FOLDER" in done.err
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file" / "below"))
    done = segkit("data", "cache", "--limit", "1GB")
    assert done.code == 2 and "Not a directory" in done.err
