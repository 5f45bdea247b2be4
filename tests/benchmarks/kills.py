"""Kill trainings at random moments, some inside a save, and resume them: they end as uninterrupted ones, bit for bit.

python tests/benchmarks/kills.py --kills 40
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

from test_resume import KINDS, SHARED, assert_equal, results

from processes import start

MOMENTS = ("step", "save", "rename", "weights", "validate")


def trial(kind: str, moments: list[tuple[str, int]], folder: Path) -> tuple[Path, int]:
    """Train, be killed at each of these moments, go on; returns the run and how often it was killed."""
    run = folder / "none"
    for number, dies_at in enumerate([*moments, None]):
        words = ["train", "--resume", run]
        if not (run / "resume" / "state.pt").exists():  # killed before its first state: begun anew
            run = folder / f"run-{number}"
            words = [*KINDS[kind], *SHARED, "--out", run]
        if start("-q", *words, dies_at=dies_at).end().code == 0:
            return run, number
    raise AssertionError("unreachable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    draw, kills, turn = random.Random(words.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        whole = {kind: results(trial(kind, [], Path(name) / kind)[0]) for kind in KINDS}
        while kills < words.kills:
            kind = draw.choice(list(KINDS))
            moments = [(draw.choice(MOMENTS), draw.randint(1, 4)) for _ in range(draw.randint(1, 4))]
            run, killed = trial(kind, moments, Path(name) / f"turn-{turn}")
            assert_equal(results(run), whole[kind])
            kills, turn = kills + killed, turn + 1
            print(
                f"{kind}: {', '.join(f'{moment} {count}' for moment, count in moments)}: equal ({kills} kills)", flush=True
            )


if __name__ == "__main__":
    main()
