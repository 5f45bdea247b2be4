"""What every model must do, shown on small inputs and four phantoms."""

from __future__ import annotations

import itertools
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit import plugins
from segkit.config.complete import check_features
from segkit.config.resolve import Choice
from segkit.data.reading import open_dataset
from segkit.errors import UsageError
from segkit.evaluation.confusion import overlap, tabulate
from segkit.exporting import export
from segkit.inference.probabilities import presence_of
from segkit.models.activation_checkpointing import checkpoint_blocks
from segkit.models.build import build_model, load_model, offers_deep_supervision, padded
from segkit.models.device import layout, to_device
from segkit.options import build
from segkit.runs.weights import build_header, save_weights
from segkit.settings import Preprocess, Train
from segkit.specs import FEATURES, FORMATS
from segkit.task import Task
from segkit.testing.contract import Contract, named

TRIED = (1, 2, 4, 8, 16, 32, 64)  # strides and smallest sizes that are proposed
ODD = 65  # its next multiple of each stride is none of the stride after
SETTINGS: dict[str, dict[str, Any]] = {
    "mixed-precision": {"precision": "bf16"},
    "compile": {"compile": True},
    "checkpointing": {"checkpointing": True},
}


class ModelContract(Contract):
    """Subclass it, set `name` and options that make the model small, and pytest runs it.

    Attributes:
        name: the model's spec name, bare or full.
        options: options it is made with.
        free_size: formats in which its exported file takes images of any size; the others are made for one.
        size: side of the images it is tried on; a multiple of its stride.
        dims: numbers of spatial axes it is tried with, where the options do not suit all that it takes; None: all.
        lr, steps: by which it learns four phantoms by heart.
    """

    group = "models"
    free_size: ClassVar[tuple[str, ...]] = tuple(FORMATS)
    size: ClassVar[int] = 32
    dims: ClassVar[tuple[int, ...] | None] = None
    lr: ClassVar[float] = 5e-3
    steps: ClassVar[int] = 200

    @pytest.fixture(autouse=True)
    def _same_everywhere(self) -> None:
        torch.manual_seed(0)

    def task(self, choice: Choice, channels: int = 3, classes: int = 2) -> Task:
        names = ("background", *(f"class-{index}" for index in range(1, classes)))
        task = Task(
            channels, names, dims=max(self.dims or choice.spec.dims), mode="binary" if classes == 2 else "multiclass"
        )
        return task.learned_by(choice.spec.kind)

    def images(self, task: Task, *sides: int, batch: int = 2) -> Tensor:
        return torch.randn(batch, task.channels, *(sides or (self.size,) * task.dims))

    def run(self, choice: Choice, model: nn.Module, images: Tensor) -> Tensor:
        """As the engine runs it; where sizes do not match, what the spec does not say is proposed."""
        strides, minimum = self.strides(choice, images.ndim - 2), choice.spec.minimum_size(choice.options)
        try:
            logits = padded(model, images, strides, minimum)
        except Exception as error:
            proposed = self.propose(model, images, strides, minimum)
            if not proposed:
                raise
            size = " x ".join(map(str, images.shape[2:]))
            raise AssertionError(
                f"images of {size} do not go through: {error}\n{proposed} in its spec would help"
            ) from error
        assert isinstance(logits, Tensor), f"the model gave {named(logits)}; one tensor of logits was expected"
        return logits

    def propose(self, model: nn.Module, images: Tensor, strides: tuple[int, ...], minimum: int) -> str:
        """The smallest stride or minimum with which such images go through; empty where none does."""
        large = images.new_zeros((len(images), images.shape[1], *(ODD,) * (images.ndim - 2)))
        stride = next((step for step in TRIED if _goes(model, large, (step,) * (images.ndim - 2), minimum)), 0)
        if stride > max(strides):
            return f"stride={stride}"
        least = next((side for side in TRIED if side > minimum and _goes(model, images, strides, side)), 0)
        return f"minimum={least}" if least else ""

    def seen_in_training(self, choice: Choice, model: nn.Module, images: Tensor) -> list[Tensor]:
        """The logits that the loss sees: of several resolutions where the model offers deep supervision."""
        if not offers_deep_supervision(model):
            return [self.run(choice, model, images)]
        model.deep_supervision = True  # type: ignore[assignment]
        return list(model.train()(images))

    def expected_shape(self, task: Task, images: Tensor) -> tuple[int, ...]:
        return (len(images), task.outputs, *(images.shape[2:] if task.kind == "segmentation" else ()))

    @pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4), (5, 3)])
    def test_logits_have_their_shape_and_every_trainable_parameter_a_finite_gradient(
        self, choice: Choice, channels: int, classes: int
    ) -> None:
        task = self.task(choice, channels, classes)
        model, images = build_model(choice, task, task.dims), self.images(task)
        logits = self.run(choice, model, images)
        assert tuple(logits.shape) == self.expected_shape(task, images)
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trainable
        optimizer = torch.optim.Adam(trainable.values(), 1e-3)
        moved = set()
        for _ in range(2):  # a layer behind one that starts at zero learns from the second step on
            optimizer.zero_grad()
            seen = self.seen_in_training(choice, model, images)
            torch.stack([(logits * torch.randn_like(logits)).sum() for logits in seen]).sum().backward()  # type: ignore[no-untyped-call]
            without = [name for name, own in trainable.items() if own.grad is None or not own.grad.isfinite().all()]
            assert without == []
            moved |= {name for name, own in trainable.items() if own.grad.abs().sum() > 0}  # type: ignore[union-attr]
            optimizer.step()
        kernels = {name for name, own in trainable.items() if own.ndim > 1}  # a bias before a norm has no effect
        assert kernels - moved == set()

    def test_every_dimension_and_mode_it_takes_works(self, choice: Choice) -> None:
        modes = ("binary", "multilabel") if choice.spec.kind == "segmentation" else ("multiclass",)
        for dims, mode in itertools.product(self.dims or choice.spec.dims, modes):
            task = Task(2, ("background", "first", "second")[: 2 if mode == "binary" else 3], dims, mode)  # type: ignore[arg-type]
            task = task.learned_by(choice.spec.kind)
            model, images = build_model(choice, task, dims), self.images(task)
            assert tuple(self.run(choice, model, images).shape) == self.expected_shape(task, images)

    def test_any_size_goes_in_and_comes_out(self, choice: Choice) -> None:
        task = self.task(choice)
        model = build_model(choice, task, task.dims).eval()
        for side in (1, self.size - 1, self.size + 5):
            images = self.images(task, side, *(self.size + 3,) * (task.dims - 1), batch=1)
            with torch.inference_mode():
                assert tuple(self.run(choice, model, images).shape) == self.expected_shape(task, images)

    def test_in_eval_mode_an_image_always_gives_the_same_whatever_is_beside_it(self, choice: Choice) -> None:
        task = self.task(choice)
        model, images = build_model(choice, task, task.dims).eval(), self.images(task)
        with torch.inference_mode():
            first = self.run(choice, model, images)
            again = [self.run(choice, model, images) for _ in range(3)]
            alone = self.run(choice, model, images[:1])
        assert all(torch.equal(first, other) for other in again)
        torch.testing.assert_close(alone, first[:1], rtol=1e-3, atol=1e-4)

    def test_weights_saved_rebuilt_and_loaded_give_identical_logits_and_fetch_nothing(
        self, choice: Choice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = self.task(choice)
        model, images = build_model(choice, task, task.dims), self.images(task)
        self.run(choice, model, images)  # in training mode: running statistics leave their initial values
        header = build_header(choice, task.dims, task, Preprocess("stretch", (self.size,) * task.dims), {})
        save_weights(tmp_path / "model.safetensors", model.state_dict(), header)
        monkeypatch.setattr(socket.socket, "connect", _no_network)
        loaded_header, _, loaded = load_model(tmp_path / "model.safetensors")
        assert loaded_header == header
        with torch.inference_mode():
            assert torch.equal(self.run(choice, model.eval(), images), self.run(choice, loaded, images))

    def test_four_phantoms_are_learned_by_heart(self, choice: Choice) -> None:
        task, images, masks = self.phantoms(choice)
        model = build_model(choice, task, task.dims)
        optimizer = torch.optim.Adam([own for own in model.parameters() if own.requires_grad], self.lr)
        losses = [item.spec for item in plugins.load().all("losses") if item.plugin.builtin]
        usual = next(spec for spec in losses if spec.is_default(task))
        criterion = usual.load()(task, usual.options())
        for _ in range(self.steps // 20):
            model.train()
            for _ in range(20):
                optimizer.zero_grad()
                criterion(self.run(choice, model, images), masks).backward()
                optimizer.step()
            with torch.inference_mode():
                logits = self.run(choice, model.eval(), images)
            found = logits[:, 0] > 0 if task.mode == "binary" else logits.argmax(dim=1) == 1
            learned = overlap(tabulate((masks == 1).numpy(), found.numpy(), 2)) or 0.0
            if learned > 0.97:
                break
        assert learned > 0.95

    def test_with_deep_supervision_it_gives_coarser_logits_too_but_in_training_alone(self, choice: Choice) -> None:
        task = self.task(choice)
        model, images = build_model(choice, task, task.dims), self.images(task)
        if not offers_deep_supervision(model):
            pytest.skip("it offers none")
        assert not model.deep_supervision, "it is built without; training turns it on"
        model.deep_supervision = True  # type: ignore[assignment]
        outputs = model.train()(images)
        assert isinstance(outputs, (list, tuple)) and len(outputs) > 1
        sizes = [tuple(logits.shape) for logits in outputs]
        assert sizes[0] == self.expected_shape(task, images), "full resolution comes first"
        assert all(size[:2] == sizes[0][:2] for size in sizes) and sizes == sorted(sizes, reverse=True)
        with torch.inference_mode():
            assert tuple(self.run(choice, model.eval(), images).shape) == sizes[0]

    @pytest.mark.parametrize("feature", FEATURES)
    def test_what_it_claims_works_and_the_rest_is_refused(self, choice: Choice, feature: str) -> None:
        if feature == "channels-last" and 2 not in (self.dims or choice.spec.dims):
            pytest.skip("only 2D networks are given their images channels last")
        if feature in choice.spec.supports:
            self.try_feature(choice, feature)
            return
        if feature in SETTINGS:
            with pytest.raises(UsageError, match=choice.spec.name):
                check_features(choice.spec, Train(**SETTINGS[feature]))
        claiming = replace(choice, found=replace(choice.found, spec=replace(choice.spec, supports=(feature,))))
        with suppress(Exception):
            self.try_feature(claiming, feature)
            pytest.skip(f"works, and could be claimed: supports=({feature!r},)")

    def try_feature(self, choice: Choice, feature: str) -> None:
        """A training step with the feature gives what one without it does."""
        task = self.task(choice)
        task = replace(task, dims=2) if feature == "channels-last" else task
        model, images = build_model(choice, task, task.dims), self.images(task)
        for module in model.modules():  # what is drawn at random would hide a difference
            if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Dropout3d)):
                module.p = 0.0
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        plain = self.step(choice, model, images)
        model.load_state_dict(state)
        if feature == "mixed-precision":
            with torch.autocast("cpu", torch.bfloat16):
                changed = self.step(choice, model, images)
            assert all(tensor.isfinite().all() for tensor in changed.values())
            assert (changed["logits"] - plain["logits"]).abs().mean() < 0.1 * plain["logits"].std() + 0.02
            return
        if feature == "channels-last":
            model, images = to_device(model, torch.device("cpu"), 2, choice.spec), layout(images, choice.spec)
            kernels = [own for own in (images, *model.parameters()) if own.ndim == 4]
            assert all(own.is_contiguous(memory_format=torch.channels_last) for own in kernels)
        if feature == "checkpointing":
            checkpoint_blocks(model)
        if feature == "compile":
            model.compile(backend="aot_eager")
        changed = self.step(choice, model, images)
        assert changed.keys() == plain.keys()
        for name, tensor in plain.items():
            assert torch.allclose(changed[name], tensor, rtol=1e-3, atol=1e-3), name

    @pytest.mark.parametrize("format", FORMATS)
    def test_formats_it_claims_give_its_logits_and_others_are_refused(
        self, choice: Choice, format: str, tmp_path: Path
    ) -> None:
        path = tmp_path / f"artefact{FORMATS[format]}"
        if format in choice.spec.exports:
            export.check_format(choice.spec, format)
            self.try_format(choice, format, path)
            return
        with pytest.raises(UsageError, match=choice.spec.name):
            export.check_format(choice.spec, format)
        with suppress(Exception):
            self.try_format(choice, format, path)
            pytest.skip(f"works, and could be claimed: exports=({format!r},)")

    def try_format(self, choice: Choice, format: str, path: Path) -> None:
        """The exported file gives the logits of the model."""
        task = self.task(choice)
        model, strides = build_model(choice, task, task.dims).eval(), self.strides(choice, task.dims)
        sides = [max(side, 2 * step) for side, step in zip(self.images(task).shape[2:], strides, strict=True)]
        free = strides if format in self.free_size else None
        export.save(export.convert(export.fixed_copy(model), self.images(task, *sides), format, free), path)
        larger = [side + step * (axis + 1) for axis, (side, step) in enumerate(zip(sides, strides, strict=True))]
        for batch, size in ((1, larger if free else sides), (3, sides)):
            images = self.images(task, *size, batch=batch)
            with torch.inference_mode():
                expected, found = model(images), _run_artefact(path, format, images)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    def strides(self, choice: Choice, dims: int) -> tuple[int, ...]:
        return tuple(choice.spec.strides(choice.options, dims))

    def step(self, choice: Choice, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """One training step: logits, gradients relative to the largest of their tensor, and buffers."""
        model.train()
        model.zero_grad()
        logits = self.run(choice, model, images).float()
        torch.nn.functional.softplus(logits).mean().backward()  # type: ignore[no-untyped-call]
        gradients = {name: own.grad for name, own in model.named_parameters() if own.grad is not None}
        scale = max(float(gradient.abs().max()) for gradient in gradients.values())
        buffers = {name: own.clone() for name, own in model.named_buffers() if own.is_floating_point()}
        return {"logits": logits.detach()} | {name: own / scale for name, own in gradients.items()} | buffers

    def phantoms(self, choice: Choice) -> tuple[Task, Tensor, Tensor]:
        """Four synthetic cases as tensors; for a classification two of each class."""
        found = plugins.load().find("datasets", "phantom")
        kinds = {"cases": 4} if choice.spec.kind == "segmentation" else {"cases": 16, "empty": 0.5}
        options = {"dims": max(self.dims or choice.spec.dims), "size": self.size, **kinds}
        dataset = open_dataset(Choice(found, build(found.spec.options, options, "dataset")), None)
        samples = [dataset.read(case) for case in dataset.cases]
        images = torch.stack([torch.from_numpy(np.asarray(sample.image, np.float32)) / 255 for sample in samples])
        task = dataset.task.learned_by(choice.spec.kind)
        if task.kind == "segmentation":
            return task, images, torch.stack([torch.from_numpy(np.asarray(sample.mask)) for sample in samples])
        labels = torch.tensor([int(presence_of(np.asarray(sample.mask), dataset.task, None)) for sample in samples])
        chosen = torch.cat([torch.where(labels == value)[0][:2] for value in (0, 1)])
        return replace(task, channels=images.shape[1]), images[chosen], labels[chosen]


def _run_artefact(path: Path, format: str, images: Tensor) -> Tensor:
    """The logits that an exported file gives in its own runtime."""
    if format == "torch-export":
        return torch.export.load(path).module()(images)  # type: ignore[no-any-return]
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


def _goes(model: nn.Module, images: Tensor, strides: tuple[int, ...], minimum: int) -> bool:
    with suppress(Exception), torch.no_grad():
        logits = padded(model, images, strides, minimum)
        return isinstance(logits, Tensor) and logits.shape[2:] in (images.shape[2:], ())
    return False


def _no_network(*arguments: Any) -> None:
    raise AssertionError("loading weights reached for the network")
