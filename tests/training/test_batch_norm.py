"""Validation goes by statistics of the weights beside them: those of torch's own update_bn, from the first epoch on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from conftest import Command, history
from processes import launch
from segkit.training import batch_norm, train

TINY: list[Any] = "train --dataset phantom --model unet -o dataset.size=32 --batch-size 4".split()


def both(segkit: Command, folder: Path, *words: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The last row of the history, with running and with refreshed statistics."""
    for kind in ("running", "refreshed"):
        assert segkit(*TINY, *words, "-o", f"train.batch_norm={kind}", "--out", folder / kind).code == 0
    running, refreshed = (history(folder / kind)[-1] for kind in ("running", "refreshed"))
    return running, refreshed


def test_running_statistics_lag_behind_the_first_steps_and_refreshed_ones_do_not(segkit: Command, tmp_path: Path) -> None:
    learns = (
        "--model resunet -o dataset.cases=60 -o model.width=4 -o model.depth=2 --lr 0.01 --augment none --epochs 1".split()
    )
    running, refreshed = both(segkit, tmp_path, *learns, "--epochs", 1)
    assert running["train_loss"] == refreshed["train_loss"]  # it is trained alike
    assert float(running["val_dice"]) < float(running["train_dice"]) - 0.2
    assert float(refreshed["val_dice"]) > float(refreshed["train_dice"]) - 0.1


@pytest.mark.parametrize("average", [[], ["-o", "train.ema=0.9"]], ids=["weights", "moving average"])
def test_the_statistics_are_those_of_torchs_update_bn_over_the_same_batches(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: list[str]
) -> None:
    found: list[tuple[nn.Module, Any]] = []
    whole = batch_norm.refresh_batch_norm

    def watched(session: Any, epoch: int) -> None:
        whole(session, epoch)
        found.append((session.components.eval_model, list(batch_norm._first_batches(session, epoch))))

    monkeypatch.setattr(train, "refresh_batch_norm", watched)
    words = [*TINY, "-o", "dataset.cases=40", "-o", "model.width=2", "-o", "model.depth=1", *average, "--epochs", 1]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    model, batches = found[0]
    ours = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    torch.optim.swa_utils.update_bn(batches, model)  # without dropout, so that train mode changes nothing else
    theirs = dict(model.named_buffers())
    assert len(batches) > 1 and len(ours) > 4
    assert all(torch.allclose(buffer, theirs[name], rtol=1e-5, atol=1e-7) for name, buffer in ours.items())
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name.removeprefix("module.")], buffer) for name, buffer in ours.items())


def test_without_validation_too_the_kept_statistics_are_refreshed(segkit: Command, tmp_path: Path) -> None:
    small = "-o dataset.cases=20 -o model.width=2 -o model.depth=1 -o split.val=0 --epochs 1".split()
    both(segkit, tmp_path, *small)
    running, refreshed = (load_file(tmp_path / kind / "model.safetensors") for kind in ("running", "refreshed"))
    assert {name for name in running if not running[name].equal(refreshed[name])} == {
        name for name in running if "running_" in name or "num_batches" in name
    }


@pytest.mark.parametrize(
    "words",
    [
        "--model unet -o model.width=4 -o model.depth=1 -o model.norm=group -o model.head_norm=false",
        "--model resnet-classifier -o model.encoder=test_resnet -o model.hidden=8 --freeze-encoder -o dataset.empty=0.5",
    ],
    ids=["no batch norm", "a frozen encoder"],
)
def test_no_batch_is_read_again_for_a_model_whose_statistics_stay(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(batch_norm, "_first_batches", lambda *_: pytest.fail("batches are read for nothing"))
    small = "train --dataset phantom -o dataset.cases=20 -o dataset.size=32 --batch-size 4 --epochs 1".split()
    told = segkit(*small, *words.split(), "--out", tmp_path / "run")
    assert told.code == 0, told.err


class Branches(nn.Module):
    """A network whose second branch runs in train mode alone, as heads of deep supervision do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.first(self.second(x) if self.training else x))


def test_what_is_not_run_keeps_its_statistics_and_nothing_random_is_drawn() -> None:
    model, images = Branches(), torch.randn(8, 2)
    model.second.running_mean += 3  # type: ignore[operator]
    state = torch.get_rng_state()
    layers = batch_norm.training_layers(model)
    with batch_norm.cumulative(layers):
        model(images)
        model(images + 2)
    assert torch.equal(torch.get_rng_state(), state) and not model.first.training
    assert torch.allclose(model.first.running_mean, images.mean(dim=0) + 1)  # type: ignore[arg-type]
    assert model.second.running_mean.tolist() == [3, 3]  # type: ignore[union-attr,operator]
    assert model.first.momentum == 0.1


@pytest.mark.slow
def test_two_processes_keep_the_mean_of_both_ones_statistics(tmp_path: Path) -> None:
    words = "-o dataset.cases=12 -o model.width=2 -o model.depth=1 --epochs 1 --lr 0 --device cpu --batch-size 8".split()
    words += ["--augment", "none"]  # the noise of a case is another one in another batch
    for name, more in (("one", []), ("two", ["--devices", 2])):
        assert launch(*TINY, *words, *more, "--out", tmp_path / name).code == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    first = "encoder.0.1.running_mean"  # what comes before the others hangs on no statistics itself
    assert torch.allclose(one[first], two[first], rtol=1e-4)  # of equal shares the mean is that of all
