"""Unions of classes that are scored beside them: those that a dataset states, and those that are typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from segkit.errors import UsageError, did_you_mean
from segkit.task import Task

FORM = "--region tumour=core,edema"


def with_regions(task: Task, texts: Sequence[str]) -> Task:
    """A task with regions as they were typed, NAME=CLASS,CLASS, beside its own.

    Raises:
        UsageError: classes that are not there or may overlap, or a name that is taken.
    """
    if texts and (task.mode != "multiclass" or task.kind != "segmentation"):
        raise UsageError("--region joins exclusive classes of masks; here there are none.", "Leave it out.")
    regions = dict(task.regions)
    for text in texts:
        name, equals, members = text.partition("=")
        classes = tuple(one.strip() for one in members.split(",") if one.strip())
        if not name or not equals or not classes or "/" in name:
            raise UsageError(f"--region {text} is not NAME=CLASS,CLASS.", FORM)
        wrong = next((one for one in classes if one not in task.classes), None)
        if wrong is not None:
            raise UsageError(f"--region {text}: there is no class {wrong!r}.", did_you_mean(wrong, task.classes))
        if name in task.classes or name in regions:
            raise UsageError(f"--region {text}: {name!r} is there already.", "Give it another name.")
        regions[name] = classes
    return replace(task, regions=regions)
