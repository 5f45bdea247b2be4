"""Public contracts that plugin authors run in their own tests, with pytest.

from segkit.testing import DatasetContract

class TestMyDataset(DatasetContract):
    name = "my-dataset"
"""

from __future__ import annotations

from segkit.testing.datasets import DatasetContract

__all__ = ["DatasetContract"]
