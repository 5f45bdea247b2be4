"""What the run folder tells a user to type."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from segkit.errors import UsageError
from segkit.runs.folder import check_new_run


def test_the_command_that_goes_on_with_a_run_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    run = tmp_path / "Läufe & Übungen" / "it's the first"
    run.mkdir(parents=True)
    (run / "run.toml").touch()
    (run / "split.json").touch()
    (run / "manifest.json").touch()
    with pytest.raises(UsageError) as refused:
        check_new_run(run)
    assert refused.value.hint is not None
    typed = refused.value.hint.partition("go on with it: ")[2].removesuffix(".")
    assert shlex.split(typed) == ["segkit", "train", "--resume", str(run)]
