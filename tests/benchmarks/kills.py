"""Kill a training at random moments, some inside a save, and resume it: it must end as an uninterrupted one does, bit for bit.

python tests/benchmarks/kills.py --kills 40
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "engine")]

from test_resume import KINDS, SHARED, assert_equal, launch, results

MOMENTS = ("step", "save", "rename", "weights", "validate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    draw = random.Random(words.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = {}, 0
        while killed < words.kills:
            kind = draw.choice(list(KINDS))
            if kind not in whole:
                launch("never", 0, *KINDS[kind], *SHARED, "--out", Path(name) / kind)
                whole[kind] = results(Path(name) / kind)
            run = Path(name) / f"run-{killed}"
            moments = [(draw.choice(MOMENTS), draw.randint(1, 4)) for _ in range(draw.randint(1, 3))]
            started = ["train", "--resume", run]
            for number, (moment, count) in enumerate(moments):
                begun = run.exists() and (run / "resume" / "state.pt").exists()
                code = launch(
                    moment, count, *(started if begun else [*KINDS[kind], *SHARED, "--out", run.with_suffix(f".{number}")])
                )
                if not begun:
                    run = run.with_suffix(f".{number}")
                    started = ["train", "--resume", run]
                killed += code != 0
                if code == 0:
                    break
            else:
                launch(
                    "never",
                    0,
                    *(started if (run / "resume" / "state.pt").exists() else [*KINDS[kind], *SHARED, "--out", f"{run}x"]),
                )
                run = run if (run / "resume" / "state.pt").exists() else Path(f"{run}x")
            assert_equal(results(run), whole[kind])
            print(
                f"{kind}: {', '.join(f'{moment} {count}' for moment, count in moments)}: equal ({killed} kills)", flush=True
            )


if __name__ == "__main__":
    main()
