"""What a model or its options may offer beyond what is asked of them. Each is found by its name; nothing is registered.

| offered by | name | what it gives |
| --- | --- | --- |
| options | `size` | filled from the preprocessing (`HasSize`) |
| options | `fitted(size, spacing)` | options that fit what the network sees (`FitsImages`) |
| options | `smaller()` | options of a smaller form, for a short training (`HasSmallerForm`) |
| options | `doubts(size)` | notes before training on what suits no image of this size (`HasDoubts`) |
| options | `freeze` | `--freeze-encoder` (`HasFreeze`) |
| module | `encoder.load_pretrained` | `--pretrained imagenet` and `--pretrained FILE` of an encoder (`HasEncoder`) |
| module, or a part of it | `for_export` | another form once weights no longer change (`Exportable`) |
| module | `deep_supervision` | losses at several resolutions (`DeeplySupervised`) |

The classes below say the same to a type checker: `def build(task: Task, options: MyOptions) -> DeeplySupervised`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor, nn


class HasSize(Protocol):
    """Options of a model that must know the image size, such as one with a position embedding.

    Where `size` is None it becomes preprocess.size, one number per axis, and stands in run.toml and in the weights.

    >>> from dataclasses import dataclass
    >>> from segkit.api import option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     size: int | tuple[int, ...] | None = option(None, "image size (auto: preprocess.size)", minimum=16)
    """

    @property
    def size(self) -> int | tuple[int, ...] | None: ...


class FitsImages(Protocol):
    """Options of a model that decides some of them by what it sees, such as how often it halves each axis.

    What it returns stands in run.toml and in the weights. A value that was typed must stay as it is.

    >>> from dataclasses import dataclass, replace
    >>> from segkit.api import option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     depth: int | None = option(None, "how often the size is halved (auto: down to 4 pixels)", minimum=1)
    ...     def fitted(self, size, spacing):
    ...         return self if self.depth else replace(self, depth=(min(size) // 4).bit_length() - 1)
    """

    def fitted(self, size: tuple[int, ...], spacing: tuple[float, ...] | None) -> Self:
        """The options for images of this size, one number per axis; spacing in mm along each, None where not known."""


class HasSmallerForm(Protocol):
    """Options of a model that has a smaller form, whose steps cost less.

    The plan takes it where a training is too short for many steps of the usual one. A value that was typed must stay.

    >>> from dataclasses import dataclass, replace
    >>> from segkit.api import option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     width: int | None = option(None, "feature maps of the top level (auto: 32, or 16 for a short training)")
    ...     def smaller(self):
    ...         return self if self.width else replace(self, width=16)
    """

    def smaller(self) -> Self:
        """The options of the smaller form."""


class HasDoubts(Protocol):
    """Options of a model that may suit the size of the images badly, without being wrong.

    >>> from dataclasses import dataclass
    >>> from segkit.api import option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     window: int = option(7, "side of the attention windows", minimum=1)
    ...     def doubts(self, size):
    ...         wide = self.window > min(size) // 4
    ...         return [f"a window of {self.window} is wider than the map of such images."] if wide else []
    """

    def doubts(self, size: tuple[int, ...]) -> Sequence[str]:
        """What the user should know before training on images that the network sees at this size; whole sentences."""


class HasFreeze(Protocol):
    """Options of a model whose encoder can be kept as it is: `--freeze-encoder` is short for `-o model.freeze=true`.

    The model turns requires_grad off for its encoder and keeps the encoder's batch norm in eval mode.

    >>> from dataclasses import dataclass
    >>> from segkit.api import option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     freeze: bool = option(False, "the encoder is not trained")
    """

    @property
    def freeze(self) -> bool: ...


class PretrainedEncoder(Protocol):
    """An encoder for which there are weights that were trained elsewhere.

    Attributes:
        pretrained_file: name under which segkit looks for them in its cache first.
        pretrained_url: where they come from, for a machine without a network; empty where there are none.

    >>> class MyEncoder:  # a torch.nn.Module
    ...     pretrained_file, pretrained_url = "my-encoder.safetensors", "https://example.org/my-encoder.safetensors"
    ...     def load_pretrained(self, tensors):
    ...         self.load_state_dict(tensors if tensors is not None else fetch(self.pretrained_url))
    """

    pretrained_file: str
    pretrained_url: str

    def load_pretrained(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Fill it with a state dict, by the names of its origin, for any number of channels; None: fetch its own."""


class HasEncoder(Protocol):
    """A model with such an encoder, under the name `encoder`.

    >>> class MyNet:  # a torch.nn.Module
    ...     def __init__(self, encoder):
    ...         self.encoder = encoder
    """

    encoder: Any  # a PretrainedEncoder, which a type checker cannot see through nn.Module


class Exportable(Protocol):
    """A module, or a part of one, that has another form for export: merged kernels, a table in the place of a circuit.

    It is asked of a copy in eval mode; what it returns takes its place and must give the same values.

    >>> class Doubled:  # a torch.nn.Module
    ...     def for_export(self):
    ...         return self.folded()
    """

    def for_export(self) -> nn.Module:
        """What takes its place."""


class DeeplySupervised(Protocol):
    """A model that gives logits at several resolutions, so that its deeper levels learn from the loss directly.

    `deep_supervision` is False as built, and training sets it to True. Then, in training mode only, forward returns a
    sequence of logits, (B, K, *S) first, then the coarser ones, each at its own resolution. In eval mode, and whenever it is
    False, it returns one tensor. Training resizes the coarser logits to the targets' grid and weighs the losses 1, 1/2,
    1/4, ..., divided by their sum (nnU-Net, Isensee 2021).

    >>> class MyNet:  # a torch.nn.Module
    ...     deep_supervision = False
    ...     def forward(self, images):
    ...         fine, coarse = self.levels(images)  # (B, K, H, W), (B, K, H / 2, W / 2)
    ...         return [fine, coarse] if self.training and self.deep_supervision else fine
    """

    deep_supervision: bool
