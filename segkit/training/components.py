"""The pieces of a training, assembled: model, loss, metrics, optimiser, on their device and in their precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn

from segkit import distributed
from segkit.config.complete import Config
from segkit.errors import SegkitError, UsageError
from segkit.evaluation.aggregate import build_metrics
from segkit.inference.network import Network
from segkit.models.activation_checkpointing import checkpoint_blocks
from segkit.models.build import build_model, check_logits, offers_deep_supervision, padded_levels, plugin_errors
from segkit.models.device import layout, to_device
from segkit.models.pretrained import start_from
from segkit.task import Metric, Task
from segkit.training.loss import is_of_the_machine, loss_value
from segkit.training.optim import build_optimizer


@dataclass(frozen=True)
class TrainingComponents:
    """The pieces of a training.

    Args:
        config: complete.
        task: what the model learns.
        mask_task: what the masks say; another one where a classification is learned from masks.
        average: moving average of the weights, which is validated and kept then; None without.
    """

    config: Config
    task: Task
    mask_task: Task
    device: torch.device
    accelerator: Accelerator
    model: nn.Module
    average: nn.Module | None
    criterion: nn.Module
    metrics: Mapping[str, Metric]
    optimizer: torch.optim.Optimizer

    @property
    def eval_model(self) -> nn.Module:
        """What is validated and kept; not wrapped for DDP: processes may validate unequal numbers of cases."""
        model: nn.Module = self.accelerator.unwrap_model(self.model)
        return model if self.average is None else self.average

    def targets(self, masks: Tensor) -> Tensor:
        """What the model learns of (B, ...) masks: these; of a classification (B,), 1 where there is any foreground."""
        if self.task == self.mask_task:
            return masks
        ignored = self.mask_task.ignore_index
        found = (masks != 0) if ignored is None else (masks != 0) & (masks != ignored)
        return found.flatten(1).any(dim=1).long()

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(one.numel() for one in self.eval_model.parameters() if one.requires_grad)

    def logits(self, images: Tensor, model: nn.Module | None = None) -> Tensor:
        """(B, C, *S) of any size -> (B, K, *S) in float32."""
        return self.levels(images, model)[0]

    def levels(self, images: Tensor, model: nn.Module | None = None) -> list[Tensor]:
        """As `logits`; with deep supervision those of every resolution, the finest first, all resized to *S."""
        spec, options = self.config.model.spec, self.config.model.options
        with plugin_errors(self.config.model.name, images):
            strides, minimum = spec.strides(options, self.config.dims), spec.minimum_size(options)
            found = padded_levels(model or self.model, layout(images, spec, self.config.train.layout), strides, minimum)
            return [check_logits(logits, images, self.task).float() for logits in found]

    def loss(self, levels: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The loss of all resolutions, weighted 1, 1/2, 1/4, ... and divided by their sum (nnU-Net, Isensee 2021).

        Raises:
            SegkitError: the loss does not keep its contract, or nothing connects the logits with the weights.
        """
        if torch.is_grad_enabled() and not any(logits.requires_grad for logits in levels):
            raise SegkitError(
                f"The logits of the model {self.config.model.name} are detached from its weights: nothing would be learned.",
                "Its forward must not use .detach(), .data, torch.no_grad() or NumPy on the way from its weights.",
            )
        weights = [0.5**number for number in range(len(levels))]
        losses = [
            weight * loss_value(self.criterion, self.config.loss.name, logits, targets)
            for weight, logits in zip(weights, levels, strict=True)
        ]
        return torch.stack(losses).sum() / sum(weights)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients. Raises SegkitError where the code of model or loss does not allow it."""
        try:
            self.accelerator.backward(loss)
        except RuntimeError as error:
            if is_of_the_machine(error):
                raise
            names = f"the model {self.config.model.name} and the loss {self.config.loss.name}"
            raise SegkitError(
                f"The gradients of {names} cannot be computed: {type(error).__name__}: {error}",
                "One of them changes in place what its gradient needs, or has a backward of its own that fails; "
                "--debug shows the traceback.",
            ) from error

    def network(self) -> Network:
        """What is validated, as inference sees it."""

        def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode(), self.accelerator.autocast():
                return self.logits(torch.from_numpy(batch).to(self.device), self.eval_model).cpu().numpy()

        batch = -(-(self.config.train.batch_size or 1) // distributed.world_size())
        return Network(forward, self.config.dims, self.task, self.config.preprocess, batch)

    def share_statistics(self) -> None:
        """Give all processes the main one's running statistics (of batch norm), so that they validate the same model."""
        if distributed.world_size() > 1:
            for buffer in self.eval_model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def tensors(self) -> dict[str, Tensor]:
        """The weights that are validated and kept, by name."""
        if self.average is not None:
            return dict(self.average.module.state_dict())  # type: ignore[union-attr]
        return dict(self.accelerator.unwrap_model(self.model).state_dict())


def assemble(config: Config, data: Task, device: torch.device, alone: bool = False) -> TrainingComponents:
    """Make and connect everything; the weights are drawn from torch's random state.

    Args:
        config: complete.
        data: the dataset's task.
        device: where it is trained.
        alone: without batch norm over all processes, for steps that each of them tries by itself.

    Raises:
        UsageError: a precision that the device does not have.
    """
    task, spec, settings = data.learned_by(config.model.spec.kind), config.model.spec, config.train
    # what an earlier training left refuses another precision
    AcceleratorState._reset_state(reset_partial_state=distributed.world_size() == 1)
    with distributed.own_environment():
        precision = {"fp32": "no"}.get(usual := usual_precision(config, device), usual)
        accelerator = Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
    model = build_model(config.model, task, config.dims)
    start_from(model, config.model.name, settings.pretrained)
    if settings.deep_supervision and offers_deep_supervision(model):
        model.deep_supervision = True  # type: ignore[assignment]
    if distributed.world_size() > 1 and device.type == "cuda" and not alone:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model = to_device(model, device, config.dims, spec, settings.layout)
    average = None
    if settings.ema:
        mean = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=mean, use_buffers=True)
    if settings.checkpointing:
        checkpoint_blocks(model)
    criterion = config.loss.make(task)
    if not isinstance(criterion, nn.Module):
        raise SegkitError(f"The loss {config.loss.name} is not a torch.nn.Module but a {type(criterion).__name__}.")
    metrics = build_metrics(config.metrics, task)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, settings, fused=device.type in ("cpu", "cuda")))
    if settings.compile:
        model.compile()
    if distributed.world_size() > 1:  # the same weights, but random numbers of its own for each process
        torch.manual_seed(settings.seed + distributed.rank())
    return TrainingComponents(
        config, task, data, device, accelerator, model, average, criterion.to(device), metrics, optimizer
    )


def usual_precision(config: Config, device: torch.device) -> str:
    """The precision as set; for auto, what a device is known to be fast with.

    Raises:
        UsageError: the device does not have it.
    """
    if config.train.precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU.", "On the CPU: --precision bf16 or fp32.")
    if config.train.precision != "auto":
        return config.train.precision
    if device.type != "cuda" or "mixed-precision" not in config.model.spec.supports:
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
