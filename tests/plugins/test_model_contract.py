"""Every registered model keeps the contract that third parties are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from segkit import plugins
from segkit.config.resolve import Choice
from segkit.specs import FEATURES, FORMATS
from segkit.testing import ModelContract

TINY = {"width": 4, "depth": 2}
SLOW = {"compile": pytest.mark.slow}  # features whose test takes long


class Relative(ModelContract):
    """A model with parts of its own, made into files and compiled as those of its kind are: these seconds are slow tests."""

    @pytest.mark.slow
    @pytest.mark.parametrize("format", FORMATS)
    def test_formats_it_claims_give_its_logits_and_others_are_refused(
        self, choice: Choice, format: str, tmp_path: Path
    ) -> None:
        super().test_formats_it_claims_give_its_logits_and_others_are_refused(choice, format, tmp_path)

    @pytest.mark.parametrize("feature", [pytest.param(own, marks=SLOW.get(own, ())) for own in FEATURES])
    def test_what_it_claims_works_and_the_rest_is_refused(self, choice: Choice, feature: str) -> None:
        super().test_what_it_claims_works_and_the_rest_is_refused(choice, feature)


class Variant(Relative):
    """Other options of a model that is here already, or another assembly of parts that are: learning is slow as well."""

    @pytest.mark.slow
    def test_four_phantoms_are_learned_by_heart(self, choice: Choice) -> None:
        super().test_four_phantoms_are_learned_by_heart(choice)


class TestUNet(ModelContract):
    name, options = "unet", TINY


class TestUNetOfKeller(Variant):
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


class TestUNetOfVaona(Variant):
    name = "unet"
    options = {**TINY, "upsample": "transposed", "norm": "group", "head_norm": False, "bias": False}


class TestResUNet(Relative):
    name, options = "resunet", TINY


class TestAttentionUNet(Relative):
    name, options = "attention-unet", TINY


class TestAttentionResUNet(Variant):
    name, options = "attention-resunet", TINY


class TestUNet3D(ModelContract):
    name, options, size = "unet3d", {"width": 8, "depth": 1, "norm": "instance", "dropout": (0.0,)}, 16


class TestResEncUNet(Relative):
    name, options, dims = "resenc-unet", {**TINY, "blocks": (1,)}, (2,)


class TestResEncUNetOfVolumes(Variant):
    name, size, dims = "resenc-unet", 16, (3,)
    options = {"width": 4, "depth": (2, 2, 1), "flat": (0, 0, 1), "blocks": (1,)}


class TestResNet50UNet(Relative):
    name, options, lr = "resnet50-unet", {"encoder": "test_resnet", "widths": (16, 16, 16, 8, 8)}, 2e-3


class TestResNet50UNetOfMuellerAndWolf(Variant):
    name, lr = "resnet50-unet", 2e-3
    options = {
        "encoder": "test_resnet",
        "widths": (32, 16, 16, 8, 8),
        "upsample": "nearest-conv",
        "bias": True,
        "head_kernel": 1,
    }


class TestSemanticFPN(Variant):
    name, options, lr = "semantic-fpn", {"encoder": "test_resnet", "width": 16, "dropout": 0.0}, 2e-3


class TestSemanticFPNWithTheOtherHead(Variant):
    name, options, lr = "semantic-fpn", {"encoder": "test_convnext", "width": 16, "fuse": "3x3x2", "dropout": 0.0}, 2e-3


class TestDeepLabV3Plus(Relative):
    name, options, lr = "deeplabv3plus", {"encoder": "test_resnet", "width": 16, "dropout": 0.0}, 2e-3
    free_size = ("onnx",)  # torch cannot write the padding of timm's AvgPool2dSame, which this small encoder has


class TestTransUNet(Variant):
    name, lr = "transunet", 1e-3
    options = {"size": 32, "width": 32, "layers": (1, 1, 1), "hidden": 48, "depth": 2, "heads": 4}


class TestResNetSeg(Variant):
    name, options, lr = "resnet-seg", {"encoder": "test_resnet", "widths": (32, 32, 16, 16, 8)}, 2e-3


class TestResNetClassifier(ModelContract):
    name, options, lr = "resnet-classifier", {"encoder": "test_resnet", "hidden": 8, "dropout": 0.0}, 2e-3


class TestResNetQCNN(ModelContract):
    name, options, lr = "resnet-qcnn", {"encoder": "test_resnet", "qubits": 4}, 5e-3


class TestResNetQCNNDressed(Variant):
    name, lr = "resnet-qcnn", 5e-3
    options = {"encoder": "test_resnet", "circuit": "dressed", "qubits": 3, "depth": 2, "reupload": True}


class TestQuantumResNet(Variant):
    name, lr = "quantum-resnet", 2e-3
    options = {"encoder": "test_resnet", "qubits": 4, "widths": (32, 32, 16, 16, 8)}


class TestQuantumResNetsControl(Variant):
    name, lr = "quantum-resnet", 2e-3
    options = {"encoder": "test_resnet", "qubits": 4, "widths": (32, 32, 16, 16, 8), "core": "classical"}


def test_every_model_is_here() -> None:
    built_in = {item.spec.name for item in plugins.load().all("models") if item.plugin.builtin}
    tested = {
        value.name
        for value in globals().values()
        if isinstance(value, type) and issubclass(value, ModelContract) and value not in (ModelContract, Relative, Variant)
    }
    assert tested == built_in
