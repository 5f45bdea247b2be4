"""Every registered model keeps the contract that third parties are given."""

from __future__ import annotations

from segkit import plugins
from segkit.testing import ModelContract

TINY = {"width": 4, "depth": 2}


class TestUNet(ModelContract):
    name, options = "unet", TINY


class TestUNetOfKeller(ModelContract):
    name = "unet"
    options = {
        **TINY,
        "upsample": "nearest-conv",
        "norm": "none",
        "head_norm": False,
        "activation": "prelu",
        "dropout": 0.2,
        "init": "keras-he-normal",
    }


class TestUNetOfVaona(ModelContract):
    name = "unet"
    options = {**TINY, "upsample": "transposed", "norm": "group", "head_norm": False, "bias": False}


class TestResUNet(ModelContract):
    name, options = "resunet", TINY


class TestAttentionUNet(ModelContract):
    name, options = "attention-unet", TINY


class TestAttentionResUNet(ModelContract):
    name, options = "attention-resunet", TINY


class TestUNet3D(ModelContract):
    name, options, size = "unet3d", {"width": 4, "depth": 1, "norm": "instance", "dropout": (0.0,)}, 16


class TestResNet50UNet(ModelContract):
    name, options, lr = "resnet50-unet", {"encoder": "test_resnet", "widths": (16, 16, 16, 8, 8)}, 2e-3


class TestResNet50UNetOfMuellerAndWolf(ModelContract):
    name, lr = "resnet50-unet", 2e-3
    options = {
        "encoder": "test_resnet",
        "widths": (32, 16, 16, 8, 8),
        "upsample": "nearest-conv",
        "bias": True,
        "head_kernel": 1,
    }


class TestSemanticFPN(ModelContract):
    name, options, lr = "semantic-fpn", {"encoder": "test_resnet", "width": 16, "dropout": 0.0}, 2e-3


class TestSemanticFPNWithTheOtherHead(ModelContract):
    name, options, lr = "semantic-fpn", {"encoder": "test_convnext", "width": 16, "fuse": "3x3x2", "dropout": 0.0}, 2e-3


class TestDeepLabV3Plus(ModelContract):
    name, options, lr = "deeplabv3plus", {"encoder": "test_resnet", "width": 16, "dropout": 0.0}, 2e-3
    free_size = ("onnx",)  # torch cannot write the padding of timm's AvgPool2dSame, which this small encoder has


class TestTransUNet(ModelContract):
    name, lr = "transunet", 1e-3
    options = {"size": 32, "width": 32, "layers": (1, 1, 1), "hidden": 48, "depth": 2, "heads": 4}


class TestResNetSeg(ModelContract):
    name, options, lr = "resnet-seg", {"encoder": "test_resnet", "widths": (32, 32, 16, 16, 8)}, 2e-3


class TestResNetClassifier(ModelContract):
    name, options, lr = "resnet-classifier", {"encoder": "test_resnet", "hidden": 8, "dropout": 0.0}, 2e-3


class TestResNetQCNN(ModelContract):
    name, options, lr = "resnet-qcnn", {"encoder": "test_resnet", "qubits": 4}, 5e-3


class TestResNetQCNNDressed(ModelContract):
    name, lr = "resnet-qcnn", 5e-3
    options = {"encoder": "test_resnet", "circuit": "dressed", "qubits": 3, "depth": 2, "reupload": True}


class TestQuantumResNet(ModelContract):
    name, lr = "quantum-resnet", 2e-3
    options = {"encoder": "test_resnet", "qubits": 4, "widths": (32, 32, 16, 16, 8)}


class TestQuantumResNetsControl(ModelContract):
    name, lr = "quantum-resnet", 2e-3
    options = {"encoder": "test_resnet", "qubits": 4, "widths": (32, 32, 16, 16, 8), "core": "classical"}


def test_every_model_is_here() -> None:
    built_in = {item.spec.name for item in plugins.load().all("models") if item.plugin.builtin}
    tested = {
        value.name
        for value in globals().values()
        if isinstance(value, type) and issubclass(value, ModelContract) and value is not ModelContract
    }
    assert tested == built_in
