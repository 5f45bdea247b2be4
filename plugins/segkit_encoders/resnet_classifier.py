"""The classical twin of the quantum classifier (Baizhan, section 3.1.2): a pooled trunk and two fully connected layers."""

from __future__ import annotations

from torch import Tensor, nn

from segkit.api import Task
from segkit_encoders.encoder import Trunk
from segkit_encoders.plugin import ResNetClassifierOptions


class ResNetClassifier(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs)."""

    def __init__(self, task: Task, options: ResNetClassifierOptions) -> None:
        super().__init__()
        self.encoder = Trunk(options.encoder, task.channels, options.freeze)
        width, hidden = self.encoder.width, options.hidden
        if options.head_parameters is not None:  # (width + 1) * hidden + (hidden + 1) * outputs of them
            hidden = max(1, round((options.head_parameters - task.outputs) / (width + 1 + task.outputs)))
        self.head = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(options.dropout), nn.Linear(hidden, task.outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))  # type: ignore[no-any-return]


def build(task: Task, options: ResNetClassifierOptions) -> nn.Module:
    return ResNetClassifier(task, options)
