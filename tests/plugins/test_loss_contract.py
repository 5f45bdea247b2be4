"""Every built-in loss keeps the contract that third parties are given, and the contract catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segkit import plugins
from segkit.config.resolve import Choice
from segkit.testing import LossContract


class TestDiceFocal(LossContract):
    name = "dice-focal"


class TestDiceCE(LossContract):
    name = "dice-ce"


class TestDice(LossContract):
    name, options = "dice", {"batch": True, "background": True}


class TestSquaredDice(LossContract):
    name, options = "dice", {"squared": True}


class TestGeneralizedDice(LossContract):
    name = "generalized-dice"


class TestTversky(LossContract):
    name = "tversky"


class TestFocalTversky(LossContract):
    name = "focal-tversky"


class TestCombo(LossContract):
    name = "combo"


class TestUnifiedFocal(LossContract):
    name = "unified-focal"


class TestSymmetricUnifiedFocal(LossContract):
    name, options = "unified-focal", {"asymmetric": False, "gamma": 0.2}


class TestBoundary(LossContract):
    name = "boundary"


class TestSum(LossContract):
    name, options = "sum", {"of": "dice(batch=true)+0.5*focal(gamma=3)+0.01*boundary"}


class TestRegions(LossContract):
    name = "regions"


class TestFocal(LossContract):
    name, options = "focal", {"alpha": 0.25}


class TestBCE(LossContract):
    name = "bce"


class TestCrossEntropy(LossContract):
    name = "cross-entropy"


def test_every_loss_is_here() -> None:
    contracts = [value for value in globals().values() if isinstance(value, type) and issubclass(value, LossContract)]
    tested = {value.name for value in contracts if value is not LossContract}
    assert tested == {item.spec.name for item in plugins.load().all("losses") if item.plugin.builtin}


BAD = """
from segkit.api import LossSpec, hookimpl

@hookimpl
def segkit_losses():
    own = {"modes": ("binary",), "target": "acme_module:build"}
    return [LossSpec("bad", "a loss", ignore_index=IGNORE, **own)]

def build(task, options):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as bce
    class Bad(torch.nn.Module):
        def forward(self, logits, target):
            x, y = logits[:, 0], target.float()
            valid = target != task.ignore_index if task.ignore_index is not None else torch.ones_like(y)
            return BODY
    return Bad()
"""
CHECKS = {
    "finite": LossContract.test_it_is_a_finite_number_with_finite_gradients_whatever_is_predicted,
    "better": LossContract.test_a_better_prediction_has_a_lower_loss,
    "ignored": LossContract.test_what_is_to_be_ignored_has_no_influence,
    "float32": LossContract.test_it_stays_in_float32_where_the_network_calculates_in_16_bits,
}


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ("bce(x, y, reduction='none').mean((1, 2))", "finite"),
        ("-(y * x.sigmoid().log() + (1 - y) * (1 - x.sigmoid()).log()).mean()", "finite"),
        ("((x.sigmoid() - y) ** 2).sum() / y.sum()", "finite"),
        ("-bce(x, y)", "better"),
        ("bce(x, y)", "ignored"),
        ("bce(x, y).bfloat16()", "float32"),
    ],
)
def test_a_loss_with_a_fault_is_caught(body: str, check: str, install: Callable[..., Path]) -> None:
    install("acme", BAD.replace("IGNORE", "True").replace("BODY", body))
    with pytest.raises((AssertionError, RuntimeError)):
        CHECKS[check](LossContract(), made("bad"), *([1] if check == "finite" else []))


def made(name: str) -> Choice:
    found = plugins.load().find("losses", name)
    return Choice(found, found.spec.options())


def test_an_author_is_told_what_more_his_loss_could_claim(install: Callable[..., Path]) -> None:
    body = "(bce(x, y * valid, reduction='none') * valid).sum() / valid.sum().clamp_min(1)"
    install("acme", BAD.replace("IGNORE", "False").replace("BODY", body))
    with pytest.raises(pytest.skip.Exception, match="could be claimed: ignore_index=True"):
        CHECKS["ignored"](LossContract(), made("bad"))
