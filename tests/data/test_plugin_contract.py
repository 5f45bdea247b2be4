"""What a dataset plugin gives instead of a Dataset, a Case or a Sample is told, in a check and in a training alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Command
from segkit.testing.sandbox import Install

PLUGIN = """
import sys
import numpy as np
from segkit.api import Case, Dataset, DatasetSpec, Sample, Task, hookimpl

TASK = Task(3, ("background", "lesion"))

@hookimpl
def segkit_datasets():
    return [DatasetSpec("clinic", "a clinic", target="clinic_module:open_clinic", needs_root=False)]

def cases(**facts):
    return tuple(Case(**({{"id": f"c{{n}}", "group": f"g{{n}}"}} | facts)) for n in range(8))

def sample(image=np.arange(192, dtype=np.uint8).reshape(3, 8, 8), mask=np.eye(8, dtype=np.int32), **facts):
    return Sample(image, mask, **facts)

def read(case):
    return {read}

def open_clinic(root, options, labelled=True):
    return {given}
"""


def outcomes(segkit: Command, install: Install, tmp_path: Path, given: str, read: str) -> tuple[str, str]:
    """What `data check` and `train` say."""
    install("clinic", PLUGIN.format(given=given, read=read))
    small = "--model unet -o model.width=2 -o model.depth=2 --epochs 1 -o preprocess.size=8"
    commands = "data check clinic", f"train --dataset clinic {small} --out {tmp_path / 'run'}"
    done = [segkit(*command.split()) for command in commands]
    assert all(one.code in (1, 2) and "segkit itself" not in one.err for one in done), done
    return done[0].out + done[0].err, done[1].out + done[1].err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("None", "clinic/clinic returned NoneType, not a segkit.api.Dataset"),
        ("Dataset(('background', 'lesion'), cases(), read)", "The task of the dataset clinic/clinic is a tuple"),
        ("Dataset(TASK, cases(), None)", "The read of the dataset clinic/clinic is None, not a function"),
        ("Dataset(TASK, 8, read)", "The cases of the dataset clinic/clinic are given as int, not as a tuple"),
        ("Dataset(TASK, (1 / 0 for _ in [1]), read)", "clinic/clinic failed while listing: ZeroDivisionError"),
        ("Dataset(TASK, ('c1', 'c2'), read)", "listed 'c1', which is a str, not a Case"),
        ("Dataset(TASK, cases(id=3), read)", "the case 3, whose id is 3, not text"),
        ("Dataset(TASK, cases(group=None), read)", "the case 'c0', whose group is None, not text"),
        ("Dataset(TASK, cases(subset='training'), read)", "whose subset is 'training'; known are train, val, test"),
        ("Dataset(TASK, cases(files=['a.png']), read)", "whose files are a list, not a dictionary by role"),
        ("Dataset(TASK, cases(files={'image': 'a.png'}), read)", "whose file 'image' is 'a.png', not a pathlib.Path"),
        ("Dataset(TASK, (), read)", "holds no cases"),
    ],
)
def test_what_is_no_dataset_or_no_case_is_told(
    segkit: Command, install: Install, tmp_path: Path, given: str, told: str
) -> None:
    check, train = outcomes(segkit, install, tmp_path, given, "sample()")
    assert told in check and told in train


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ("sys.exit(0)", "cannot be read: SystemExit: 0"),
        ("sample(np.zeros((3, 8, 8), complex))", "its image is of type complex128"),
        ("sample(np.zeros((3, 8, 8), object))", "its image is of type object"),
        ("sample(np.full((3, 8, 8), 'a'))", "its image is of type <U1"),
        ("sample(mask=np.full((8, 8), '1'))", "its mask is of type <U1"),
        ("sample(np.zeros((3, 0, 0)), np.zeros((0, 0)))", "its image of shape (3, 0, 0) holds no pixels"),
        ("sample(spacing=1.0)", "its spacing is 1.0"),
        ("sample(spacing=(1.0, 1.0, 1.0))", "its spacing is (1.0, 1.0, 1.0)"),
        ("sample(spacing=(0.0, 1.0))", "its spacing is (0.0, 1.0)"),
        ("sample(spacing=(float('nan'), 1.0))", "its spacing is (nan, 1.0)"),
        ("sample(np.zeros((8, 8, 3), np.uint8))", "(C, *S): np.moveaxis(image, -1, 0)"),
    ],
)
def test_what_is_no_sample_is_told(segkit: Command, install: Install, tmp_path: Path, read: str, told: str) -> None:
    check, train = outcomes(segkit, install, tmp_path, "Dataset(TASK, cases(), read)", read)
    assert told in check and told in train


def test_cases_may_come_from_a_generator(segkit: Command, install: Install) -> None:
    install("clinic", PLUGIN.format(given="Dataset(TASK, (case for case in cases()), read)", read="sample()"))
    assert "clinic: 8 cases, 0 unusable" in segkit("data", "check", "clinic").out
