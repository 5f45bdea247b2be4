"""The constants of Keras, in which the papers' models were written; torch's own are the default everywhere."""

from __future__ import annotations

import math

from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CUT = 0.87962566103423978  # standard deviation of a normal distribution cut off at two of its own


def initialise(model: nn.Module, scheme: str) -> nn.Module:
    """Kernels by name, zero biases, batch norm with eps 1e-3 and momentum 0.99 (torch counts it as 0.01).

    With that momentum a short training evaluates badly while the running statistics are cold.

    Args:
        model: changed in place.
        scheme: keras (Glorot-uniform, Keras' default), keras-he-normal, keras-he-uniform, or torch (nothing is changed).
    """
    if scheme == "torch":
        return model
    kernel = {"keras": nn.init.xavier_uniform_, "keras-he-normal": _he_normal, "keras-he-uniform": _he_uniform}[scheme]
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            kernel(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.eps, module.momentum = 1e-3, 0.01
    return model


def _he_normal(weight: Tensor) -> Tensor:
    """Standard deviation sqrt(2 / fan in), cut at two of it, as Keras draws it (He 2015)."""
    deviation = math.sqrt(2 / weight[0].numel()) / CUT
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def _he_uniform(weight: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(weight, nonlinearity="relu")
