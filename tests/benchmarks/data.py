"""Indexing many files, and what the cache saves: figures printed against a named reference of the same run.

python tests/benchmarks/data.py [--data DIR]     DIR holds lgg/ and acdc/; synthetic cases are used without it
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from segkit.training.setup import cache_recipe

INDEX = """
import resource, sys, time
from pathlib import Path
from segkit.data.pairing import pair_files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
found = pair_files(Path(sys.argv[1]) / "images", Path(sys.argv[1]) / "masks")
seconds = time.perf_counter() - started
assert all(masks for _, _, masks in found.pairs)
print(len(found.pairs), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before / 1024)
"""


def index(pairs: int, folder: Path) -> None:
    """Pair generated, empty files; the reference is listing them with os.walk alone."""
    for kind in ("images", "masks"):
        for start in range(0, pairs, 1000):
            (folder / kind / f"{start:06d}").mkdir(parents=True)
            for number in range(start, start + 1000):
                (folder / kind / f"{start:06d}" / f"case_{number:06d}{'_mask' * (kind == 'masks')}.png").touch()
    started = time.perf_counter()
    listed = sum(len(names) for _, _, names in os.walk(folder))
    walk = time.perf_counter() - started
    done = subprocess.run([sys.executable, "-c", INDEX, str(folder)], capture_output=True, text=True, check=True)
    count, seconds, memory, before = (float(word) for word in done.stdout.split())
    print(f"index of {count:,.0f} pairs: {seconds:.2f} s, peak {memory:.0f} MB ({before:.0f} MB of it the imports)")
    print(f"  listing the {listed:,} files alone: {walk:.2f} s; ratio {seconds / walk:.1f}")


def cache(name: str, root: Path | None, folder: Path) -> None:
    """Seconds to make a dataset's cases ready (first epoch) against reading them from the cache (second)."""
    from segkit import plugins
    from segkit.config.complete import complete_config
    from segkit.config.resolve import gather, resolve_config
    from segkit.data.cache import fill_cache
    from segkit.data.reading import open_dataset

    catalogue = plugins.load()
    if root is None:
        root = folder / name
        spec = catalogue.find("datasets", name).spec
        spec.load(spec.synthesize)(root, 40, 0)
    os.environ["SEGKIT_CACHE"] = str(folder / f"cache-{name}")
    values = gather({}, {"dataset": name, "data_dir": str(root), "model": "unet"}, [])
    config = resolve_config(values, catalogue)
    dataset = open_dataset(config.dataset, config.root)
    config = complete_config(config, dataset, catalogue)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        for cached in fill_cache(cache_recipe(config, dataset), dataset.cases):
            image, mask = cached.load()
            image.sum(), mask.sum()  # every value is read
        seconds.append(time.perf_counter() - started)
    first, again = seconds[0], statistics.median(seconds[1:])
    print(
        f"{name}, {len(dataset.cases)} cases: first epoch {first:.2f} s, from the cache {again:.3f} s: {first / again:.1f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with lgg/ and acdc/")
    parser.add_argument("--pairs", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index(arguments.pairs, folder / "index")
        for dataset in ("lgg", "acdc"):
            cache(dataset, arguments.data / dataset if arguments.data else None, folder)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
