"""A hash of a package's code as it lies on the disk now: what was made by other code is then known as such."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

COMPILED = ("__pycache__", ".pyc", ".pyo")


def source_digest(module: str) -> str:
    """Hash the files of a package, or of a single module and those beside it; empty where there are none.

    Python files go in with their content, others (tables, compiled code) with their size and time of change.

    Args:
        module: the name of a package or module; those above it are imported, it is not.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ""
    if spec.submodule_search_locations:
        folders = [Path(folder) for folder in spec.submodule_search_locations]
        files = [(folder, path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    else:  # what it imports may lie beside it
        origin = Path(spec.origin or "")
        files = [(origin.parent, path) for path in {origin, *origin.parent.glob("*.py")} if path.is_file()]
    digest = hashlib.sha256()
    for folder, path in sorted(files):
        name = path.relative_to(folder).as_posix()
        if not any(part in name for part in COMPILED):
            status = path.stat()
            own = path.read_bytes() if path.suffix == ".py" else f"{status.st_size}/{status.st_mtime_ns}".encode()
            digest.update(f"{name}/{len(own)}/".encode() + own)
    return digest.hexdigest()
