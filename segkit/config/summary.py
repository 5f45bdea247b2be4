"""What was chosen, for the user, before a training begins."""

from __future__ import annotations

from segkit.config.complete import Config
from segkit.config.resolve import Choice
from segkit.options import in_words, plain
from segkit.settings import AUGMENT_STRENGTHS, Augment, Preprocess, Train
from segkit.words import counted


def summarize(config: Config) -> str:
    """What was chosen, for the user, before the training begins."""

    def words(choice: Choice) -> str:
        options = ", ".join(f"{key} {in_words(value)}" for key, value in plain(choice.options).items())
        return f"{choice.spec.name} ({options})" if options else choice.spec.name

    train = config.train
    schedule: str = train.schedule
    if schedule == "plateau":
        schedule += f" x {train.plateau_factor:g} after {train.plateau_patience}"
    return "\n".join(
        (
            f"dataset     {words(config.dataset)}" + (f" in {config.root}" if config.root else ""),
            f"model       {words(config.model)}",
            f"loss        {words(config.loss)}",
            f"preprocess  {_fit_words(config.preprocess)}, intensity {config.preprocess.intensity}",
            f"augment     {_augment_words(config.augment)}",
            f"train       {train.optimizer}, lr {train.lr:g}, batch {in_words(train.batch_size)}, "
            f"{_length_words(train)}, schedule {schedule}{f', patience {train.patience}' if train.patience else ''}, "
            f"monitor {train.monitor}, seed {train.seed}",
            *(f"{'' if number else 'plan':<12}{one}" for number, one in enumerate(config.plan.decisions)),
        )
    )


def _length_words(train: Train) -> str:
    """How long is trained at most; before the machine was asked that may be open."""
    if train.epochs is None:
        return "as many epochs as the plan finds"
    of = f" of {counted(train.epoch_steps, 'step')}" if train.epoch_steps else ""
    return f"up to {counted(train.epochs, 'epoch')}{of}"


def _fit_words(preprocess: Preprocess) -> str:
    """What becomes of an image's size.

    >>> _fit_words(Preprocess("patch", (64, 64))), _fit_words(Preprocess("native"))
    ('seen in patches of 64 x 64', 'at its own size')
    """
    if not isinstance(preprocess.size, tuple):
        return "at its own size"
    size = " x ".join(map(str, preprocess.size))
    words = {"stretch": "stretched to", "pad": "padded to", "crop": "cropped or padded to", "patch": "seen in patches of"}
    frame = preprocess.frame if isinstance(preprocess.frame, tuple) else (preprocess.frame or 1.0,)
    part = f"the middle {' x '.join(f'{share:.0%}' for share in frame)} " if min(frame) < 1 else ""
    return f"{part}{words[str(preprocess.fit)]} {size}"


def _augment_words(augment: Augment) -> str:
    """The policy, and what is switched on."""
    strengths = {name: getattr(augment, name) for name in AUGMENT_STRENGTHS if getattr(augment, name)}
    if strengths.keys() - {"flip"}:
        strengths["chance"] = augment.chance
    words = ", ".join(f"{name} {in_words(value)}" for name, value in strengths.items())
    return f"{augment.policy}: {words}" if words else augment.policy
