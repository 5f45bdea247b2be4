"""A training that was killed and goes on ends where an uninterrupted one does, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from conftest import Command, history
from processes import launch, start

SHARED = "-o dataset.cases=14 -o dataset.size=32 --batch-size 4 --epochs 4 -o split.seed=1".split()
SHARED += "-o train.schedule=plateau -o train.plateau_patience=0".split()
KINDS = {
    "unet": "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 --workers 2".split(),
    "dropout": "train --dataset phantom --model unet -o model.width=2 -o model.depth=2 -o model.dropout=0.3 "
    "-o train.ema=0.9 -o train.accumulate=2 -o train.clip=1".split(),
    "steps": "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o train.epoch_steps=5 "
    "-o preprocess.fit=patch -o preprocess.size=16".split(),
    "resnet-classifier": "train --dataset phantom --model resnet-classifier -o model.encoder=test_resnet -o model.hidden=8 "
    "-o dataset.empty=0.5".split(),
}
SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=12 -o dataset.size=16".split()
)
MOMENTS = {"unet": ("save", 3), "dropout": ("step", 3), "steps": ("step", 13), "resnet-classifier": ("validate", 2)}


def results(run: Path) -> dict[str, Any]:
    """All that must be equal: both sets of weights, and the history but for its seconds."""
    state = torch.load(run / "resume" / "state.pt", weights_only=True)
    rows = [{key: value for key, value in row.items() if "seconds" not in key} for row in history(run)]
    return {"best": load_file(run / "model.safetensors"), "last": state["model"], "history": rows}


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours["history"] == theirs["history"]
    for kind in ("best", "last"):
        assert ours[kind].keys() == theirs[kind].keys()
        assert all(torch.equal(tensor, theirs[kind][name]) for name, tensor in ours[kind].items()), kind


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of uninterrupted trainings, each made once."""
    made: dict[str, dict[str, Any]] = {}

    def results_of(kind: str) -> dict[str, Any]:
        if kind not in made:
            run = tmp_path_factory.mktemp("whole") / kind
            assert launch("-q", *KINDS[kind], *SHARED, "--out", run).code == 0
            made[kind] = results(run)
        return made[kind]

    return results_of


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_once_and_resumed_gives_the_uninterrupted_weights_and_history(
    kind: str, whole: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    launch(*KINDS[kind], *SHARED, "--out", run, dies_at=MOMENTS[kind])
    assert launch("train", "--resume", run).code == 0
    assert_equal(results(run), whole(kind))


def test_killed_again_and_again(whole: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launch(*KINDS["dropout"], *SHARED, "--out", run, dies_at=("rename", 2))
    for moment in ("step", "save", "validate"):
        launch("train", "--resume", run, dies_at=(moment, 1))
    assert launch("train", "--resume", run).code == 0
    assert_equal(results(run), whole("dropout"))
    assert not [path for path in run.rglob("*") if path.name.startswith(".segkit-") and path.suffix != ".pt"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_the_step_and_says_how_to_go_on(segkit: Command, tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    words = (
        "train --dataset phantom --model unet -o model.width=4 -o dataset.cases=40 -o dataset.size=64 --batch-size 2".split()
    )
    started = start(*words, "--epochs", "60", "--patience", "0", "--out", run)
    while not (run / "history.csv").exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.05)
    os.kill(started.process.pid, number)
    told = started.end()
    assert told.code == code, told.err
    assert f"segkit train --resume {run}" in told.err and "Traceback" not in told.err
    done = len(history(run))
    assert segkit("train", "--resume", run, "--epochs", done + 1).code == 0
    assert [row["epoch"] for row in history(run)] == [str(epoch) for epoch in range(1, done + 2)]


def test_a_stop_within_an_epoch_goes_on_within_it(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--save-minutes so small that every step is saved, then killed: nothing is trained on twice."""
    run = tmp_path / "run"
    often = ["-o", "train.save_minutes=0.0000001"]
    launch(*KINDS["unet"], *SHARED, *often, "--out", run, dies_at=("save", 4))
    state = torch.load(run / "resume" / "state.pt", weights_only=True)
    assert state["progress"]["step"] > 0
    assert launch("train", "--resume", run).code == 0
    assert_equal(results(run), whole("unet"))


def test_more_epochs_may_be_asked_for_and_nothing_else_changes(segkit: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", "2", "-o", "train.schedule=cosine", "--out", run).code == 0
    told = segkit("train", "--resume", run)
    assert told.code == 2 and "nothing left to train" in told.err and "--epochs" in told.err
    done = segkit("train", "--resume", run, "--epochs", "4", "--workers", "1")
    assert done.code == 0 and "cosine schedule is another one" in done.err
    assert [row["epoch"] for row in history(run)] == ["1", "2", "3", "4"]
    for words, part in (
        (["--lr", "1"], "train.lr cannot change"),
        (["--model", "resunet"], "model.name cannot change"),
        (["--out", tmp_path / "new"], "--out cannot change"),
        (["-o", "dataset.cases=3"], "dataset.cases cannot change"),
        (["--epochs", "1"], "nothing left to train"),
    ):
        told = segkit("train", "--resume", run, *words)
        assert told.code == 2 and part in told.err, told.err


def test_all_other_files_are_written_anew_from_the_state(segkit: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", "2", "--out", run).code == 0
    before = {name: (run / name).read_bytes() for name in ("split.json", "manifest.json", "history.csv")}
    for name in (*before, "model.safetensors"):
        (run / name).unlink()
    assert segkit("train", "--resume", run, "--epochs", "3").code == 0
    assert json.loads((run / "split.json").read_bytes()) == json.loads(before["split.json"])
    assert json.loads((run / "manifest.json").read_bytes()) == json.loads(before["manifest.json"])
    assert (run / "history.csv").read_bytes().startswith(before["history.csv"])
    assert segkit("evaluate", run).code == 0


def test_what_was_killed_at_its_very_end_gets_its_files_from_the_state_too(segkit: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert segkit(*SMALL, "--epochs", "1", "--out", run).code == 0
    before = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(b"of an epoch before")
    told = segkit("train", "--resume", run)
    assert told.code == 2 and "nothing left to train" in told.err
    assert (run / "model.safetensors").read_bytes() == before


def test_what_cannot_be_resumed_is_told(segkit: Command, trained: Path, tmp_path: Path) -> None:
    assert "is not a run folder" in segkit("train", "--resume", tmp_path).err
    (tmp_path / "run.toml").write_text("")
    assert "no resume/state.pt" in segkit("train", "--resume", tmp_path).err
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume" / "state.pt").write_bytes((trained / "resume" / "state.pt").read_bytes()[:1000])
    told = segkit("train", "--resume", tmp_path)
    assert told.code == 1 and "is damaged" in told.err
    import pickle

    (tmp_path / "resume" / "state.pt").write_bytes(pickle.dumps(os.system))
    told = segkit("train", "--resume", tmp_path)
    assert told.code == 1 and "is damaged" in told.err


def test_a_full_disk_ends_with_the_last_good_state(segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, saves, whole = tmp_path / "run", [], torch.save

    def full(document: Any, path: Path) -> None:
        saves.append(path)
        if len(saves) == 3:
            path.write_bytes(b"x" * 100)
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        whole(document, path)

    monkeypatch.setattr(torch, "save", full)
    told = segkit(*SMALL, "--epochs", "4", "--out", run)
    assert told.code == 1 and "No space left" in told.err and f"--resume {run}" in told.err
    assert len(history(run)) == 1 and [path.name for path in (run / "resume").iterdir()] == ["state.pt"]
    assert segkit("train", "--resume", run).code == 0
    assert len(history(run)) == 4


def test_changed_data_is_not_resumed_on(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--cases", "8", "--out", tmp_path / "data").code == 0
    words = ["train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--model", "unet", "-o", "model.width=1"]
    small = ["-o", "model.depth=1", "-o", "preprocess.size=16", "--out", tmp_path / "run"]
    assert segkit(*words, *small, "--epochs", "1").code == 0
    first = sorted((tmp_path / "data" / "images").iterdir())[0]
    first.write_bytes(sorted((tmp_path / "data" / "images").iterdir())[1].read_bytes())
    told = segkit("train", "--resume", tmp_path / "run", "--epochs", "2")
    assert told.code == 1 and "files differ" in told.err


def test_pretrained_weights_are_not_fetched_again(segkit: Command, trained: Path, tmp_path: Path) -> None:
    first = tmp_path / "start.safetensors"
    first.write_bytes((trained / "model.safetensors").read_bytes())
    wider = ["-o", "model.width=4", "-o", "model.depth=2"]  # as that run has it; typed later wins
    assert segkit(*SMALL, *wider, "--pretrained", first, "--epochs", "1", "--out", tmp_path / "run").code == 0
    first.unlink()
    done = segkit("train", "--resume", tmp_path / "run", "--epochs", "2")
    assert done.code == 0, done.err
    assert f'pretrained = "{first}"' in (tmp_path / "run" / "run.toml").read_text()  # what it was started from stays known


def test_what_was_saved_within_the_first_epoch_outlives_an_error(segkit: Command, tmp_path: Path) -> None:
    steps = []

    def fail(*_: Any) -> None:
        steps.append(1)
        if len(steps) == 3:
            raise OSError(28, "No space left on device")

    hook, run = register_optimizer_step_pre_hook(fail), tmp_path / "run"
    words = [*SMALL, "--batch-size", "2", "-o", "train.save_minutes=0.0000001", "--epochs", "2", "--out", run]
    try:
        told = segkit(*words)
    finally:
        hook.remove()
    assert told.code == 1 and f"--resume {run}" in told.err
    assert segkit("train", "--resume", run).code == 0 and len(history(run)) == 2
