"""The weights that are kept are those of the best smoothed value; patience goes by the values as they are."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Command, history
from segkit.training import train
from segkit.training.best_weights import smoothed

SMALL = (
    "train --dataset phantom --model unet -o model.width=1 -o model.depth=1 -o dataset.cases=8 -o dataset.size=16".split()
)


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let validation's Dice be these values, epoch by epoch."""

    def be(values: Sequence[float]) -> None:
        def scripted(components: Any, cases: Any, epoch: int) -> dict[str, float]:
            return {"val_loss": 1.0, "val_dice": values[epoch - 1], "val_seconds": 0.0}

        monkeypatch.setattr(train, "validate", scripted)

    return be


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_smoothing_is_nnunets_moving_average(values: list[float]) -> None:
    """nnunetv2/training/logging/nnunet_logger.py: ema[0] = new; ema = ema * 0.9 + 0.1 * new."""
    ema = values[0]
    for value in values[1:]:
        ema = ema * 0.9 + 0.1 * value
    assert smoothed(values, 0.9) == pytest.approx(ema)
    assert smoothed(values, 0.0) == values[-1]


def test_an_undefined_value_is_never_the_best_and_spoils_no_later_one() -> None:
    assert smoothed([0.5, math.inf], 0.5) == math.inf
    assert smoothed([math.inf, 0.5, math.inf, 0.25], 0.5) == 0.375


def test_a_lucky_epoch_is_not_kept(segkit: Command, validated: Any, tmp_path: Path) -> None:
    """By hand, half and half: .2 .5 .45 .5875 .64375; alone the second epoch would be the best."""
    dice = [0.2, 0.8, 0.4, 0.725, 0.7]
    validated(dice)
    for name, smoothing, best in (("smooth", 0.5, 5), ("raw", 0.0, 2)):
        run = tmp_path / name
        done = segkit(*SMALL, "--epochs", 5, "-o", f"train.smoothing={smoothing}", "--out", run)
        assert done.code == 0, done.err
        assert f"Weights of epoch {best} (val_loss 1.000, val_dice {dice[best - 1]:.3f})" in done.err
        assert [float(row["val_dice"]) for row in history(run)] == dice  # as they are
        assert ("by itself, that of epoch 2 was (0.800)" in done.err) == (name == "smooth")


def test_patience_goes_by_the_values_as_they_are(segkit: Command, validated: Any, tmp_path: Path) -> None:
    validated([0.2, 0.8, 0.4, 0.7, 0.7, 0.7, 0.7])
    done = segkit(*SMALL, "--epochs", 7, "--patience", 3, "--out", tmp_path / "run")
    assert done.code == 0 and "No improvement in 3 epochs" in done.err and len(history(tmp_path / "run")) == 5


def test_it_goes_on_from_a_state_with_what_was_smoothed_before(segkit: Command, validated: Any, tmp_path: Path) -> None:
    dice = [0.8, 0.2, 0.6, 0.9, 0.8]
    validated(dice)
    for name in ("whole", "parts"):
        assert segkit(*SMALL, "--epochs", 5 if name == "whole" else 3, "--out", tmp_path / name).code == 0
    assert segkit("train", "--resume", tmp_path / "parts", "--epochs", 5).code == 0
    states = [torch.load(tmp_path / name / "resume" / "state.pt", weights_only=True) for name in ("whole", "parts")]
    for key in ("best_epoch", "best_value", "lowest_epoch", "lowest", "best"):
        assert states[0]["progress"][key] == states[1]["progress"][key], key


def test_a_state_from_before_goes_on_as_it_began(segkit: Command, validated: Any, tmp_path: Path) -> None:
    """Its values were not smoothed, and its batch norm not refreshed."""
    import json

    validated([0.2, 0.8, 0.4, 0.75, 0.7])
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", 3, "-o", "train.smoothing=0", "--out", run).code == 0
    state = torch.load(run / "resume" / "state.pt", weights_only=True)
    description = json.loads(state["description"])
    for key in ("smoothing", "batch_norm", "epoch_steps"):
        del description["settings"]["train"][key]
    for key in ("lowest_epoch", "lowest"):
        del state["progress"][key]
    torch.save({**state, "description": json.dumps(description)}, run / "resume" / "state.pt")
    done = segkit("train", "--resume", run, "--epochs", 5)
    assert done.code == 0 and "Weights of epoch 2 " in done.err
    settings = tomllib.loads((run / "run.toml").read_text())["train"]
    assert (settings["smoothing"], settings["batch_norm"]) == (0.0, "running")
