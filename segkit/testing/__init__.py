"""Public contracts that plugin authors run in their own tests, with pytest.

from segkit.testing import DatasetContract, ModelContract

class TestMyDataset(DatasetContract):
    name = "my-dataset"

class TestMyModel(ModelContract):
    name = "my-model"
    options = {"width": 4}
"""

from __future__ import annotations

from segkit.testing.datasets import DatasetContract
from segkit.testing.models import ModelContract

__all__ = ["DatasetContract", "ModelContract"]
