"""What the progress line and the line of a finished epoch say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from segkit import distributed
from segkit.config.complete import Config
from segkit.config.monitored import LOSS
from segkit.durations import clock_in
from segkit.training.doubts import doubt_of_figures
from segkit.training.memory import in_use
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession

logger = logging.getLogger(__name__)

WIDTH = 79  # of a terminal, less the place where the cursor stands


def figures(session: TrainingSession, progress: TrainingProgress, rate: float) -> dict[str, str]:
    """What the progress line shows while an epoch runs, the most wanted first: where it is narrow the last are left out."""
    components, sums = session.components, progress.sums
    seen = sums.seen * distributed.world_size()
    speed = seen / max(sums.seconds, 1e-9)
    left = max(0.0, (session.order.total - seen) / max(speed, 1e-9))
    schedule, clock = session.schedule, session.clock
    done = (progress.epoch - 1) * schedule.steps + progress.step
    until = clock.seconds_left(schedule.end, done, progress.epoch - 1)
    running, name = sums.counts.figures(components.metrics), components.config.headline
    return {
        "epoch": f"{progress.epoch}/{schedule.epochs}",
        "loss": f"{sums.total / max(sums.seen, 1):.4f}",
        **({name: f"{running[name]:.3f}"} if name in running else {}),
        **({"ends about": clock_in(until)} if until is not None else {}),
        "epoch ends in": f"{left:.0f} s",
        "memory": f"{in_use(components.device) / 1e9:.1f} GB",
        "images/s": f"{speed:.1f}",
        "lr": f"{rate:.1e}",
    }


def log_epoch(progress: TrainingProgress, config: Config, epochs: int, improved: bool) -> None:
    """Log the line of the epoch that was finished last, of so many, and what is doubtful about its figures."""
    logger.info(epoch_line(progress.history[-1], epochs, config.headline, improved))
    doubt = doubt_of_figures(progress.history, config, bool(progress.ended) or progress.epoch > epochs)
    if doubt:
        logger.warning(doubt)


def epoch_line(row: Mapping[str, Any], epochs: int, headline: str, improved: bool) -> str:
    """The line that is logged for a finished epoch; `headline` is the metric shown beside the loss (see Config).

    It fits one line of a narrow terminal: the learning rate, then the training's own metric are left out where they do not.
    """
    loss = f"  loss {row['train_loss']:.4f}" + (f"  val {row['val_loss']:.4f}" if "val_loss" in row else "")
    named = headline != LOSS and f"train_{headline}" in row
    own = f"  {headline} {row[f'train_{headline}']:.3f}" if named else ""
    validated = ""
    if headline != LOSS and f"val_{headline}" in row:
        validated = f"  {'val' if named else f'val {headline}'} {row[f'val_{headline}']:.3f}"
    alone = f"  val {headline} {row[f'val_{headline}']:.3f}" if validated else ""
    start = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}{loss}"
    rate, seconds = f"  lr {row['lr']:.1e}", f"  {row['train_seconds'] + row.get('val_seconds', 0):.1f} s"
    best = "  best" if improved else ""
    lines = [f"{own}{validated}{rate}{seconds}", f"{own}{validated}{seconds}", f"{alone}{seconds}"]
    room = WIDTH - len(start) - len("  best")  # the same for all epochs
    return start + next((line for line in lines if len(line) <= room), lines[-1]) + best
