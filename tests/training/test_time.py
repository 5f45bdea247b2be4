"""A training for a time: how many steps fit, the end that comes earlier, and going on for a time."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from conftest import Command, history, same_weights
from segkit.errors import UsageError
from segkit.settings import Train
from segkit.training.optim import Schedule, build_optimizer
from segkit.training.time_budget import Clock, fit_steps, seconds_needed, steps_within

SMALL: list[Any] = "train --dataset phantom --model unet -o model.width=1 -o model.depth=1 -o dataset.cases=8".split()
SMALL += "-o dataset.size=16 -o train.schedule=one-cycle --patience 0 --batch-size 3 -o train.epoch_steps=2".split()

times = st.floats(0.001, 1e4)


@given(times, times, st.just(0.0) | st.floats(0.001, 100), st.integers(1, 500), st.integers(1, 16))
def test_what_fits_never_takes_longer_than_the_time(
    seconds: float, step: float, validation: float, items: int, batch: int
) -> None:
    if step + validation > seconds:
        with pytest.raises(UsageError, match="too short for one step"):
            fit_steps(seconds, step, validation, items, batch)
        return
    epochs, steps = fit_steps(seconds, step, validation, items, batch)
    assert 1 <= epochs <= 30 and steps >= 1
    assert epochs * (steps * step + validation) <= seconds
    assert epochs == 1 or epochs * validation <= 0.2001 * seconds


def test_little_of_the_time_is_left_unused_and_a_tenth_is_for_validation() -> None:
    """By hand: in 600 s 30 validations of 2 s are a tenth, 540 s are 1,080 steps; 10 s each leaves six; 60 s each two."""
    assert fit_steps(600, 0.5, 2, 64, 2) == (30, 36)
    epochs, steps = fit_steps(600, 0.5, 10, 1000, 2)
    assert epochs == 6 and epochs * steps == 1080
    assert fit_steps(600, 0.5, 60, 1000, 2)[0] == 2
    epochs, steps = fit_steps(600, 0.5, 2, items=70, batch=2)  # of 35 steps a pass
    assert steps % 35 == 0 and epochs * steps >= 0.97 * 1080


def test_a_time_too_short_for_one_step_says_what_one_takes() -> None:
    with pytest.raises(UsageError) as told:
        fit_steps(5, 12, 3, 8, 2)
    assert "5s are left" in told.value.message and "a step takes 12s and a validation 3s" in told.value.message


@given(st.floats(0, 500), st.integers(1, 300), st.integers(0, 50), st.integers(1, 20), st.floats(0.1, 5), st.floats(0, 20))
def test_the_steps_within_a_time_are_the_most(
    seconds: float, limit: int, done: int, each: int, step: float, validation: float
) -> None:
    validated, limit = done // each, max(limit, done)
    total = steps_within(seconds, limit, done, validated, each, step, validation)
    assert done <= total <= limit
    if total > done:
        assert seconds_needed(total, done, validated, each, step, validation) <= seconds
    if total < limit:
        assert seconds_needed(total + 1, done, validated, each, step, validation) > seconds


def test_the_clock_shortens_what_would_end_late_and_gives_back_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: of 100 s ten are gone and one is for the end: 89. Epochs of ten steps of 1 s, validations of 5 s."""
    now = [0.0]
    monkeypatch.setattr("segkit.training.time_budget.time.perf_counter", lambda: now[0])
    clock = Clock(100, 0.0)
    clock.epoch_steps, clock.measured = 10, 5.0
    assert clock.fitting(1000, 1000, 0, 0) is None  # nothing is known yet
    clock.begin()
    for _ in range(10):
        assert clock.fitting(1000, 1000, 6, 0) is None  # too little is known
        now[0] += 1
        clock.tick()
    assert clock.seconds_left(50, 10, 1) == 40 + 20
    assert clock.fitting(50, 50, 10, 1) is None
    assert clock.fitting(70, 70, 10, 1) is None  # 60 + 30 = 90: late by less than 3 % of the time
    assert clock.fitting(1000, 1000, 10, 1) == 69  # 59 + 30 = 89
    assert clock.fitting(64, 1000, 10, 1) is None  # 54 + 30 = 84: early by 5 s, 5 % of the time
    assert clock.fitting(60, 1000, 10, 1) == 69  # 50 + 25 = 75: it was shortened, and there is time again
    assert clock.fitting(60, 62, 10, 1) == 62  # never more than were planned
    assert clock.fitting(60, 60, 10, 1) is None
    endless = Clock(None, 0.0)
    endless.tick()
    assert endless.fitting(10**9, 10**9, 1, 0) is None


def test_slow_first_steps_shorten_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: a tenth of 99 s must be over; 8 steps of 0.6 s and 52 of 0.1 s are 10 s, and of 30 of these none was slow."""
    now = [0.0]
    monkeypatch.setattr("segkit.training.time_budget.time.perf_counter", lambda: now[0])
    clock = Clock(100, 0.0)
    clock.epoch_steps = 1000
    clock.begin()
    for done, seconds in enumerate([0.6] * 8 + [0.1] * 52, start=1):
        now[0] += seconds
        clock.tick()
        assert clock.fitting(900, 900, done, 0) is None
    assert clock.step_seconds == pytest.approx(0.1)
    assert clock.fitting(2000, 2000, 60, 0) == 60 + 890  # 89 s are left


@pytest.mark.parametrize("kind", ["one-cycle", "cosine", "poly"])
@pytest.mark.parametrize("warmup", [0.0, 2.0])
def test_the_rate_goes_on_from_where_it_is_and_ends_with_the_new_end(kind: Any, warmup: float) -> None:
    settings = Train(epochs=10, lr=0.1, schedule=kind, warmup=warmup, min_lr=0.0)
    schedule = Schedule(build_optimizer(torch.nn.Linear(2, 2), settings, fused=False), settings, 50, True)
    whole = [schedule.before(step // 50, step % 50) for step in range(500)]
    schedule.change_end(200, 300, "it is late")
    short = [schedule.before(step // 50, step % 50) for step in range(200, 300)]
    assert short[0] == pytest.approx(whole[200])
    assert short == pytest.approx([whole[200 + 3 * step] for step in range(100)], rel=1e-6)  # three times as fast
    assert short[-1] < 0.02 * max(whole) and (schedule.epochs, schedule.steps_of(6)) == (6, 50)
    again = Schedule(schedule.optimizer, settings, 50, True)
    again.load(schedule.state())
    assert [again.before(step // 50, step % 50) for step in range(200, 300)] == short


def test_a_time_that_is_long_enough_changes_nothing(segkit: Command, tmp_path: Path) -> None:
    """But what the plan makes of it: so the same plan is trained without one."""
    assert segkit(*SMALL, "--epochs", 2, "--time", "10h", "--out", tmp_path / "with").code == 0
    planned = ["--config", tmp_path / "with" / "run.toml", "-o", "train.time=auto"]
    assert segkit("train", *planned, "--out", tmp_path / "without").code == 0
    assert same_weights(tmp_path / "without", tmp_path / "with")
    times = [tomllib.loads((tmp_path / name / "run.toml").read_text())["train"]["time"] for name in ("with", "without")]
    assert times == ["10h", "auto"]
    assert "steps" not in json.loads((tmp_path / "with" / "manifest.json").read_text())


@pytest.mark.parametrize("wrong", ["10", "0m", "-5m", "soon"])
def test_what_is_no_time_is_refused_before_anything_is_written(segkit: Command, tmp_path: Path, wrong: str) -> None:
    told = segkit(*SMALL, f"--time={wrong}", "--out", tmp_path / "run")
    assert told.code == 2 and "time = " in told.err and "such as 90s, 10m, 2h" in told.err
    assert not (tmp_path / "run").exists()


def test_it_ends_in_time_and_goes_on_for_a_time(segkit: Command, tmp_path: Path) -> None:
    run, known = tmp_path / "run", "--precision fp32 -o train.layout=contiguous".split()  # fewer trials leave more steps
    done = segkit(*SMALL, *known, "--epochs", 100000, "--time", "4s", "--out", run)
    assert done.code == 0 and "fit into 4s (--time)" in done.err and "The time of 4s is over" in done.err
    record = json.loads((run / "manifest.json").read_text())["steps"]
    rows = history(run)
    assert sum(int(row["steps"]) for row in rows) == record["total"] == record["changes"][-1]["steps"]
    assert float(rows[-1]["lr"]) < 0.1 * 1e-3  # the schedule has ended too
    told = segkit("train", "--resume", run)
    assert told.code == 2 and "nothing left to train" in told.err
    more = segkit("train", "--resume", run, "--time", "2s")
    assert more.code == 0 and "more steps, to the end of epoch" in more.err and len(history(run)) > len(rows)
    assert tomllib.loads((run / "run.toml").read_text())["train"]["time"] == "2s"


def test_a_training_that_was_shortened_lengthened_again_and_stopped_goes_on_to_the_same_end(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {3: 7, 5: 8}  # by the steps that are done

    def fitting(own: Clock, total: int, planned: int, done: int, validated: int) -> int | None:
        return ends[done] if ends.get(done, total) != total else None

    monkeypatch.setattr(Clock, "fitting", fitting)
    words = [*SMALL, "--epochs", 10, "--time", "10h", "-o", "train.save_minutes=0.0000001"]
    assert segkit(*words, "--out", tmp_path / "whole").code == 0
    steps: list[int] = []

    def fail(*_: Any) -> None:
        if (tmp_path / "parts" / "resume" / "state.pt").exists():  # the plan's own trials are over
            steps.append(1)
        if len(steps) == 6:
            raise OSError(28, "No space left on device")

    hook = register_optimizer_step_pre_hook(fail)
    try:
        planned = ["--config", tmp_path / "whole" / "run.toml"]  # two plans may differ by what their trials measured
        assert segkit("train", *planned, "--out", tmp_path / "parts").code == 1
    finally:
        hook.remove()
    assert segkit("train", "--resume", tmp_path / "parts").code == 0
    one, two = (
        [{key: value for key, value in row.items() if "seconds" not in key} for row in history(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert one == two and sum(int(row["steps"]) for row in one) == 8
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_several_seeds_do_not_go_on_for_a_time(segkit: Command, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    assert segkit(*SMALL, "--epochs", 1, "--seeds", 2, "--out", folder).code == 0
    told = segkit("train", "--resume", folder, "--time", "1m")
    assert told.code == 2 and "not with several seeds" in told.err


def test_minutes_of_an_older_run_are_a_time(segkit: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", 1, "--time", "10m", "--out", run).code == 0
    old = tmp_path / "old.toml"
    old.write_text((run / "run.toml").read_text().replace('time = "10m"', "max_time = 2.5"))
    assert segkit("train", "--config", old, "--out", tmp_path / "new").code == 0
    assert tomllib.loads((tmp_path / "new" / "run.toml").read_text())["train"]["time"] == "2.5m"
