"""The facts of a dataset hold together and survive being written down."""

from __future__ import annotations

import json

import pytest

from segkit.task import Task

ORGANS = ("background", "liver", "tumour")


@pytest.mark.parametrize(
    ("mode", "classes", "outputs"), [("binary", ORGANS[:2], 1), ("multiclass", ORGANS, 3), ("multilabel", ORGANS, 2)]
)
def test_the_outputs_follow_from_mode_and_classes(mode: str, classes: tuple[str, ...], outputs: int) -> None:
    assert Task(1, classes, mode=mode).outputs == outputs  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"channels": 0}, "channels = 0"),
        ({"classes": ("background",)}, "at least two"),
        ({"classes": ("a", "a")}, "two classes of one name|at least two"),
        ({"classes": ORGANS}, "binary takes two classes, not 3"),
        ({"classes": ("background", "a/b")}, "'/'"),
        ({"dims": 4}, "dims = 4"),
        ({"channel_names": ("red",)}, "1 channel names for 3 channels"),
        ({"regions": {"WT": ("oedema",)}}, "regions must name classes"),
    ],
)
def test_contradicting_facts_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Task(**{"channels": 3, "classes": ORGANS[:2], **wrong})  # type: ignore[arg-type]


def test_a_task_survives_json() -> None:
    task = Task(2, ORGANS, 3, "multilabel", channel_names=("flair", "t1"), ignore_index=255, regions={"all": ORGANS[1:]})
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_unknown_facts_are_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Task.from_dict({**Task(3, ORGANS[:2]).to_dict(), "secret": 1})


def test_as_classification_asks_whether_there_is_any_foreground() -> None:
    task = Task(3, ORGANS, mode="multiclass", ignore_index=255).as_classification()
    assert (task.kind, task.classes, task.outputs, task.ignore_index) == ("classification", ("absent", "present"), 2, None)
