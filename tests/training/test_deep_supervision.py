"""A model that offers logits at several resolutions is trained on all of them, and predicts with the finest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from conftest import Command, history
from segkit import plugins
from segkit.config.complete import complete_config
from segkit.config.resolve import Choice, gather, resolve_config
from segkit.data.reading import open_dataset
from segkit.testing import ModelContract
from segkit.training.components import TrainingComponents, assemble

PLUGIN = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("deep", "offers deep supervision", target="acme_module:build", stride=4)]

def build(task, options):
    import torch
    from torch import nn
    from torch.nn import functional

    class Deep(nn.Module):
        deep_supervision = False

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(task.channels, 8, 3, padding=1)
            self.heads = nn.ModuleList([nn.Conv2d(8, task.outputs, 1) for _ in range(3)])

        def forward(self, x):
            x = self.stem(x).relu()
            if not (self.training and self.deep_supervision):
                return self.heads[0](x)
            return [head(functional.avg_pool2d(x, 2**level)) for level, head in enumerate(self.heads)]

    return Deep()
"""
WORDS = "dataset.cases=8 dataset.size=18 preprocess.size=18 augment.policy=none".split()


@pytest.fixture
def components(install: Callable[..., Path]) -> TrainingComponents:
    install("acme", PLUGIN)
    catalogue = plugins.load()
    requested = resolve_config(gather({}, {"dataset": "phantom", "model": "deep", "loss": "bce"}, WORDS), catalogue)
    dataset = open_dataset(requested.dataset, requested.root)
    return assemble(complete_config(requested, dataset, catalogue), dataset.task, torch.device("cpu"))


def test_the_losses_of_all_resolutions_are_weighed_as_nnunet_does(components: TrainingComponents) -> None:
    """By hand, with torch alone: weights 4/7, 2/7 and 1/7; 18 pixels are padded to 20, so the coarser grids are 10 and 5."""
    images = torch.rand(2, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    targets = (images[:, 0] > 0.5).long()
    model = components.model.train()
    loss = components.loss(components.levels(images), targets)
    given = model(functional.pad(images, (0, 2, 0, 2)))
    assert [tuple(logits.shape[2:]) for logits in given] == [(20, 20), (10, 10), (5, 5)]
    resized = [functional.interpolate(logits, (20, 20), mode="bilinear")[:, 0, :18, :18] for logits in given]
    each = [functional.binary_cross_entropy_with_logits(logits, targets.float()) for logits in resized]
    torch.testing.assert_close(loss, (4 * each[0] + 2 * each[1] + each[2]) / 7)
    loss.backward()
    assert all(own.grad is not None and own.grad.abs().sum() > 0 for own in model.parameters())
    torch.testing.assert_close(components.logits(images), resized[0][:, None])


def test_in_eval_mode_there_is_one_tensor(components: TrainingComponents) -> None:
    images = torch.rand(1, 3, 18, 18)
    assert len(components.levels(images, components.eval_model.eval())) == 1


def test_a_model_of_one_resolution_has_the_loss_as_it_is(components: TrainingComponents) -> None:
    logits, targets = torch.randn(2, 1, 8, 8, requires_grad=True), torch.ones(2, 8, 8)
    assert torch.equal(components.loss([logits], targets), components.criterion(logits, targets))


def test_it_trains_evaluates_and_predicts(segkit: Command, install: Callable[..., Path], tmp_path: Path) -> None:
    install("acme", PLUGIN)
    options = [part for word in WORDS for part in ("-o", word)]
    words = ["train", "--dataset", "phantom", "--model", "deep", "--epochs", "2", *options, "-o", "train.ema=0.5"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert len(history(tmp_path / "run")) == 2
    assert segkit("evaluate", tmp_path / "run").code == 0


def test_the_contract_looks_at_both_modes(install: Callable[..., Path]) -> None:
    check = ModelContract.test_with_deep_supervision_it_gives_coarser_logits_too_but_in_training_alone
    install("acme", PLUGIN)
    check(ModelContract(), chosen("deep"))
    with pytest.raises(pytest.skip.Exception):
        check(ModelContract(), chosen("resunet"))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("self.training and self.deep_supervision", "self.deep_supervision"),
        ("deep_supervision = False", "deep_supervision = True"),
        ("enumerate(self.heads)]", "enumerate(self.heads)][::-1]"),
    ],
)
def test_the_contract_catches_a_model_that_offers_it_wrongly(good: str, bad: str, install: Callable[..., Path]) -> None:
    check = ModelContract.test_with_deep_supervision_it_gives_coarser_logits_too_but_in_training_alone
    install("acme", PLUGIN.replace(good, bad))
    with pytest.raises((AssertionError, AttributeError)):
        check(ModelContract(), chosen("deep"))


def test_several_tensors_of_a_model_that_does_not_offer_it_are_refused(
    segkit: Command, install: Callable[..., Path], tmp_path: Path
) -> None:
    install("acme", PLUGIN.replace("deep_supervision = False", "").replace("self.training and self.deep_supervision", "1"))
    words = ["train", "--dataset", "phantom", "--model", "deep", "-o", "dataset.cases=8", "--epochs", "1"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 1 and "returned list" in done.err


def chosen(name: str) -> Choice:
    found = plugins.load().find("models", name)
    return Choice(found, found.spec.options())


def test_nothing_is_said_of_it_in_the_weights(components: TrainingComponents) -> None:
    assert isinstance(components.model, nn.Module) and not any("deep" in name for name in components.tensors())
