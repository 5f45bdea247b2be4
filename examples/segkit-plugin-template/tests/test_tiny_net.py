"""The model does what segkit asks of every model."""

from segkit.testing import ModelContract


class TestTinyNet(ModelContract):
    name = "tiny-net"
    options = {"width": 8}
