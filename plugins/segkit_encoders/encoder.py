"""Networks of timm as encoders: feature maps by stride, or one pooled vector.

timm makes them for any number of channels and loads ImageNet weights into them; nothing is downloaded unless
`load_pretrained(None)` asks for it.
"""

from __future__ import annotations

import logging
import urllib.request
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor, nn

from segkit.api import SegkitError, UsageError

__all__ = ["Encoder", "Trunk", "source_of", "weights_of"]

HUB = "https://huggingface.co/"
STRIDES = (2, 4, 8, 16, 32)
ALTERNATIVES = "resnet50, resnet18, efficientnet_b0, densenet121, convnext_tiny or swin_tiny_patch4_window7_224"
DILATABLE = "resnet50, resnet18, efficientnet_b0 or convnext_tiny"
ENOUGH = 0.9  # share of an encoder's tensors that a file of weights must hold
CLASSIFIER = 8  # tensors behind the last feature maps that a file of the whole network may hold besides


def weights_of(hub_id: str) -> tuple[str, str]:
    """What a file of timm's weights is called here, and where it is.

    >>> weights_of("timm/resnet50.a1_in1k")
    ('resnet50.a1_in1k.safetensors', 'https://huggingface.co/timm/resnet50.a1_in1k/resolve/main/model.safetensors')
    """
    return f"{hub_id.rpartition('/')[2]}.safetensors", f"{HUB}{hub_id}/resolve/main/model.safetensors"


def source_of(url: str) -> dict[str, Any]:
    """Arguments by which timm.create_model loads the weights at a url of `weights_of`: from the hub's cache, or fetched.

    Raises:
        OSError: they are not there and cannot be fetched; the hub's own client would ask twelve times, with pauses.
    """
    hub_id = url.removeprefix(HUB).partition("/resolve/")[0]
    cached = try_to_load_from_cache(hub_id, "model.safetensors")
    if isinstance(cached, str):
        return {"pretrained": True, "pretrained_cfg_overlay": {"file": cached}}
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10):
        return {"pretrained": True}


class TimmModule(nn.Module):
    """A network of timm.

    Args:
        name: timm's, with or without a tag; a name of a hub or a folder is refused.
        channels: of the image.
        frozen: neither trained nor taken out of eval mode.
        arguments: for timm.create_model.

    Attributes:
        pretrained_file, pretrained_url: the weights that `load_pretrained(None)` asks for; empty where timm has none.
    """

    def __init__(self, name: str, channels: int, frozen: bool, **arguments: Any) -> None:
        super().__init__()
        if not timm.is_model(name):
            names = timm.list_models()
            close = [known for known in names if known.startswith(name)] + get_close_matches(name, names, n=4)
            words = f"Close are {', '.join(dict.fromkeys(close[:6]))}." if close else f"Take {ALTERNATIVES}."
            raise UsageError(f"timm knows no encoder {name!r}.", words)
        self.name, self.channels, self.arguments = name, channels, arguments
        self.net = self._create()
        known = timm.get_pretrained_cfg(name)
        self.pretrained_file, self.pretrained_url = weights_of(known.hf_hub_id) if known and known.hf_hub_id else ("", "")
        self.frozen = frozen
        self.requires_grad_(not frozen)

    def _create(self, **more: Any) -> nn.Module:
        wanted = {"in_chans": self.channels, **self.arguments, **more}
        try:  # the families that fix their image size can be asked not to
            return timm.create_model(self.name, strict_img_size=False, **wanted)  # type: ignore[no-any-return]
        except TypeError:
            return timm.create_model(self.name, **wanted)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> TimmModule:
        super().train(mode and not self.frozen)
        return self

    def load_pretrained(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take over weights of the timm network, from a state dict or (None) from wherever timm gets its own.

        timm renames old names, adapts the first convolution to other channels than 3 and leaves out the classifier. A
        state dict of this very module is taken as it is.

        Raises:
            SegkitError: the state dict is not one of this network.
        """
        own = self.net.state_dict()
        if tensors is not None and _shapes(tensors) == _shapes(own):
            self.net.load_state_dict(tensors)
            return
        given = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(tensors or {})}}
        source = source_of(self.pretrained_url) if tensors is None else given
        log = logging.getLogger("timm.models._builder")
        level = log.level
        log.setLevel(logging.ERROR)  # what is missing or left over is judged below
        try:
            loaded = self._create(**source)
        except (RuntimeError, KeyError) as error:
            if tensors is None:
                raise
            raise SegkitError(f"The weights do not fit the encoder {self.name!r}: {str(error).splitlines()[0]}") from error
        finally:
            log.setLevel(level)
        if tensors is not None:
            self._check(loaded, tensors)
        self.net.load_state_dict(loaded.state_dict())

    def _check(self, loaded: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """timm loads what fits by name and is silent about the rest; so look for the values themselves, on both sides."""
        held, mine = _fingerprints(tensors), _fingerprints(loaded.state_dict())
        missing, left_over = mine - held, held - mine
        if missing.total() > (1 - ENOUGH) * mine.total() or left_over.total() > (1 - ENOUGH) * mine.total() + CLASSIFIER:
            raise SegkitError(
                f"The file holds {(mine & held).total()} of the {mine.total()} tensors of the encoder {self.name!r}, "
                f"and {left_over.total()} of another network's."
            )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _fingerprints(tensors: Mapping[str, Tensor]) -> Counter[tuple[int, float]]:
    """Sizes and sums of the tensors that are no counters: they outlive renaming and reshaping."""
    values = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    return Counter((tensor.numel(), float(tensor.detach().double().sum())) for tensor in values)


def _unfit(name: str, what: str, error: Exception, others: str = ALTERNATIVES) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(f"The encoder {name!r} {what}: {reason}", f"Take {others}.")


class Encoder(TimmModule):
    """(B, channels, H, W) -> feature maps by stride, finest first: {2: ..., 4: ..., 8: ..., 16: ..., 32: ...}.

    Args:
        name, channels, frozen: see TimmModule.
        output_stride: 16 keeps the deepest maps at a sixteenth, by dilation; they are then under 32 all the same.

    Attributes:
        widths: channels by stride. A family without maps at stride 2 (transformers, ConvNeXt) has no entry for it.

    Raises:
        UsageError: timm does not know it, or it has no such maps.
    """

    def __init__(self, name: str, channels: int, frozen: bool = False, output_stride: int = 32) -> None:
        dilation = {} if output_stride == 32 else {"output_stride": output_stride}
        try:
            super().__init__(name, channels, frozen, features_only=True, **dilation)
        except UsageError:
            raise
        except Exception as error:  # each family of timm fails in its own way
            what = "cannot be dilated (output_stride)" if dilation else "cannot be made to give feature maps"
            raise _unfit(name, what, error, DILATABLE if dilation else ALTERNATIVES) from error
        info = self.net.feature_info
        reductions, widths = list(info.reduction()), list(info.channels())
        levels = [(stride, index) for index, stride in enumerate(reductions) if stride in STRIDES]
        if dilation:
            levels[-1] = (32, levels[-1][1])
        self.places = dict(levels)
        self.widths = {stride: int(widths[index]) for stride, index in self.places.items()}
        self.last_axis = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        if not {4, 8, 16, 32} <= set(self.widths) or (dilation and reductions[-1] != output_stride):
            raise UsageError(
                f"The encoder {name!r} has feature maps at strides {', '.join(map(str, reductions))}; "
                "4, 8, 16 and 32 are needed.",
                f"Take {ALTERNATIVES}.",
            )
        self._try()

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        maps = self.net(x)
        if self.last_axis:
            maps = [found.permute(0, 3, 1, 2) for found in maps]
        return {stride: maps[index] for stride, index in self.places.items()}

    def _try(self) -> None:
        """Some families take only images of one size, or round sizes in their own way."""
        mode, deepest = self.training, max(self.net.feature_info.reduction())
        for height, width in ((64, 96), (160, 32)):
            try:
                with torch.no_grad():
                    maps = self.eval()(torch.zeros(1, self.channels, height, width))
            except Exception as error:
                raise _unfit(self.name, "does not take any size", error) from error
            for stride, found in maps.items():
                own = min(stride, deepest)
                if found.shape[1:] != (self.widths[stride], height // own, width // own):
                    words = f"its maps at stride {own} are {tuple(found.shape[2:])} for images of {height} x {width}"
                    raise _unfit(self.name, "does not take any size", ValueError(words))
        self.train(mode)


class Trunk(TimmModule):
    """(B, channels, H, W) -> (B, width), pooled.

    Raises:
        UsageError: timm does not know it, or it takes only images of one size.
    """

    def __init__(self, name: str, channels: int, frozen: bool = False) -> None:
        try:
            super().__init__(name, channels, frozen, num_classes=0)
            with torch.no_grad():
                self.width = int(self.eval()(torch.zeros(1, channels, 64, 96)).shape[1])
        except UsageError:
            raise
        except Exception as error:  # each family of timm fails in its own way
            raise _unfit(name, "does not take any size", error) from error
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]
