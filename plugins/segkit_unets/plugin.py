"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from segkit.api import ModelSpec, hookimpl, option

Norm = Literal["batch", "instance", "group", "none"]
Activation = Literal["relu", "leaky-relu", "elu", "prelu", "prelu-layer"]
Initialisation = Literal["torch", "keras", "keras-he-normal", "keras-he-uniform"]
Place = Literal["encoder", "bottleneck", "decoder"]

SUPPORTS = ("mixed-precision", "channels-last", "compile", "checkpointing")
EXPORTS = ("onnx", "torch-export")
WIDTH = "feature maps of the first level; each level below has twice as many"
DEPTH = "how often the size is halved"
NORM = "after each 3x3 convolution"
ACTIVATION = "prelu: a slope per channel; prelu-layer: one per layer"
INIT = (
    "keras: Glorot-uniform kernels, keras-he-normal and keras-he-uniform: He's; all three with zero bias and batch norm "
    "with eps 1e-3, momentum 0.01, as in the papers"
)


SMALLEST, DEEPEST = 4, 6  # pixels along each side of the deepest level, and levels below the first (nnU-Net)
USUAL_DEPTH = 4  # where no image size is known
USUAL_WIDTH, USUAL_BLOCKS = 32, (1, 2)


@dataclass(frozen=True)
class VariantOptions:
    """Ehab & Li's forms; the defaults reach their parameter counts."""

    width: int = option(64, WIDTH, minimum=1)
    depth: int = option(4, DEPTH, minimum=1, maximum=8)
    init: Initialisation = option("torch", INIT)


@dataclass(frozen=True)
class UNetOptions:
    """The defaults are Ehab & Li's form. The other papers' forms, for as many channels and classes as they have:

    Müller & Wolf   upsample=nearest-conv head_norm=false
    Vaona           upsample=transposed head_norm=false bias=false dropout=0.3
    Keller          upsample=nearest-conv head_norm=false norm=none dropout=0.2 width=32 init=keras-he-normal
    """

    width: int = option(64, WIDTH, minimum=1)
    depth: int = option(4, DEPTH, minimum=1, maximum=8)
    upsample: Literal["nearest", "transposed", "nearest-conv"] = option(
        "nearest", "nearest: no parameters; transposed: 2x2, halves the maps; nearest-conv: nearest, then a 2x2 convolution"
    )
    norm: Norm = option("batch", NORM)
    head_norm: bool = option(True, "a batch norm after the last convolution")
    activation: Activation = option("relu", ACTIVATION)
    bias: bool = option(True, "a bias also in convolutions that a norm follows")
    dropout: float = option(0.0, "probability, after the blocks named by dropout_at", minimum=0, maximum=0.95)
    dropout_at: tuple[Place, ...] = option(("bottleneck",), "which blocks")
    init: Initialisation = option("torch", INIT)


@dataclass(frozen=True)
class UNet3DOptions:
    """The form of Baizhan's 3D U-Net; init=keras-he-uniform is its initialisation."""

    width: int = option(16, WIDTH, minimum=1)
    depth: int = option(4, DEPTH, minimum=1, maximum=8)
    norm: Norm = option("none", NORM)
    activation: Activation = option("relu", ACTIVATION)
    dropout: tuple[float, ...] = option(
        (0.1, 0.1, 0.2, 0.2, 0.3),
        "between the two convolutions, by level from the top; the last number holds for the levels below",
        minimum=0,
        maximum=0.95,
    )
    init: Initialisation = option("torch", INIT)


@dataclass(frozen=True)
class ResEncUNetOptions:
    """Isensee's residual-encoder U-Net; nnU-Net's M form is width=32, blocks=1,3,4,6,6,6."""

    width: int | None = option(None, f"{WIDTH}; auto: 32; 16 in short trainings", minimum=1)
    max_width: int = option(320, "no level has more feature maps", minimum=1)
    depth: tuple[int, ...] | None = option(
        None,
        "how often the size is halved: one number, or one for each axis; auto: down to 4 pixels, coarse axes later and less",
        minimum=0,
        maximum=8,
    )
    flat: tuple[int, ...] = option(
        (0,),
        "uppermost levels in which an axis is neither halved nor convolved, for axes of coarse spacing: one number, or one "
        "for each axis",
        minimum=0,
        maximum=8,
    )
    blocks: tuple[int, ...] | None = option(
        None,
        "residual blocks by level from the top; the last number holds for the levels below; auto: 1,2; 1 in short trainings",
        minimum=1,
    )
    norm: Norm = option("instance", NORM)
    activation: Activation = option("leaky-relu", ACTIVATION)
    dropout: float = option(
        0.0, "probability that a whole feature map is left out, after each level", minimum=0, maximum=0.95
    )

    def __post_init__(self) -> None:
        empty = next((key for key in ("depth", "flat", "blocks") if getattr(self, key) == ()), None)
        if empty:
            raise ValueError(f"{empty} has no number")
        depth, flat = len(self.depth or (USUAL_DEPTH,)), len(self.flat)
        if depth != flat and 1 not in (depth, flat):
            raise ValueError(f"depth has {depth} numbers and flat {flat}; each takes one number, or one for each axis")

    def fitted(self, size: tuple[int, ...], spacing: tuple[float, ...] | None) -> ResEncUNetOptions:
        """Depth and flat by the size that the network sees, and the spacing along each axis (nnU-Net, Isensee 2021)."""
        chosen = self._filled(USUAL_WIDTH, USUAL_BLOCKS)
        if self.depth is not None:
            return chosen
        depth, flat = levels_of(size, spacing or (1.0,) * len(size))
        return replace(chosen, depth=depth, flat=flat if self.flat == (0,) else self.flat)

    def smaller(self) -> ResEncUNetOptions:
        """The form for a short training: more and cheaper steps."""
        return self._filled(16, (1,))

    def _filled(self, width: int, blocks: tuple[int, ...]) -> ResEncUNetOptions:
        return replace(self, width=self.width or width, blocks=self.blocks or blocks)


class HasDepth(Protocol):
    @property
    def depth(self) -> int: ...


class HasNorm(HasDepth, Protocol):
    @property
    def norm(self) -> str: ...


def halvings(options: HasDepth) -> int:
    return int(2**options.depth)


def least(options: HasNorm) -> int:
    """Norms over one image need two pixels at the deepest level."""
    return 2 * halvings(options) if options.norm in ("instance", "group") else 1


def levels_of(size: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How often each axis is halved, and in how many uppermost levels it is left alone.

    An axis is halved while at least `SMALLEST` pixels are left, and not before the spacing of the others comes within a
    factor of two of its own.

    >>> levels_of((160, 160, 16), (1.5, 1.5, 10.0))
    ((5, 5, 2), (0, 0, 2))
    """
    sides, steps, depth, flat = list(size), list(spacing), [0] * len(size), [0] * len(size)
    for _ in range(DEEPEST):
        finest = min(step for step, side in zip(steps, sides, strict=True) if side >= 2 * SMALLEST or step == min(steps))
        halved = [side >= 2 * SMALLEST and step < 2 * finest for side, step in zip(sides, steps, strict=True)]
        if not any(halved):
            break
        for axis, now in enumerate(halved):
            if now:
                sides[axis], steps[axis], depth[axis] = (sides[axis] + 1) // 2, steps[axis] * 2, depth[axis] + 1
            elif not depth[axis]:
                flat[axis] += 1
    return tuple(depth), tuple(own if halved else 0 for own, halved in zip(flat, depth, strict=True))


def halvings_by_axis(options: ResEncUNetOptions) -> int | tuple[int, ...]:
    factors = tuple(int(2**depth) for depth in options.depth or (USUAL_DEPTH,))
    axes = max(len(factors), len(options.flat))
    return factors[0] if axes == 1 else factors if len(factors) > 1 else factors * axes


def least_by_axis(options: ResEncUNetOptions) -> int:
    """Two pixels along one axis are enough for a norm over one image."""
    return 2 * int(2 ** min(options.depth or (USUAL_DEPTH,))) if options.norm in ("instance", "group") else 1


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "unet",
            "U-Net: two 3x3 convolutions a level, nearest up-sampling (Ehab & Li, after Ronneberger 2015)",
            target="segkit_unets.unet:build",
            options=UNetOptions,
            stride=halvings,
            minimum=least,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "resunet",
            "U-Net with a projected shortcut around each pair of convolutions (Ehab & Li)",
            target="segkit_unets.resunet:build",
            options=VariantOptions,
            stride=halvings,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "attention-unet",
            "U-Net whose skips pass attention gates (Baizhan, after Oktay 2018)",
            target="segkit_unets.attention:build",
            options=VariantOptions,
            stride=halvings,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "attention-resunet",
            "attention U-Net of residual blocks (Ehab & Li)",
            target="segkit_unets.attention:build_residual",
            options=VariantOptions,
            stride=halvings,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "unet3d",
            "3D U-Net: two 3x3x3 convolutions a level, transposed up-sampling (Baizhan, after Çiçek 2016)",
            target="segkit_unets.unet3d:build",
            options=UNet3DOptions,
            dims=(3,),
            stride=halvings,
            minimum=least,
            supports=("mixed-precision", "compile", "checkpointing"),
            exports=EXPORTS,
        ),
        ModelSpec(
            "resenc-unet",
            "U-Net with a residual encoder, for images and volumes (Isensee 2024, nnU-Net ResEnc)",
            target="segkit_unets.resenc:build",
            options=ResEncUNetOptions,
            dims=(2, 3),
            stride=halvings_by_axis,
            minimum=least_by_axis,
            supports=SUPPORTS,
            exports=EXPORTS,
            default=True,
            learning_rate=1e-2,
        ),
    ]
