"""curves.png: a run's history as a picture: loss, the metrics and their classes, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.files import replacing

SIDES = (
    "Training: augmented images, dropout on, while the weights change. "
    "Validation: images as they are, after the epoch, on the network's grid."
)
COLUMNS = 4  # panels beside each other


def draw_curves(history: Sequence[Mapping[str, Any]], best_epoch: int, path: Path, how: str = "per_case") -> None:
    """Draw the rows of a history, and say what its figures are of.

    Args:
        history: one row per epoch; keys as in history.csv.
        best_epoch: of the kept weights; 0: none are.
        path: of the PNG.
        how: the metrics of both sides were put together (see segkit.evaluation.aggregate).
    """
    from matplotlib.figure import Figure

    keys = dict.fromkeys(key for row in history for key in row)
    names = [key.partition("_")[2] for key in keys if key.startswith(("train_", "val_")) and "/" not in key]
    metrics = [name for name in dict.fromkeys(names) if name not in ("loss", "seconds")]
    rows = -(-(2 + len(metrics)) // COLUMNS)
    figure = Figure(figsize=(4.5 * min(COLUMNS, 2 + len(metrics)), 3.6 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, min(COLUMNS, 2 + len(metrics)), number) for number in range(1, 3 + len(metrics))]
    _panel(axes[0], history, {"training": "train_loss", "validation": "val_loss"}, "loss", best_epoch)
    for axis, name in zip(axes[1:-1], metrics, strict=True):
        classes = [key for key in keys if key.startswith(f"val_{name}/") and key.count("/") == 1]
        lines = {"training": f"train_{name}", "validation": f"val_{name}"}
        lines |= {key.partition("/")[2]: key for key in classes} if len(classes) > 1 else {}
        _panel(axis, history, lines, name, best_epoch)
        values = [row[key] for row in history for key in lines.values() if math.isfinite(row.get(key, math.nan))]
        if values and min(values) >= 0 and max(values) <= 1:  # shares: seen best on their whole range
            axis.set_ylim(0, 1)
    _panel(axes[-1], history, {"learning rate": "lr"}, "learning rate", best_epoch)
    if any(row["lr"] > 0 for row in history):
        axes[-1].set_yscale("log")
    together = "pooled over all cases" if how == "pooled" else "means over cases"
    words = (
        f"Loss: mean over images (of volumes that are seen slice by slice: over slices). Metrics: {together}, on both sides."
    )
    figure.supxlabel(f"{words}\n{SIDES}", fontsize=8, color="dimgray")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _panel(axis: Any, history: Sequence[Mapping[str, Any]], lines: Mapping[str, str], title: str, best: int) -> None:
    epochs = [row["epoch"] for row in history]
    for number, (label, key) in enumerate(lines.items()):
        values = [float(row.get(key, math.nan)) for row in history]
        if any(math.isfinite(value) for value in values):
            style = {"linewidth": 1.8} if number < 2 else {"linewidth": 0.9, "linestyle": "--"}
            axis.plot(epochs, values, label=label, marker="." if len(epochs) < 20 else None, **style)
    if best:
        axis.axvline(best, color="gray", linewidth=0.8, linestyle=":", label=f"kept: epoch {best}")
    axis.set_title(title)
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=8)
