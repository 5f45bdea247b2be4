"""The constants of Keras, in which the papers' models were written; torch's own are the default everywhere."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def keras_constants(model: nn.Module) -> nn.Module:
    """Glorot-uniform kernels, zero biases, batch norm with eps 1e-3 and momentum 0.99 (torch counts it as 0.01).

    With that momentum a short training evaluates badly while the running statistics are cold.
    """
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.eps, module.momentum = 1e-3, 0.01
    return model
