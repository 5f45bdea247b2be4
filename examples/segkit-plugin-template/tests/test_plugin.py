"""Everything does what segkit asks of its kind."""

from segkit.testing import DatasetContract, LossContract, MetricContract, ModelContract


class TestTinyNet(ModelContract):
    name = "tiny-net"
    options = {"width": 8}


class TestSideBySide(DatasetContract):
    name = "side-by-side"


class TestTversky(LossContract):
    name = "tversky"


class TestAreaError(MetricContract):
    name = "area-error"
