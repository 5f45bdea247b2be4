"""The intensities that a pretrained encoder was trained with, asked of timm and written into the record."""

from __future__ import annotations

import dataclasses

from segkit.config import Config
from segkit.errors import UsageError


def fill_statistics(config: Config, channels: int) -> Config:
    """For intensity=encoder: put the mean and std of the model's encoder into the preprocessing record.

    Images of other than three channels are no colours: each channel gets the mean over the encoder's.

    Raises:
        UsageError: the model has no option `encoder`, or timm does not know the encoder.
    """
    if config.preprocess.intensity != "encoder" or config.preprocess.mean is not None:
        return config
    encoder = getattr(config.model.options, "encoder", None)
    if encoder is None:
        raise UsageError(
            f"preprocess.intensity=encoder: the model {config.model.name} has no option 'encoder'.",
            "Type -o preprocess.intensity=imagenet or another.",
        )
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(str(encoder))
    if known is None:
        raise UsageError(f"timm knows no pretrained encoder {encoder!r}.", "-o preprocess.intensity=imagenet")
    mean, std = (tuple(float(value) for value in values) for values in (known.mean, known.std))
    if channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return dataclasses.replace(config, preprocess=dataclasses.replace(config.preprocess, mean=mean, std=std))
