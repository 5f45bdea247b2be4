"""The template is a real third-party package: built as a wheel, installed, used by name, uninstalled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import Result
from processes import launch

TEMPLATE = Path(__file__).parents[1] / "examples" / "segkit-plugin-template"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the template's wheel installed, seen only by who puts it on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("template")
    source = shutil.copytree(TEMPLATE, folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build", "dist"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        capture_output=True,
    )
    wheel = next(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", folder / "site", wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


def segkit(*words: object, site: Path | None = None) -> Result:
    return launch(*words, PYTHONPATH=site) if site else launch(*words)


@pytest.mark.slow
def test_the_templates_own_tests_pass(site: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        site.parent / "source" / "tests",
    ]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


def test_the_template_lists_trains_predicts_and_is_missed_when_it_is_gone(site: Path, tmp_path: Path) -> None:
    listed = segkit("models", "tiny-net", site=site)
    assert listed.code == 0 and "segkit-plugin-template 0.1.0" in listed.out
    assert segkit("plugins", "--check", site=site).code == 0

    assert segkit("data", "synth", "side-by-side", "--cases", 8, "--out", tmp_path / "data", site=site).code == 0
    words = [
        "train",
        "--dataset",
        "side-by-side",
        "--data-dir",
        tmp_path / "data",
        "--model",
        "tiny-net",
        "--loss",
        "tversky",
    ]
    words += [
        "--loss",
        "tversky",
        "--monitor",
        "area-error",
        "-o",
        "preprocess.size=33",
        "-o",
        "model.width=4",
        "--epochs",
        "1",
    ]
    trained = segkit(*words, "--out", tmp_path / "run", site=site)
    assert trained.code == 0, trained.err
    record = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert record["plugins"]["template"] == {"distribution": "segkit-plugin-template", "version": "0.1.0"}

    assert segkit("data", "synth", "phantom", "--cases", 2, "--out", tmp_path / "new").code == 0
    predict = ["predict", tmp_path / "run", tmp_path / "new" / "images", "--out", tmp_path / "masks"]
    assert segkit(*predict, site=site).code == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 2

    gone = segkit(*predict, "--overwrite")
    assert gone.code == 1
    assert "segkit-plugin-template 0.1.0" in gone.err and "pip install segkit-plugin-template" in gone.err
    assert "Traceback" not in gone.err
