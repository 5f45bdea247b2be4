"""The models have the four totals that the papers print and the counts derived from their texts; where another library
holds the same model, equal weights give its logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import Tensor, nn

from conftest import Command, save_weights
from segkit import plugins
from segkit.config.resolve import Choice
from segkit.models.build import build_model, load_model, padded
from segkit.models.cost import choose
from segkit.options import build
from segkit.settings import Preprocess
from segkit.task import Task

POLYP = Task(3, ("background", "polyp"))
TUMOUR = Task(3, ("background", "necrotic", "edema", "enhancing"), mode="multiclass")

KELLER = "upsample=nearest-conv head_norm=false width=32"
MUELLER_WOLF = "upsample=nearest-conv bias=true head_kernel=1"


def make(name: str, task: Task, **options: object) -> nn.Module:
    found = plugins.load().find("models", name)
    return build_model(Choice(found, build(found.spec.options, options, "model")), task, task.dims)


def randomised(model: nn.Module) -> nn.Module:
    """Running statistics and affine weights other than 0 and 1, so that a forgotten one shows."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight.data, 0.5)):
                tensor.uniform_(low, low + 1)  # type: ignore[union-attr]
    return model.eval()


# Ehab & Li: 31,402,501; 31,401,556, 33,157,140, 39,089,304 are the totals their Keras printed for 3->1 and 1->4, and are
# parameters and buffers together. The others: fidelity table, each built and counted with another library or by hand.
@pytest.mark.parametrize(
    ("name", "options", "channels", "classes", "parameters", "buffers"),
    [
        ("unet", "", 3, 1, 31_390_723, 11_778),
        ("unet", "", 1, 4, 31_389_772, 11_784),
        ("unet", "upsample=transposed", 1, 4, 31_054_356 - 11_784, 11_784),
        ("unet", "upsample=nearest-conv head_norm=false", 3, 1, 31_043_521, 11_776),  # Müller & Wolf
        ("unet", "upsample=nearest-conv head_norm=false bias=false", 3, 1, 31_037_633, 11_776),
        ("unet", "upsample=transposed head_norm=false bias=false dropout=0.3", 3, 1, 31_037_633, 11_776),  # Vaona
        ("unet", "upsample=transposed head_norm=false norm=none dropout=0.3", 3, 1, 31_031_745, 0),
        ("unet", f"{KELLER} norm=none dropout=0.2", 2, 4, 7_759_908, 0),
        ("unet", f"{KELLER} norm=none dropout=0.2", 3, 4, 7_760_196, 0),  # Baizhan
        ("unet", f"{KELLER} norm=batch", 2, 4, 7_765_796, 5_888),
        ("unet", f"{KELLER} norm=none activation=prelu", 2, 4, 7_763_332, 0),
        ("unet", f"{KELLER} norm=none activation=prelu-layer", 2, 4, 7_759_930, 0),
        ("resunet", "", 3, 1, 33_140_547, 17_666),
        ("resunet", "", 1, 4, 33_139_468, 17_672),
        ("attention-resunet", "", 3, 1, 39_068_871, 21_506),
        ("attention-resunet", "", 1, 4, 39_067_792, 21_512),
        ("attention-unet", "", 3, 1, 37_319_047, 15_618),
        ("attention-unet", "", 3, 4, 37_319_248, 15_624),
        ("attention-unet", "width=32", 3, 4, 9_337_136, 7_816),
        ("unet3d", "", 3, 4, 5_645_828, 0),
        ("unet3d", "width=32", 3, 4, 22_577_156, 0),
        ("resnet50-unet", "", 3, 4, 32_521_540, 55_104),
        ("resnet50-unet", "", 3, 1, 32_521_105, 55_104),
        ("resnet50-unet", f"{MUELLER_WOLF} widths=1024,512,256,128,64", 3, 1, 72_297_153, 61_056),
        ("resnet50-unet", f"{MUELLER_WOLF} widths=512,256,128,64,32", 3, 1, 40_920_961, 57_088),
        ("semantic-fpn", "", 3, 1, 27_115_329, 53_632),
        ("semantic-fpn", "fuse=3x3x2", 3, 1, 29_802_817, 54_144),
        ("deeplabv3plus", "", 3, 4, 26_678_356, 57_312),
        ("deeplabv3plus", "", 3, 1, 26_677_585, 57_312),
        ("transunet", "size=128", 3, 4, 105_174_980, 2_880),
        ("transunet", "", 3, 9, 105_277_081, 2_880),
        ("resnet-seg", "", 3, 4, 34_514_052, 55_104),
        ("resnet-classifier", "", 3, 2, 11_176_512 + 65_922, 9_600),
    ],
)
def test_the_counts_are_the_papers(
    segkit: Command, name: str, options: str, channels: int, classes: int, parameters: int, buffers: int
) -> None:
    words = [word for option in options.split() for word in ("-o", f"model.{option}")]
    counted = json.loads(segkit("models", name, "--channels", channels, "--classes", classes, *words, "--json").out)
    assert (counted["parameters"], counted["buffers"]) == (parameters, buffers)


@pytest.mark.parametrize(("widths", "trainable"), [("1024,512,256,128,64", 48_789_121), ("512,256,128,64,32", 17_412_929)])
def test_a_frozen_encoder_leaves_the_decoder_to_train(segkit: Command, widths: str, trainable: int) -> None:
    options = f"{MUELLER_WOLF} widths={widths} freeze=true"
    words = [word for option in options.split() for word in ("-o", f"model.{option}")]
    assert json.loads(segkit("models", "resnet50-unet", *words, "--json").out)["trainable"] == trainable


def counts(module: nn.Module) -> tuple[int, int]:
    buffers = sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
    return sum(parameter.numel() for parameter in module.parameters()), buffers


# Stages of the printed totals: widths 64 to 1024, and decoder inputs of 1.5 times the width below.
BLOCKS = {
    "unet": [(37_824, 256), (221_952, 512), (886_272, 1_024), (3_542_016, 2_048), (14_161_920, 4_096)],
    "resunet": [(38_080, 384), (230_528, 768), (919_808, 1_536), (3_674_624, 3_072), (14_689_280, 6_144)],
}
DECODERS = {
    "unet": [(9_440_256, 2_048), (2_360_832, 1_024), (590_592, 512), (147_840, 256)],
    "resunet": [(10_228_224, 3_072), (2_558_208, 1_536), (640_128, 768), (160_320, 384)],
}
GATES = [(525_824, 1_024), (131_840, 512), (33_152, 256), (8_384, 128)]
ATTENTION = [(3_935_745, 1_024), (984_833, 512), (246_657, 256), (61_889, 128)]


@pytest.mark.parametrize(
    ("name", "like"),
    [("unet", "unet"), ("attention-unet", "unet"), ("resunet", "resunet"), ("attention-resunet", "resunet")],
)
def test_every_stage_has_its_count(name: str, like: str) -> None:
    task = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
    with torch.device("meta"):
        model = make(name, task)
    assert [counts(block) for block in model.encoder] == BLOCKS[like]  # type: ignore[union-attr]
    assert [counts(block) for block in model.decoder] == DECODERS[like]  # type: ignore[union-attr]
    assert counts(model.head) == (268, 8)  # type: ignore[arg-type]
    if name.startswith("attention"):
        assert [counts(gate) for gate in model.gates] == GATES  # type: ignore[union-attr]
        assert [counts(attention) for attention in model.attention] == ATTENTION  # type: ignore[union-attr]


def test_torchs_own_constants_are_the_default_and_keras_come_by_name() -> None:
    norm = make("unet", POLYP, width=2).head[1]  # type: ignore[index]
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    model = make("unet", POLYP, width=2, init="keras")
    norm = model.head[1]  # type: ignore[index]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    biases = [module.bias for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert biases and all(bias is not None and not bias.any() for bias in biases)


# Glorot & Bengio 2010, eq. 16; He 2015, eq. 10; the uniform forms reach sqrt(3) standard deviations, the cut normal two.
@pytest.mark.parametrize(
    ("scheme", "deviation", "limit"),
    [
        ("keras", (2 / (9 * 64 + 9 * 128)) ** 0.5, 3**0.5),
        ("keras-he-uniform", (2 / (9 * 64)) ** 0.5, 3**0.5),
        ("keras-he-normal", (2 / (9 * 64)) ** 0.5, 2 / 0.8796),
    ],
)
def test_kernels_are_drawn_as_keras_draws_them(scheme: str, deviation: float, limit: float) -> None:
    torch.manual_seed(0)
    weight = make("unet", POLYP, width=64, depth=1, init=scheme).encoder[1][0].weight.detach()  # type: ignore[index]
    assert weight.std() == pytest.approx(deviation, rel=0.02)
    assert weight.abs().max() <= limit * deviation * 1.001 and weight.abs().max() > 0.95 * limit * deviation


def test_the_2x2_convolution_after_nearest_upsampling_pads_right_and_below() -> None:
    up = make("unet", Task(1, ("a", "b")), width=1, depth=1, upsample="nearest-conv", norm="none", head_norm=False).up[0]  # type: ignore[index]
    kernel = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    nn.init.zeros_(up.convolution.bias)
    up.convolution.weight.data.copy_(kernel)
    x = torch.stack([torch.arange(1.0, 5.0).reshape(2, 2), torch.zeros(2, 2)])[None]
    # by hand: the up-sampled plane is [1 1 2 2; 1 1 2 2; 3 3 4 4; 3 3 4 4], each value meets its right and lower neighbours
    assert up(x)[0, 0].tolist() == [
        [1111, 2 * 10 + 1 + 100 + 2000, 2222, 202],
        [11 + 3300, 1 + 20 + 300 + 4000, 22 + 4400, 2 + 400],
        [3333, 3 + 40 + 300 + 4000, 4444, 404],
        [33, 43, 44, 4],
    ]


def test_dropout_is_where_it_was_asked_for() -> None:
    model = make("unet", POLYP, width=4, depth=2, dropout=0.5, dropout_at=("encoder", "decoder")).train()
    assert (model.drop_encoder.p, model.drop_bottleneck.p, model.drop_decoder.p) == (0.5, 0.0, 0.5)  # type: ignore[union-attr]
    model = make("unet3d", Task(1, ("a", "b"), dims=3))
    places = [[m.p for m in block.modules() if isinstance(m, nn.Dropout)] for block in model.encoder]  # type: ignore[union-attr]
    assert places == [[0.1], [0.1], [0.2], [0.2], [0.3]]
    places = [[m.p for m in block.modules() if isinstance(m, nn.Dropout)] for block in model.decoder]  # type: ignore[union-attr]
    assert places == [[0.2], [0.2], [0.1], [0.1]]


# equal weights, equal logits


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_trunks_are_torchvisions(name: str) -> None:
    theirs = randomised(torchvision.models.get_model(name))
    ours = make("resnet50-unet", TUMOUR, encoder=name).eval().encoder
    ours.net.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")})  # type: ignore[operator,union-attr]
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        stem = theirs.relu(theirs.bn1(theirs.conv1(x)))  # type: ignore[operator]
        c2 = theirs.layer1(theirs.maxpool(stem))  # type: ignore[operator]
        c3 = theirs.layer2(c2)  # type: ignore[operator]
        c4 = theirs.layer3(c3)  # type: ignore[operator]
        expected = {2: stem, 4: c2, 8: c3, 16: c4, 32: theirs.layer4(c4)}  # type: ignore[operator]
        found = ours(x)  # type: ignore[operator]
    for stride, maps in expected.items():
        torch.testing.assert_close(found[stride], maps, rtol=1e-4, atol=1e-4)


def test_the_classifiers_trunk_is_torchvisions_resnet18() -> None:
    theirs = randomised(torchvision.models.resnet18())
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    trunk = make("resnet-classifier", POLYP.as_classification()).eval().encoder
    trunk.net.load_state_dict(theirs.state_dict())  # type: ignore[operator,union-attr]
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(trunk(x), theirs(x), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


def rest(model: nn.Module) -> list[Tensor]:
    return [tensor for key, tensor in model.state_dict().items() if not key.startswith("encoder.")]


def give(theirs: nn.Module, ours: nn.Module) -> None:
    """Encoders by name, the rest in the order in which both write it down."""
    ours.encoder.net.load_state_dict(  # type: ignore[operator,union-attr]
        {key.removeprefix("model."): value for key, value in theirs.encoder.state_dict().items()}  # type: ignore[operator,union-attr]
    )
    names = [key for key in ours.state_dict() if not key.startswith("encoder.")]
    given = dict(zip(names, rest(theirs), strict=True))
    assert {key: value.shape for key, value in given.items()} == {key: ours.state_dict()[key].shape for key in names}
    ours.load_state_dict(given, strict=False)


@pytest.mark.parametrize("classes", [1, 4])
def test_resnet50_unet_is_that_of_segmentation_models_pytorch(classes: int) -> None:
    theirs = randomised(smp.Unet("resnet50", encoder_weights=None, classes=classes))
    ours = make("resnet50-unet", TUMOUR if classes == 4 else POLYP).eval()
    give(theirs, ours)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [1, 4])
def test_deeplabv3plus_is_that_of_segmentation_models_pytorch(classes: int) -> None:
    form = {"encoder_output_stride": 16, "decoder_atrous_rates": (6, 12, 18)}
    theirs = randomised(smp.DeepLabV3Plus("tu-resnet50", encoder_weights=None, classes=classes, **form))
    ours = make("deeplabv3plus", TUMOUR if classes == 4 else POLYP).eval()
    give(theirs, ours)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def live_taps(size: int, dilations: tuple[int, int, int]) -> list[int]:
    """Of the nine of each dilated convolution, how many get a gradient from images of a size."""
    model = make("deeplabv3plus", POLYP, encoder="test_resnet", width=4, dilations=dilations).train()
    model(torch.randn(2, 3, size, size)).square().sum().backward()
    kernels = [branch[0].weight.grad for branch in model.pooling.dilated]  # type: ignore[union-attr]
    return [int((kernel.abs().sum(dim=(0, 1)) > 0).sum()) for kernel in kernels]


def test_a_dilation_beyond_the_map_trains_its_middle_alone_and_is_told(segkit: Command) -> None:
    assert live_taps(128, (6, 12, 24)) == [9, 1, 1]  # the map is 8 x 8
    assert live_taps(128, (2, 4, 6)) == [9, 9, 9]
    doubts = {
        size: plugins.load().find("models", "deeplabv3plus").spec.options().doubts((size, size)) for size in (128, 320)
    }
    assert "12, 18" in doubts[128][0] and "8 x 8" in doubts[128][0] and "model.dilations=2,4,6" in doubts[128][0]
    assert doubts[320] == []  # 20 x 20
    words = "models deeplabv3plus -o model.encoder=test_resnet -o model.width=4 --channels 1".split()
    assert "model.dilations" in segkit(*words, "--size", "128,640").err  # the shorter side decides
    assert "model.dilations" not in segkit(*words, "--size", "128,640", "-o", "model.dilations=1,2,7").err


def test_a_dilation_beyond_the_map_is_told_before_training(segkit: Command, tmp_path: Path) -> None:
    words = "train --dataset phantom --model deeplabv3plus -o model.encoder=test_resnet -o model.width=4 -o dataset.cases=8"
    words += " -o dataset.size=32 --epochs 1 -o preprocess.size=64"
    told = segkit(*words.split(), "--out", tmp_path / "run")
    assert told.code == 0 and "reaches beyond the 4 x 4 map" in told.err


def test_deeplabv3plus_of_the_past_keeps_its_dilations(tmp_path: Path) -> None:
    file = save_weights(
        tmp_path / "model.safetensors", "deeplabv3plus", POLYP, Preprocess("stretch", (64, 64)),
        encoder="test_resnet", width=4, dilations=(12, 24, 36),
    )  # fmt: skip
    header, _, model = load_model(file)
    assert header.options["dilations"] == [12, 24, 36]
    assert [branch[0].dilation for branch in model.pooling.dilated] == [(12, 12), (24, 24), (36, 36)]  # type: ignore[union-attr]


@pytest.mark.parametrize(("size", "sides"), [pytest.param("128", [128, 128], marks=pytest.mark.slow), ("128,96", [128, 96])])
def test_a_size_fills_the_option_size_as_training_does(segkit: Command, size: str, sides: list[int]) -> None:
    counted = json.loads(segkit("models", "transunet", "--channels", 3, "--classes", 4, "--size", size, "--json").out)
    tokens = sides[0] * sides[1] // 256
    assert counted["with"]["size"] == sides and counted["parameters"] == 105_174_980 + (tokens - 64) * 768
    typed = choose(plugins.load().find("models", "transunet"), ["model.size=224"], (128, 128))
    assert typed.options.size == 224


@pytest.mark.parametrize(("dims", "norm"), [(2, "batch"), (3, "batch"), (3, "instance")])
def test_a_pair_of_convolutions_is_that_of_monais_unet(dims: int, norm: str) -> None:
    """MONAI's whole U-Nets differ (their last level keeps its width); their block is ours."""
    from monai.networks.nets.basic_unet import TwoConv

    theirs = TwoConv(dims, 3, 8, "relu", (norm, {"affine": True}), bias=True)
    name = "unet" if dims == 2 else "unet3d"
    ours = make(name, Task(3, ("a", "b"), dims=dims), width=8, depth=1, norm=norm).encoder[0]  # type: ignore[index]
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, *(8,) * dims)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


# TransUNet

SMALL = {"width": 32, "layers": (1, 1, 1), "hidden": 48, "depth": 1, "heads": 4}


def test_a_transformer_block_of_transunet_is_torchs_own_encoder_layer() -> None:
    torch.manual_seed(0)
    block = make("transunet", POLYP, **SMALL).eval().encoder.blocks[0]  # type: ignore[union-attr,index]
    layer = nn.TransformerEncoderLayer(48, 4, 4 * 48, 0.1, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    pairs = {
        "self_attn.in_proj_": "attn.qkv.",
        "self_attn.out_proj.": "attn.proj.",
        "linear1.": "mlp.fc1.",
        "linear2.": "mlp.fc2.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    state = block.state_dict()
    layer.load_state_dict({f"{a}{end}": state[f"{b}{end}"] for a, b in pairs.items() for end in ("weight", "bias")})
    tokens = torch.randn(2, 9, 48)
    with torch.inference_mode():
        torch.testing.assert_close(block(tokens), layer(tokens), rtol=1e-4, atol=1e-5)


def test_standardised_convolutions_ignore_scale_and_offset_of_their_kernels() -> None:
    conv = make("transunet", POLYP, **SMALL).encoder.patch_embed.backbone.stem.conv  # type: ignore[union-attr]
    x = torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        conv.weight.mul_(100)  # or the epsilon would show
        before = conv(x)
        conv.weight.mul_(7).add_(3)
        torch.testing.assert_close(conv(x), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [64, 48, (32, 80)])
def test_transunet_takes_other_sizes_than_its_own(size: int | tuple[int, int]) -> None:
    model = make("transunet", POLYP, size=64, **SMALL).eval()
    sides = size if isinstance(size, tuple) else (size, size)
    with torch.inference_mode():
        assert model(torch.randn(1, 3, *sides)).shape == (1, 1, *sides)
        assert padded(model, torch.randn(1, 3, sides[0] - 5, sides[1] + 3), (16, 16), 1).shape[2:] == (
            sides[0] - 5,
            sides[1] + 3,
        )


def test_transunets_positions_are_made_for_its_own_size_and_interpolated_for_others() -> None:
    """Weights of a network for 64 x 64 whose positions are their rows: loaded into others they lie bilinearly between."""
    source = make("transunet", POLYP, size=64, **SMALL).encoder
    rows = torch.arange(4.0).repeat_interleave(4)
    tensors = {**source.state_dict(), "pos_embed": rows[None, :, None].expand(1, 16, 48)}  # type: ignore[operator]
    for size, expected in (((64, 64), [0, 1, 2, 3]), ((128, 64), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])):
        encoder = make("transunet", POLYP, size=size, **SMALL).encoder
        encoder.load_pretrained(tensors)  # type: ignore[operator]
        found = encoder.pos_embed[0, :, 0].reshape(len(expected), 4)  # type: ignore[index]
        assert found[:, 0].tolist() == pytest.approx(expected)  # pixels as areas


def test_transunet_interpolates_its_positions_for_an_image_of_another_size() -> None:
    own, larger = (make("transunet", POLYP, size=size, **SMALL).eval() for size in (64, (128, 64)))
    larger.load_state_dict({**own.state_dict(), "encoder.pos_embed": larger.encoder.pos_embed})  # type: ignore[union-attr,dict-item]
    larger.encoder.load_pretrained(own.encoder.state_dict())  # type: ignore[operator,union-attr]
    images = torch.randn(1, 3, 128, 64)
    with torch.inference_mode():
        assert torch.allclose(own(images), larger(images), atol=1e-5)


def test_transunets_size_is_filled_from_the_preprocessing_and_recorded(segkit: Command, tmp_path) -> None:  # type: ignore[no-untyped-def]
    small = [word for key, value in SMALL.items() for word in ("-o", f"model.{key}={value}")]
    words = "train --dataset phantom --model transunet -o dataset.cases=8 -o dataset.size=32 -o preprocess.size=48,32"
    assert segkit(*words.split(), *small, "--epochs", "1", "--out", tmp_path / "run").code == 0
    told = json.loads(segkit("info", tmp_path / "run", "--json").out)
    assert told["model"]["options"]["size"] == [48, 32]
    assert segkit("evaluate", tmp_path / "run").code == 0


def test_transunets_encoder_has_the_names_of_timms_weights() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vit_base_r50_s16_224").state_dict()
        ours = make("transunet", POLYP).encoder.state_dict()  # type: ignore[union-attr]
    extra = {"cls_token", "head.weight", "head.bias"}
    assert set(theirs) - extra == set(ours)
    shapes = {key: value.shape for key, value in theirs.items() if key not in extra | {"pos_embed"}}
    assert {key: value.shape for key, value in ours.items() if key != "pos_embed"} == shapes


# the classifier's head


@pytest.mark.parametrize("wanted", [600, 2_086, 4_200, 65_922])
def test_a_head_of_about_so_many_parameters_can_be_asked_for(wanted: int) -> None:
    head = make("resnet-classifier", POLYP.as_classification(), head_parameters=wanted).head
    one_more = 512 + 1 + 2  # what one more hidden unit adds
    assert abs(counts(head)[0] - wanted) <= one_more / 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "groups"), [(4, 1), (16, 1), (32, 2), (48, 3), (64, 4)])
def test_group_norm_has_sixteen_maps_to_a_group(width: int, groups: int) -> None:
    norm = make("unet", POLYP, width=width, depth=1, norm="group").encoder[0][1]  # type: ignore[index]
    assert (norm.num_groups, norm.num_channels) == (groups, width)
