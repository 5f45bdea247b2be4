"""How long the first answers take, against a bare interpreter in the same run.

python tests/benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "segkit --help": ["-m", "segkit", "--help"],
    "segkit trian": ["-m", "segkit", "trian"],
    "segkit train --epoch 3": ["-m", "segkit", "train", "--epoch", "3"],
    "segkit train --model resnuet": ["-m", "segkit", "train", "--dataset", "phantom", "--model", "resnuet"],
    "segkit train -o model.widht=3": "-m segkit train --dataset phantom --model unet -o model.widht=3".split(),
    "segkit models": ["-m", "segkit", "models"],
    "import torch": ["-c", "import torch"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):  # the first one warms the disk and does not count
        for name, words in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], capture_output=True, check=False)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    bare = statistics.median(seconds["bare interpreter"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(
            f"{name:<32} {middle:6.3f} s  ({min(values):.3f} to {max(values):.3f}), {middle / bare:5.1f} x bare interpreter"
        )


if __name__ == "__main__":
    main()
