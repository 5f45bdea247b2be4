"""Small inputs that must come out right, each with the command that meets it; cases.toml says why."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED
from served import write_client

CASES = SHARED.parent / "cases"
DOCUMENT = tomllib.loads((CASES / "cases.toml").read_text()) if CASES.is_dir() else {"case": [], "setup": {}}
SMALL = "-o model.width=4 -o model.depth=2 -o preprocess.size=32 --batch-size 4 --device cpu"
CRASH = re.compile(r"segkit itself failed|Fatal Python error")
OWN_PROCESS = re.compile(r"PYTHONIOENCODING|HOME=|timeout|unshare|--devices|FORCE_COLOR")  # what a fork would not notice
SLOW = re.compile(f"{OWN_PROCESS.pattern}|segkit train")
Shell = Callable[[str, Path, float], tuple[int, str]]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Runs a command in a folder; gives its exit code and all it printed."""
    folder = tmp_path_factory.mktemp("served")
    path = folder / "socket"
    write_client(folder / "bin", path)
    command = [sys.executable, str(Path(__file__).with_name("served.py")), str(path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"

    def run(words: str, where: Path, seconds: float) -> tuple[int, str]:
        first = [] if OWN_PROCESS.search(words) else [str(folder / "bin")]
        environment = {
            **os.environ,
            "COLUMNS": "200",
            "T": SMALL,
            "SEGKIT_CACHE": str(where / "out/segkit-cache"),
            "PATH": os.pathsep.join([*first, str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        started = subprocess.Popen(
            ["bash", "-c", words],
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            out, _ = started.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            out, _ = started.communicate()
        return started.returncode, out.decode(errors="replace")

    with server:
        yield run
        server.kill()


@pytest.fixture(scope="module")
def made(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that holds the runs which several cases need; each is made when it is first asked for."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str) -> Path:
        if name == "run2d.onnx":
            make("run2d")
        if not (folder / name).exists():
            code, text = shell(DOCUMENT["setup"][name], folder, 300)
            assert code == 0, text
        return folder / name

    return make


def _why_not(right: dict[str, Any], code: int, text: str, where: Path, shell: Shell) -> str:
    """Why one of the right outcomes was not met; empty where it was."""
    crashed = code < 0 or code in (137, 139) or CRASH.search(text) is not None
    if crashed if right.get("exit") is None else code not in right["exit"]:
        return f"exit code {code}"
    for pattern in right.get("says", []):
        if not re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return f"does not say {pattern!r}"
    for pattern in right.get("never", []):
        if re.search(pattern, text, re.MULTILINE):
            return f"says {pattern!r}"
    if "verify" in right:
        code, found = shell(right["verify"], where, 60)
        return f"verify: {found[-300:]}" if code else ""
    return ""


@pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not there: {CASES}")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] if SLOW.search(case["command"]) else [])
        for case in DOCUMENT["case"]
    ],
)
def test_comes_out_right(case: dict[str, Any], shell: Shell, made: Callable[[str], Path], tmp_path: Path) -> None:
    if case.get("root") and os.geteuid():
        pytest.skip("needs root: a private mount")
    where = tmp_path / "cases"
    where.mkdir()
    for name in ("verify.py", *case.get("files", [])):
        source = CASES / name
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, where / name, symlinks=True)
        else:
            shutil.copy2(source, where / name)
    for name in case.get("needs", []):
        source = made(name)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, where / name)
    (where / "out").mkdir()
    code, text = shell(case["command"], where, case.get("seconds", 120))
    reasons = [_why_not(right, code, text, where, shell) for right in case["right"]]
    assert "" in reasons, f"{case['why']}\n{reasons}\n{text[-3000:]}"
