"""The settings of a run, one frozen dataclass per section; `-o SECTION.KEY=VALUE` sets any of them.

None means "chosen later from the data or from another setting"; run.toml holds what was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.durations import seconds_of
from segkit.options import option


@dataclass(frozen=True)
class Preprocess:
    """From a stored image to what the network sees, as data: travels in the weights file, undone after prediction."""

    fit: Literal["stretch", "pad", "crop", "native", "patch"] | None = option(
        None,
        "stretch to size; pad: scale keeping the aspect, then pad; crop: cut or pad the centre; native: as it is; "
        "patch: as it is, seen through windows of size",
    )
    size: int | tuple[int, ...] | None = option(None, "pixels along each axis the network sees (height,width)", minimum=1)
    spacing: float | tuple[float, ...] | None = option(
        None, "resample to this spacing first, mm along each axis", minimum=0.001
    )
    frame: float | tuple[float, ...] | None = option(
        None,
        "the middle part of the image that is seen with fit=stretch or pad, as a share of each side; auto: all of it, "
        "in a short training less, where no training mask reaches further",
        minimum=0.05,
        maximum=1,
    )
    slices: bool | None = option(
        None,
        "a model of images and volumes sees volumes slice by slice; auto: where one axis is much coarser than the others",
    )
    slice_axis: Literal[0, 1, 2] | None = option(
        None, "which axis of a volume 2D models take slices along; auto: the one of largest spacing, else the last"
    )
    intensity: (
        Literal["scale255", "zscore", "minmax", "percentile", "max", "range", "imagenet", "encoder", "none"] | None
    ) = option(
        None,
        "scale255: / 255 (16 bit: / 65535); zscore, minmax, max: by the image's own values, per channel; "
        "percentile: clip to the 0.5th and 99.5th, then minmax; range: clip to preprocess.range, then 0 to 1; imagenet, "
        "encoder: its mean and std",
    )
    range: tuple[float, ...] | None = option(None, "low and high of intensity=range, such as -160,240 for soft tissue in CT")
    intensity_per: Literal["case", "slice"] = option("case", "slice: volumes are normalised slice by slice")
    mean: tuple[float, ...] | None = option(None, "of each channel, for intensity=encoder; taken from timm if not given")
    std: tuple[float, ...] | None = option(None, "of each channel, for intensity=encoder; taken from timm if not given")


@dataclass(frozen=True)
class Augment:
    """Random changes of training images; drawn from the seed, the epoch and the case, so workers do not matter."""

    policy: Literal["none", "light", "standard"] = option("standard", "light: flips; standard: all of these")
    flip: float | tuple[float, ...] | None = option(
        None,
        "probability of a flip along each axis the network sees; one number for all, or one for each axis",
        minimum=0,
        maximum=1,
    )
    rotate: float | None = option(None, "largest rotation in degrees (3D: about each axis)", minimum=0, maximum=180)
    scale: float | None = option(None, "largest change of size: 0.2 is between 1/1.2 and 1.2", minimum=0, maximum=9)
    elastic: float | None = option(
        None,
        "largest displacement, as a share of the side; above 0.4 / (elastic_grid - 3) parts may fold",
        minimum=0,
        maximum=0.5,
    )
    brightness: float | None = option(None, "largest shift, in standard deviations of the image", minimum=0)
    contrast: float | None = option(None, "largest change of contrast: 0.2 is between 1/1.2 and 1.2", minimum=0, maximum=9)
    gamma: float | None = option(None, "largest change of the exponent: 0.2 is between 1/1.2 and 1.2", minimum=0, maximum=9)
    noise: float | None = option(None, "largest noise, in standard deviations of the image", minimum=0)
    blur: float | None = option(None, "largest standard deviation of a Gaussian blur, in pixels", minimum=0, maximum=20)
    chance: float = option(0.3, "probability of each of these per case (flips have their own)", minimum=0, maximum=1)
    elastic_grid: int = option(7, "control points of elastic along each axis: more give finer bends", minimum=4, maximum=32)


@dataclass(frozen=True)
class Split:
    """Who is trained on, who is validated on, who is tested on. A group (patient, sequence) is never torn."""

    by: Literal["auto", "group", "case", "official"] = option(
        "auto", "auto: official where the dataset states one, else group"
    )
    val: float = option(0.15, "share of the cases for validation", minimum=0, maximum=0.9)
    test: float = option(0.15, "share of the cases for the test", minimum=0, maximum=0.9)
    seed: int | None = option(None, "seed of the shuffle (default: train.seed)", minimum=0)
    folds: int | None = option(None, "cross-validation: this many parts, one of which is the test subset", minimum=2)
    fold: int = option(0, "which part, counted from 0", minimum=0)
    allow_leak: bool = option(False, "accept that a group is in two subsets; written into the run")

    def __post_init__(self) -> None:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val:g} and test {self.test:g} leave nothing to train on")
        if self.fold and not self.folds:
            raise ValueError(f"fold {self.fold} was asked for, but no folds are made; --folds 5 makes five")
        if self.folds and self.fold >= self.folds:
            raise ValueError(
                f"fold {self.fold} of {self.folds} folds does not exist; they are counted from 0 to {self.folds - 1}"
            )
        if self.folds and self.by == "official":
            raise ValueError("folds and an official split exclude each other")


@dataclass(frozen=True)
class Train:
    """The training itself."""

    epochs: int | None = option(
        None, "passes over the training cases, or rounds of epoch_steps; each ends with a validation", minimum=1
    )
    epoch_steps: int | None = option(
        None, "steps of an epoch, which may be less or more than one pass; auto: one pass over the training cases", minimum=1
    )
    batch_size: int | None = option(None, "cases per step, over all processes", minimum=1)
    lr: float | None = option(None, "learning rate; auto: the one that suits the model, 0.01 for sgd", minimum=0)
    optimizer: Literal["adam", "adamw", "sgd"] = option("adamw", "optimiser")
    weight_decay: float = option(1e-4, "decoupled for adamw, L2 for adam and sgd", minimum=0)
    eps: float = option(1e-8, "epsilon of adam and adamw (Keras: 1e-7)", minimum=0)
    momentum: float = option(0.9, "of sgd", minimum=0, maximum=1)
    nesterov: bool = option(False, "of sgd")
    schedule: Literal["plateau", "cosine", "poly", "one-cycle", "step", "none"] = option(
        "one-cycle", "learning rate schedule; plateau: lower the rate when monitor stops improving"
    )
    plateau_factor: float = option(0.3, "factor by which plateau lowers the rate", minimum=0, maximum=0.99)
    plateau_patience: int = option(10, "epochs without improvement after which plateau lowers the rate (0 as 1)", minimum=0)
    min_delta: float = option(1e-4, "a smaller change of monitor is no improvement for plateau", minimum=0)
    poly_power: float = option(0.9, "of schedule=poly", minimum=0)
    step_every: int = option(30, "epochs, of schedule=step", minimum=1)
    step_factor: float = option(0.1, "of schedule=step", minimum=0, maximum=1)
    warmup: float = option(0.0, "epochs in which the rate rises to lr, step by step", minimum=0)
    min_lr: float = option(1e-6, "the rate is not lowered below this", minimum=0)
    accumulate: int = option(1, "batches whose gradients are added up for one step", minimum=1)
    clip: float = option(0.0, "largest norm of the gradient; 0: no clipping", minimum=0)
    ema: float = option(
        0.0, "keep a moving average of the weights with this decay and use it; 0: no", minimum=0, maximum=0.99999
    )
    time: str | None = option(
        None,
        "wall time that all may take, such as 90s, 10m, 2h or 1h30m: preparation, training and validation; the schedule "
        "ends with it, epochs are an upper limit; auto: no limit. With --resume: this long from then on",
    )
    save_minutes: float = option(30.0, "minutes between two saves within an epoch; 0: at its end only", minimum=0)
    patience: int | None = option(
        None,
        "epochs without improvement before training stops; 0: never; auto: 30, never where the schedule has an end",
        minimum=0,
    )
    batch_norm: Literal["refreshed", "running"] = option(
        "refreshed",
        "statistics that are validated and kept. refreshed: taken anew over batches of the epoch; running: as they followed",
    )
    monitor: str = option(
        "auto",
        "validation value that decides best weights, plateau and early stopping: loss, a metric, or METRIC/CLASS; "
        "auto: the task's first default metric, over the foreground classes",
    )
    smoothing: float = option(
        0.5,
        "of monitor, for best weights alone: the share of its value so far that a new epoch leaves (nnU-Net: 0.9); 0: none",
        minimum=0,
        maximum=0.99,
    )
    seed: int = option(0, "decides split, initialisation, order and augmentation", minimum=0, maximum=2**32 - 1)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "auto: fp32 on CPUs, bf16 or fp16 on GPUs")
    layout: Literal["auto", "contiguous", "channels-last"] = option(
        "auto", "how images lie in memory; auto: what is faster on this machine"
    )
    pretrained: str = option("none", "weights to start from: imagenet (for the encoder), a file, or none")
    deep_supervision: bool = option(True, "the loss sees several resolutions, of models that offer them")
    checkpointing: bool = option(False, "less memory, more time: blocks compute their activations again for the gradient")
    compile: bool = option(False, "torch.compile: slow first steps, then faster ones")
    deterministic: bool = option(False, "ask torch for deterministic kernels: slower, but reproducible on GPUs too")
    workers: int | None = option(
        None, "data loading processes per training process; auto: none on a CPU, up to 4 for a GPU", minimum=0
    )
    skip_bad: bool = option(False, "leave out cases that cannot be read, and name them")
    foreground: float | None = option(
        None,
        "share of patches laid around a voxel of a class, or of slices that hold one, each class as often; the rest is "
        "drawn from all; auto: 0.33 of patches, slices as they come",
        minimum=0,
        maximum=1,
    )
    tracker: Literal["none", "tensorboard", "mlflow", "wandb"] = option("none", "also send figures to this tracker")
    validate: bool = option(True, "score the validation subset after each epoch")

    def __post_init__(self) -> None:
        if self.time is not None:
            try:
                seconds_of(self.time)
            except ValueError as error:
                raise ValueError(f"time = {error}") from None


BY_LENGTH = ("cosine", "poly", "one-cycle")  # schedules that go by the number of steps, and end with it
AUGMENT_STRENGTHS = ("flip", "rotate", "scale", "elastic", "brightness", "contrast", "gamma", "noise", "blur")
AUGMENT_POLICIES: dict[str, dict[str, float]] = {
    "none": dict.fromkeys(AUGMENT_STRENGTHS, 0.0),
    "light": {**dict.fromkeys(AUGMENT_STRENGTHS, 0.0), "flip": 0.5},
    "standard": {
        "flip": 0.5,
        "rotate": 60.0,
        "scale": 0.35,
        "elastic": 0.05,
        "brightness": 0.3,
        "contrast": 0.25,
        "gamma": 0.3,
        "noise": 0.2,
        "blur": 1.0,
    },
}

OF_VOLUMES = {"rotate": 15.0, "scale": 0.2}  # in the standard policy of volumes: bodies lie alike in them


def strengths_of(policy: str, dims: int) -> dict[str, float]:
    """What an augmentation policy means for a network of 2 or 3 dimensions."""
    strengths = AUGMENT_POLICIES[policy]
    return strengths | (OF_VOLUMES if dims == 3 and strengths["rotate"] else {})


SECTIONS: dict[str, type] = {"preprocess": Preprocess, "augment": Augment, "split": Split, "train": Train}
