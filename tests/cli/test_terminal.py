"""What is drawn on a narrow terminal, what a log file holds, and characters that an encoding lacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processes import on_a_terminal
from segkit.cli.terminal import fitting, wrapped
from segkit.training.status_lines import epoch_line

TRAIN = "train --dataset phantom --model unet -o dataset.cases=8 -o dataset.size=32 -o model.width=2 -o model.depth=1"
TINY = [*TRAIN.split(), "-o", "preprocess.size=32", "--device", "cpu", "--epochs", "2", "--batch-size", "2"]
MOVES = re.compile(r"\x1b\[\d*[A-HJKST]|\x1b\[\?25|\r(?!\n)")


def segkit(*words: object, **env: str) -> list[str]:
    return [sys.executable, "-m", "segkit", *map(str, words)]


def test_a_terminal_of_80_columns_shows_bars_with_the_time_left_whole_words_and_one_line_per_epoch(tmp_path: Path) -> None:
    shown = on_a_terminal(*TINY, "--out", tmp_path / "run", COLUMNS=80, TERM="xterm")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for part in plain.split("\n") for line in part.strip("\r").split("\r")]
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)
    bars = [line for line in lines if line.startswith("training")]
    assert bars and all("left" in line and "━" in line and not line.endswith("…") for line in bars)
    assert any("loss" in line for line in bars)
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    train = next(number for number, line in enumerate(lines) if line.startswith("train  "))
    assert lines[train + 1].startswith(" " * 12)


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"TERM": "dumb"}])
def test_a_log_file_holds_plain_lines_whatever_colours_are_asked_for(tmp_path: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        segkit(*TINY, "--out", tmp_path / "run"), capture_output=True, text=True, env={**os.environ, **variables}, check=True
    )
    assert not MOVES.search(done.stderr) and "epoch 2/2" in re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)


def test_a_simple_terminal_gets_no_cursor_moves(tmp_path: Path) -> None:
    shown = on_a_terminal(*TINY, "--out", tmp_path / "run", COLUMNS=80, TERM="dumb")
    assert not MOVES.search(shown.replace("\r\n", "\n")) and "epoch 2/2" in shown


@pytest.mark.parametrize(
    "words",
    [["models"], ["datasets"], ["losses"], ["metrics"], ["settings"], ["plugins"], ["--help"], ["train", "--help"]],
    ids=" ".join,
)
def test_an_ascii_terminal_ends_no_command(words: list[str]) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(segkit(*words), capture_output=True, env=env, check=False)
    assert done.returncode == 0 and done.stdout.isascii() and b"segkit itself failed" not in done.stderr


def test_names_that_an_encoding_lacks_are_shown_as_escapes_and_json_keeps_them(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run-Köln"
    run.symlink_to(trained)
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    told = subprocess.run(segkit("info", run), capture_output=True, text=True, env=env, check=True).stdout
    assert "model.name" in told and "run-K\\xf6ln" in told
    document = json.loads(subprocess.run(segkit("info", run, "--json"), capture_output=True, env=env, check=True).stdout)
    assert document["file"].endswith("run-Köln/model.safetensors")


def test_lines_break_between_words_and_what_follows_stands_below_the_second_column() -> None:
    text = "preprocess  stretch to 32 x 32, intensity scale255\n  images/    as they are\n/a/very/long/path/that/stays/whole"
    assert wrapped(text, 30).split("\n") == [
        "preprocess  stretch to 32 x",
        "            32, intensity",
        "            scale255",
        "  images/    as they are",
        "/a/very/long/path/that/stays/whole",
    ]


def test_the_rate_is_the_first_to_go_where_there_is_no_room_then_the_speed() -> None:
    fields = {"epoch": "1/9", "loss": "0.5000", "images/s": "12.0", "lr": "1e-03"}
    assert fitting(fields, 60).endswith("lr 1e-03")
    assert fitting(fields, 42).endswith("images/s 12.0") and fitting(fields, 30).endswith("loss 0.5000")
    assert fitting(fields, 3) == ""


@pytest.mark.parametrize("headline", ["dice", "dice/tumour"])
@pytest.mark.parametrize("epochs", [2, 100, 1000])
def test_the_line_of_an_epoch_fits_80_columns(headline: str, epochs: int) -> None:
    row = {"epoch": epochs, "lr": 1e-3, "train_loss": 0.98765, "val_loss": 1.23456, "train_seconds": 1234.5}
    row |= {f"train_{headline}": 0.9, f"val_{headline}": 0.8}
    line = epoch_line(row, epochs, headline, improved=True)
    assert len(line) < 80 and "0.800" in line and headline in line and line.endswith("best")
