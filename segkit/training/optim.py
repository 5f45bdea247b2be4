"""Optimisers, and how their learning rate changes: by epochs, except one-cycle and warm-up, which go by steps."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import nn

from segkit.errors import SegkitError
from segkit.settings import BY_LENGTH, Train
from segkit.words import counted

logger = logging.getLogger(__name__)


def note_changed_schedule(epochs_before: int, settings: Train) -> None:
    """A schedule that depends on the number of epochs changes with it; the user is told."""
    if settings.epochs is not None and settings.epochs != epochs_before and settings.schedule in BY_LENGTH:
        logger.warning(
            f"{counted(settings.epochs, 'epoch')} in all: the {settings.schedule} schedule is another one from here on."
        )


def build_optimizer(model: nn.Module, settings: Train, fused: bool) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters of a model.

    Raises:
        SegkitError: there is nothing to train.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise SegkitError("The model has no parameters to train.", "Choose another --model.")
    shared: dict[str, Any] = {"lr": base_rate(settings), "weight_decay": settings.weight_decay, "fused": fused or None}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(trainable, momentum=settings.momentum, nesterov=settings.nesterov, **shared)
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer: torch.optim.Optimizer = kinds[settings.optimizer](trainable, eps=settings.eps, **shared)
    return optimizer


def base_rate(settings: Train) -> float:
    """The learning rate that schedules start from or rise to."""
    assert settings.lr is not None, "a complete configuration has one"
    return settings.lr


class Schedule:
    """The learning rate of each step, set before it: warm-up, then what `schedule` says.

    cosine     from lr to min_lr over all epochs, half a wave (Loshchilov 2017, without restarts)
    poly       lr (1 - t)^poly_power, t the share of the training that is done (Chen 2018)
    one-cycle  up to lr in the first 30 %, then down to lr / 250,000, both along half a wave (Smith 2018, torch's form)
    step       times step_factor after every step_every epochs
    plateau    times plateau_factor after plateau_patience epochs in which the monitored value has not improved by min_delta
               (Keras' ReduceLROnPlateau; torch's waits for one epoch more)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Train, steps: int, validated: bool) -> None:
        """Args: the optimiser, its settings, steps in an epoch, and whether there is a value to monitor."""
        self.optimizer, self.settings, self.steps = optimizer, settings, steps
        self.kind = settings.schedule if validated or settings.schedule != "plateau" else "none"
        assert settings.epochs is not None, "planned by now"
        self.length = float(settings.epochs)  # epochs in which the rate takes its course
        self.end = settings.epochs * steps  # steps of the whole training
        self.turn: tuple[int, float] | None = None  # a step, and where in that course it was: from here it goes faster
        self.changes: list[dict[str, Any]] = []  # of the end, for the record
        self.factor = 1.0  # of the plateau
        self.best, self.waited, self.patience = math.inf, 0, settings.plateau_patience

    def before(self, epoch: int, step: int) -> float:
        """Set the rate for a step (both counted from 0); returns it."""
        settings, done = self.settings, self.position(epoch, step)
        rate = self._rate(int(done), done)
        if done < settings.warmup:
            taken = epoch * self.steps + step if self.turn is None else done * self.steps
            rate *= min(1.0, (taken + 1) / (settings.warmup * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def position(self, epoch: int, step: int) -> float:
        """Where in the course of the rate a step (both counted from 0) is, in epochs of it."""
        if self.turn is None:
            return epoch + step / self.steps
        start, before = self.turn
        return before + (self.length - before) * (epoch * self.steps + step - start) / max(1, self.end - start)

    @property
    def epochs(self) -> int:
        """How many there are; the last may be shorter than the others."""
        return -(-self.end // self.steps)

    def steps_of(self, epoch: int) -> int:
        """Of an epoch, counted from 1."""
        return max(0, min(self.steps, self.end - (epoch - 1) * self.steps))

    def change_end(self, done: int, end: int, why: str) -> None:
        """Let the training end after `end` steps, `done` of which are done: the rate goes on from where it is, to its end.

        A course that is over already is taken as one of the new length, as another number of epochs is.
        """
        before = self.position(0, done)
        if before < self.length:
            self.turn = (done, before)
        else:
            self.length, self.turn = end / self.steps, None
        self.changes.append({"step": done, "steps_before": self.end, "steps": end, "why": why})
        self.end = end

    def after(self, value: float) -> None:
        """Take in an epoch's monitored value; smaller is better."""
        if self.kind != "plateau":
            return
        if value < self.best - self.settings.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.factor, self.waited = self.factor * self.settings.plateau_factor, 0

    def state(self) -> dict[str, Any]:
        course = {"epochs": self.settings.epochs, "length": self.length, "end": self.end, "turn": self.turn}
        plateau = {"factor": self.factor, "best": self.best, "waited": self.waited, "patience": self.patience}
        return {**plateau, **course, "changes": self.changes}

    def load(self, state: dict[str, Any]) -> None:
        self.changes = list(state.get("changes", ()))
        if state.get("epochs") == self.settings.epochs:  # another number of epochs makes another course
            turn = state["turn"]
            self.length, self.end, self.turn = state["length"], state["end"], turn and (int(turn[0]), float(turn[1]))
        self.factor, self.best, self.waited = state["factor"], state["best"], int(state["waited"])
        # a state without it is of 0.1.0, which waited for one epoch more; such a training goes on as it began
        self.patience = int(state.get("patience", self.settings.plateau_patience + 1))

    def _rate(self, epoch: int, done: float) -> float:
        settings, lr = self.settings, base_rate(self.settings)
        share = min(1.0, max(0.0, (done - settings.warmup) / max(self.length - settings.warmup, 1e-9)))
        if self.kind == "cosine":
            return settings.min_lr + (lr - settings.min_lr) * (1 + math.cos(math.pi * share)) / 2
        if self.kind == "poly":
            return max(settings.min_lr, float(lr * (1 - share) ** settings.poly_power))
        if self.kind == "one-cycle":
            return _one_cycle(lr, share, self.length * self.steps)
        if self.kind == "step":
            return max(settings.min_lr, float(lr * settings.step_factor ** (epoch // settings.step_every)))
        return max(min(settings.min_lr, lr), lr * self.factor)


def _one_cycle(lr: float, share: float, steps: float) -> float:
    """torch's OneCycleLR with its defaults, at a share of the steps."""
    step, rise = share * steps, max(0.3 * steps - 1, 1e-9)
    low, final = lr / 25, lr / 25 / 1e4
    if step <= rise:
        return _wave(low, lr, step / rise)
    return _wave(lr, final, min(1.0, (step - rise) / max(steps - 1 - rise, 1e-9)))


def _wave(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
