"""manifest.json: what a stranger needs in order to assess and repeat a run."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from segkit import __version__
from segkit.cpus import usable_cpus

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python", "accelerate", "safetensors", "nibabel")


def build_manifest(
    seed: int, fingerprint: Mapping[str, Any], device: str, notes: Sequence[str], plugins: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """What a stranger needs in order to assess and repeat a run.

    Args:
        seed: of the run.
        fingerprint: of its data.
        device: it is trained on.
        notes: that were made about data and split.
        plugins: that have a part in it: name -> distribution and version.
    """
    return {
        "segkit": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "seed": seed,
        "data": dict(fingerprint),
        "notes": list(notes),
        "plugins": dict(plugins),
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git(),
        "hardware": {
            "device": device,
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": usable_cpus(),
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the working folder's repository, and whether it had uncommitted changes."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=5).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
