"""Devices that are certainly not here are refused at once, without torch, which takes seconds to import."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from pathlib import Path

from segkit import distributed
from segkit.errors import UsageError

NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
DRIVERS = ("libcuda.so.1", "libcuda.so")  # of NVIDIA's driver, on Linux


def check_device(name: str) -> None:
    """Refuse a device that is none, or that this machine certainly lacks; `choose_device` asks torch for the rest.

    Raises:
        UsageError: with the name that was meant, or what is here.
    """
    if not NAMES.fullmatch(name):
        raise UsageError(f"--device {name} cannot be used on this machine.", _meant(name))
    here = "Available here: auto, cpu."
    if name == "mps" and sys.platform != "darwin":
        raise UsageError("--device mps cannot be used on this machine: it is Apple's.", here)
    if name.startswith("cuda") and distributed.world_size() == 1 and not _may_have_cuda():
        raise UsageError(f"--device {name} cannot be used on this machine: it has no NVIDIA driver, or torch none.", here)


def _meant(name: str) -> str:
    """The name that is nearest to what was typed."""
    number = re.fullmatch(r"(?:gpu|cuda)?[:\s]?(\d+)", name.strip().lower())
    if number:
        return f"--device cuda:{number.group(1)} is the GPU of that number."
    if name.strip().lower() in ("gpu", "nvidia"):
        return "--device cuda is the GPU."
    return "Allowed: auto, cpu, cuda, cuda:1, mps."


def _may_have_cuda() -> bool:
    """False where torch was built for CPUs alone, or no driver of a GPU can be loaded."""
    build = _torch_build()
    if build and not re.search(r"^(cuda|hip)\b[^=\n]*=\s*['\"]", build, re.MULTILINE):
        return False
    if not sys.platform.startswith("linux") or re.search(r"^hip\b[^=\n]*=\s*['\"]", build, re.MULTILINE):
        return True
    return any(_loads(driver) for driver in DRIVERS)


def _torch_build() -> str:
    """The text of torch/version.py, which says what it was built for; empty where there is none."""
    found = importlib.util.find_spec("torch")
    folder = (found.submodule_search_locations or [""])[0] if found else ""
    try:
        return (Path(folder) / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
