"""What each default is worth: test Dice at equal wall time, with one default changed at a time.

python tests/benchmarks/ablation.py [--minutes 2] [--seeds 3] [--sets hippocampus,polyp,lgg] [--arms default,ema,...]

Split, score and turns are those of quality.py. Printed is the mean over the seeds, and what the default is worth: its Dice
minus that of the variant. docs/defaults.md holds the table that the defaults rest on.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from quality import Arm, Table, compare, machine, options

DEFAULT = "default"


def changed(*assignments: str) -> Arm:
    """`segkit train` with these settings typed."""
    return Arm("segkit_train", words=tuple(word for text in assignments for word in ("-o", text)))


VARIANTS = {
    DEFAULT: changed(),
    "dice-focal": changed("loss.name=dice-focal"),
    "dice": changed("loss.name=dice"),
    "dice per case": changed("loss.batch=false"),
    "cosine": changed("train.schedule=cosine"),
    "poly": changed("train.schedule=poly"),
    "plateau": changed("train.schedule=plateau"),
    "lr / 3": changed("train.lr=3e-3"),
    "lr x 3": changed("train.lr=3e-2"),
    "ema": changed("train.ema=0.98"),
    "clipping": changed("train.clip=1"),
    "no smoothing": changed("train.smoothing=0"),
    "no augmentation": changed("augment.policy=none"),
    "flips alone": changed("augment.policy=light"),
    "flips": changed("augment.flip=0.5"),
    "no flips": changed("augment.flip=0"),
    "no rotation, scaling": changed("augment.rotate=0", "augment.scale=0"),
    "no bending": changed("augment.elastic=0"),
    "no tones": changed("augment.brightness=0", "augment.contrast=0", "augment.gamma=0"),
    "no noise, blur": changed("augment.noise=0", "augment.blur=0"),
    "fp32": changed("train.precision=fp32"),
    "batch norm": changed("model.norm=batch"),
    "batch norm, running": changed("model.norm=batch", "train.batch_norm=running"),
    "no deep supervision": changed("train.deep_supervision=false"),
    "usual width": changed("model.width=32", "model.blocks=1,2"),
    "larger images": changed("preprocess.size=192"),
}


def lines(table: Table) -> Iterator[str]:
    """For each set the variants in order, each with what the default is worth against it."""
    for name in dict.fromkeys(result.set for result in table.results):
        means = {}
        for arm in dict.fromkeys(result.arm for result in table.results if result.set == name):
            own = [one for one in table.results if (one.set, one.arm) == (name, arm) and one.dice is not None]
            if not own:
                yield f"{name:<12} {arm:<22} no figure"
                continue
            means[arm] = statistics.mean(one.dice for one in own if one.dice is not None)
            worth = f"{means[DEFAULT] - means[arm]:+.3f}" if DEFAULT in means else ""
            yield f"{name:<12} {arm:<22} {means[arm]:.3f}  {worth}  {max(one.seconds for one in own):.0f} s"


def main() -> None:
    made = options(VARIANTS)
    made.description = __doc__
    made.set_defaults(minutes=2, sets=["hippocampus", "polyp", "lgg"])
    words = made.parse_args()
    words.root = words.root.resolve()
    table = Table({**machine(), "minutes": words.minutes, "split_seed": words.split_seed}, words.out)
    with tempfile.TemporaryDirectory() as folder:
        try:
            compare(words, {name: VARIANTS[name] for name in words.arms}, words.keep or Path(folder), table)
        finally:
            print("\n".join(["", *lines(table), "", str(table.about)]), flush=True)


if __name__ == "__main__":
    main()
