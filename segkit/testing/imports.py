"""What listing a plugin imports: it happens for every command, so nothing heavy may be in it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import entry_points

from segkit.plugins import GROUP

HEAVY = {"torch", "torchvision", "numpy", "timm", "cv2", "monai", "pennylane"}


@lru_cache
def heavy_imports(plugin: str) -> frozenset[str]:
    """The heavy libraries that the module of a plugin's hooks imports; asked of a fresh interpreter, once per plugin."""
    entry = next(iter(entry_points(group=GROUP, name=plugin)))
    code = f"import sys, {entry.module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return frozenset(done.stdout.split()) & HEAVY
