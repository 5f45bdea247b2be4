"""What the progress line and the line of a finished epoch say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit import distributed
from segkit.config.monitored import LOSS
from segkit.training.memory import in_use
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession


def figures(session: TrainingSession, progress: TrainingProgress, rate: float) -> dict[str, str]:
    """What the progress line shows while an epoch runs."""
    components, sums = session.components, progress.sums
    seen = sums.seen * distributed.world_size()
    speed = seen / max(sums.seconds, 1e-9)
    left = max(0.0, (session.order.count - seen) / max(speed, 1e-9))
    running, name = sums.counts.figures(components.metrics), components.config.headline
    return {
        "epoch": f"{progress.epoch}/{components.config.train.epochs} ({left:.0f} s left)",
        "loss": f"{sums.total / max(sums.seen, 1):.4f}",
        **({name: f"{running[name]:.3f}"} if name in running else {}),
        "lr": f"{rate:.1e}",
        "images/s": f"{speed:.1f}",
        "memory": f"{in_use(components.device) / 1e9:.1f} GB",
    }


def epoch_line(row: Mapping[str, Any], epochs: int, headline: str, improved: bool) -> str:
    """The line that is logged for a finished epoch; `headline` is the metric shown beside the loss (see Config)."""
    words = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}", f"loss {row['train_loss']:.4f}"]
    words += [f"{headline} {row[f'train_{headline}']:.3f}"] if f"train_{headline}" in row and headline != LOSS else []
    words += [f"val loss {row['val_loss']:.4f}"] if "val_loss" in row else []
    words += [f"val {headline} {row[f'val_{headline}']:.3f}"] if f"val_{headline}" in row and headline != LOSS else []
    words += [f"lr {row['lr']:.1e}", f"{row['train_seconds'] + row.get('val_seconds', 0):.1f} s"]
    return "  ".join(words) + ("  best" if improved else "")
