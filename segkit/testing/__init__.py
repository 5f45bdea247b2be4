"""Public contracts that plugin authors run in their own tests, with pytest.

from segkit.testing import DatasetContract, ModelContract

class TestMyDataset(DatasetContract):
    name = "my-dataset"

class TestMyModel(ModelContract):
    name = "my-model"
    options = {"width": 4}

`LossContract` and `MetricContract` are used alike; `sandbox` installs an invented package where only one test sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.register_assert_rewrite(  # an assertion that fails in an author's test shows its values, as his own do
    *(f"segkit.testing.{name}" for name in ("contract", "datasets", "losses", "metrics", "models"))
)
from segkit.testing.sandbox import sandbox  # noqa: E402

if TYPE_CHECKING:
    from segkit.testing.datasets import DatasetContract
    from segkit.testing.losses import LossContract
    from segkit.testing.metrics import MetricContract
    from segkit.testing.models import ModelContract

_LAZY = {  # torch comes with the contract that needs it
    "DatasetContract": "segkit.testing.datasets",
    "LossContract": "segkit.testing.losses",
    "MetricContract": "segkit.testing.metrics",
    "ModelContract": "segkit.testing.models",
}

__all__ = ["DatasetContract", "LossContract", "MetricContract", "ModelContract", "sandbox"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
