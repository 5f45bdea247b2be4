"""timm's families as encoders: working at strides 4 to 32, or refused in words that name others; pretrained weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_models import POLYP, make
from torch import Tensor, nn

from conftest import Command
from segkit.errors import SegkitError, UsageError
from segkit.models.pretrained import start_from
from segkit.task import Task

SMALL = "-o dataset.cases=8 -o dataset.size=32 -o preprocess.size=32 --epochs 1 --batch-size 4".split()
DECODERS = ("resnet50-unet", "semantic-fpn", "deeplabv3plus", "resnet-seg")
WORKING = {
    "resnet18": (2, 4, 8, 16, 32),
    "convnext_tiny": (4, 8, 16, 32),
    "efficientnet_b0": (2, 4, 8, 16, 32),
    "densenet121": (2, 4, 8, 16, 32),
    "swin_tiny_patch4_window7_224": (4, 8, 16, 32),
}
NOT_DILATED = {"densenet121", "swin_tiny_patch4_window7_224"}


@pytest.mark.parametrize("encoder", WORKING)
@pytest.mark.parametrize("model", DECODERS)
def test_families_work_at_any_size_and_any_number_of_channels_or_are_refused(model: str, encoder: str) -> None:
    task = Task(4, ("background", "polyp"))
    if model == "deeplabv3plus" and encoder in NOT_DILATED:
        with pytest.raises(UsageError, match=encoder) as error:
            make(model, task, encoder=encoder)
        assert "resnet50" in error.value.hint and encoder not in error.value.hint
        return
    network = make(model, task, encoder=encoder).eval()
    assert tuple(network.encoder.widths) == WORKING[encoder]  # type: ignore[union-attr]
    with torch.inference_mode():
        maps = network.encoder(torch.randn(1, 4, 64, 96))  # type: ignore[operator]
        deepest = 16 if model == "deeplabv3plus" else 32
        for stride, found in maps.items():
            own = min(stride, deepest)
            assert found.shape == (1, network.encoder.widths[stride], 64 // own, 96 // own)  # type: ignore[union-attr,index]
        assert network(torch.randn(1, 4, 64, 96)).shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ("vit_tiny_patch16_224", "strides 16, 16, 16; 4, 8, 16 and 32 are needed"),
        ("maxvit_tiny_tf_224", "does not take any size"),
        ("resnet51", "timm knows no encoder 'resnet51'"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm knows no encoder"),  # would be fetched
        ("local-dir:/tmp", "timm knows no encoder"),
    ],
)
@pytest.mark.parametrize("model", ["resnet50-unet", "resnet-seg"])
def test_what_does_not_fit_is_refused_with_alternatives(model: str, encoder: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as error:
        make(model, POLYP, encoder=encoder)
    assert "resnet" in error.value.hint


def test_a_mistyped_encoder_ends_before_anything_is_written(segkit: Command, tmp_path: Path) -> None:
    words = ["train", "--dataset", "phantom", "--model", "resnet50-unet", *SMALL, "-o", "model.encoder=swin_tiny"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 2 and "swin_tiny_patch4_window7_224" in done.err and not (tmp_path / "run").exists()


# pretrained weights


def imagenet_like(name: str, **changes: object) -> dict[str, Tensor]:
    """A state dict as timm's files hold it, classifier included, with values of its own."""
    torch.manual_seed(1)
    state = timm.create_model(name, **changes).state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}


def write(state: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("model", ["resnet50-unet", "semantic-fpn", "deeplabv3plus", "resnet-seg", "resnet-classifier"])
def test_a_file_of_encoder_weights_fills_the_encoder(tmp_path: Path, model: str, ending: str) -> None:
    state = imagenet_like("test_resnet")
    task = POLYP.as_classification() if model == "resnet-classifier" else POLYP
    network = make(model, task, encoder="test_resnet")
    start_from(network, model, str(write(state, tmp_path / f"weights.{ending}")))
    loaded = network.encoder.net.state_dict()  # type: ignore[union-attr,operator]
    assert loaded and all(torch.equal(loaded[key], state[key]) for key in loaded)


@pytest.mark.parametrize("encoder", ["test_convnext", "test_efficientnet"])
def test_families_whose_parts_are_renamed_are_filled_too(tmp_path: Path, encoder: str) -> None:
    """Filled by timm's own way: the same maps as timm's network from the same file."""
    state = imagenet_like(encoder)
    network = make("resnet50-unet", POLYP, encoder=encoder).eval()
    start_from(network, "resnet50-unet", str(write(state, tmp_path / "weights.safetensors")))
    theirs = timm.create_model(
        encoder, features_only=True, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)}
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = zip(network.encoder(x).values(), theirs.eval()(x), strict=True)  # type: ignore[operator]
        assert all(torch.equal(one, other) for one, other in maps)


def test_one_channel_sums_the_stem_and_more_channels_repeat_it(tmp_path: Path) -> None:
    """As timm adapts a first convolution: summed for one channel, repeated and scaled by 3 / channels for more."""
    state = imagenet_like("test_resnet")
    file = write(state, tmp_path / "weights.safetensors")
    stem = next(key for key, value in state.items() if value.ndim == 4)
    for channels, expected in (
        (1, state[stem].sum(dim=1, keepdim=True)),
        (4, state[stem].repeat(1, 2, 1, 1)[:, :4] * 3 / 4),
    ):
        network = make("resnet50-unet", Task(channels, ("a", "b")), encoder="test_resnet")
        start_from(network, "resnet50-unet", str(file))
        torch.testing.assert_close(network.encoder.net.state_dict()[stem], expected)  # type: ignore[union-attr,operator]


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    file = write(imagenet_like("test_convnext"), tmp_path / "weights.safetensors")
    with pytest.raises(SegkitError, match="'test_resnet'"):
        start_from(make("resnet50-unet", POLYP, encoder="test_resnet"), "resnet50-unet", str(file))


def test_transunet_takes_timms_weights_for_its_own_grid(tmp_path: Path) -> None:
    from test_models import SMALL as SIZES

    network = make("transunet", Task(1, ("a", "b")), size=(64, 32), **SIZES)
    own = network.encoder.state_dict()  # type: ignore[union-attr,operator]
    torch.manual_seed(0)
    state = {key: torch.rand_like(value) for key, value in own.items()}
    state |= {"cls_token": torch.rand(1, 1, 48), "pos_embed": torch.full((1, 50, 48), 3.0), "head.weight": torch.rand(9, 48)}
    state["pos_embed"][:, 0] = 99  # the class token's
    state["patch_embed.backbone.stem.conv.weight"] = torch.rand(32, 3, 7, 7)
    start_from(network, "transunet", str(write(state, tmp_path / "weights.safetensors")))
    loaded = network.encoder.state_dict()  # type: ignore[union-attr,operator]
    assert loaded["pos_embed"].shape == (1, 8, 48) and bool((loaded["pos_embed"] == 3).all())
    assert torch.equal(loaded["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    assert loaded["patch_embed.backbone.stem.conv.weight"].shape[1] == 1
    del state["norm.bias"]
    with pytest.raises(SegkitError, match="vit_base_r50_s16_224"):
        start_from(network, "transunet", str(write(state, tmp_path / "other.safetensors")))


@pytest.mark.parametrize(
    ("model", "file"), [("resnet50-unet", "resnet50.a1_in1k"), ("transunet", "vit_base_r50_s16_224.orig_in21k")]
)
def test_offline_imagenet_names_the_file_and_where_to_put_it(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, file: str
) -> None:
    def no_network(*arguments: object, **named: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    done = segkit(
        "train", "--dataset", "phantom", "--model", model, *SMALL, "--pretrained", "imagenet", "--out", tmp_path / "run"
    )
    assert done.code == 1
    assert f"https://huggingface.co/timm/{file}/resolve/main/model.safetensors" in done.err
    assert str(tmp_path / "cache" / "pretrained" / f"{file}.safetensors") in done.err
    assert not (tmp_path / "run").exists() and "run folder" not in done.err


def test_imagenet_is_taken_from_where_it_was_put(segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    file = make("resnet50-unet", POLYP, encoder="resnet10t").encoder.pretrained_file  # type: ignore[union-attr]
    state = imagenet_like("resnet10t")
    write(state, tmp_path / "cache" / "pretrained" / str(file))
    words = ["train", "--dataset", "phantom", "--model", "resnet50-unet", *SMALL, "-o", "model.encoder=resnet10t"]
    done = segkit(*words, "--pretrained", "imagenet", "--freeze-encoder", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    from safetensors.torch import load_file

    trained = load_file(tmp_path / "run" / "model.safetensors")
    own = {key.removeprefix("encoder.net."): value for key, value in trained.items() if key.startswith("encoder.net.")}
    assert own and all(torch.equal(own[key], state[key]) for key in own)  # frozen: batch-norm statistics included
    assert json.loads(segkit("info", tmp_path / "run", "--json").out)["model"]["options"]["freeze"] is True
    (tmp_path / "cache" / "pretrained" / str(file)).unlink()
    assert segkit("evaluate", tmp_path / "run").code == 0  # the weights file needs nothing else


def test_what_the_hubs_own_client_has_fetched_before_is_taken_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make("resnet-seg", POLYP, encoder="resnet10t")
    state, folder = imagenet_like("resnet10t"), tmp_path / "models--timm--resnet10t.c3_in1k"
    write(state, folder / "snapshots" / "abc" / "model.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", None)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    start_from(network, "resnet-seg", "imagenet")
    loaded = network.encoder.net.state_dict()  # type: ignore[union-attr,operator]
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


def test_a_frozen_encoder_stays_in_eval_mode_while_the_decoder_trains() -> None:
    network = make("semantic-fpn", POLYP, encoder="test_resnet", freeze=True).train()
    modes = {module.training for module in network.encoder.modules()}  # type: ignore[union-attr]
    assert modes == {False} and network.fuse.training
    assert not any(own.requires_grad for own in network.encoder.parameters())  # type: ignore[union-attr]


def test_a_run_can_start_from_the_weights_of_another_with_other_classes(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    words = (
        "train --dataset phantom --model unet -o dataset.cases=8 -o dataset.size=32 -o dataset.classes=2 -o model.width=4"
    )
    weights = trained / "model.safetensors"
    done = segkit(
        *words.split(), "-o", "model.depth=2", *SMALL[4:], "--lr", "0", "--pretrained", weights, "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err
    assert "fresh: head.0.weight, head.0.bias" in done.err
    from safetensors.torch import load_file

    first, second = load_file(weights), load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(first["encoder.0.0.weight"], second["encoder.0.0.weight"])
    assert f'pretrained = "{weights}"' in (tmp_path / "run" / "run.toml").read_text()


def test_unusable_files_are_told_in_words(segkit: Command, tmp_path: Path) -> None:
    class Pickled(nn.Linear):
        pass

    words = ["train", "--dataset", "phantom", "--model", "unet", *SMALL, "-o", "model.width=2", "--out", tmp_path / "run"]
    torch.save(imagenet_like("test_resnet"), tmp_path / "other.pth")
    (tmp_path / "damaged.pth").write_bytes(b"not weights")
    (tmp_path / "damaged.safetensors").write_bytes(b"not weights")
    torch.save([1, 2], tmp_path / "list.pth")
    import pickle

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Path))
    for name, part in {
        "other.pth": "belongs to another model",
        "damaged.pth": "cannot be read as weights",
        "damaged.safetensors": "cannot be read",
        "list.pth": "no tensors by name",
        "evil.pth": "cannot be read as weights",
    }.items():
        done = segkit(*words, "--pretrained", tmp_path / name)
        assert done.code == 1 and part in done.err and not (tmp_path / "run").exists(), name
    done = segkit(*words, "--pretrained", tmp_path / "none.pth")
    assert done.code == 2 and "there is no such file" in done.err
    done = segkit(*words, "--pretrained", "imagenet")
    assert done.code == 2 and "no encoder" in done.err
    done = segkit(*words, "--freeze-encoder")
    assert done.code == 2 and "--freeze-encoder" in done.err


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ("legacy_xception", "its maps at stride 2"),  # a convolution without padding
        ("mobilevitv2_050", "its maps at stride"),  # rounds sizes up to multiples of 64
        ("botnet26t_256", "does not take any size"),
        ("resnet50.nonsense", "nonsense"),
    ],
)
def test_families_with_sizes_of_their_own_are_refused_when_they_are_made(encoder: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as error:
        make("resnet50-unet", POLYP, encoder=encoder)
    assert encoder in error.value.message and "resnet18" in error.value.hint


@pytest.mark.parametrize("other", ["resnet34", "resnet10t", "convnext_atto"])
def test_another_networks_weights_are_refused_also_where_they_hold_all_that_is_asked_for(tmp_path: Path, other: str) -> None:
    file = write(imagenet_like(other), tmp_path / "weights.safetensors")
    with pytest.raises(SegkitError, match="'resnet18'"):
        start_from(make("resnet-seg", POLYP, encoder="resnet18"), "resnet-seg", str(file))


def test_weights_without_batch_norm_statistics_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parameters = {key: value.detach() for key, value in timm.create_model("resnet18").named_parameters()}
    with pytest.raises(SegkitError, match="tensors of the encoder 'resnet18'"):
        start_from(make("resnet-seg", POLYP, encoder="resnet18"), "x", str(write(parameters, tmp_path / "w.safetensors")))


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "encoder.model.", "encoder.net."])
def test_the_encoder_is_found_under_the_prefixes_that_others_write(tmp_path: Path, prefix: str) -> None:
    state = imagenet_like("test_resnet")
    file = write({f"{prefix}{key}": value for key, value in state.items()}, tmp_path / "weights.safetensors")
    network = make("semantic-fpn", POLYP, encoder="test_resnet")
    start_from(network, "semantic-fpn", str(file))
    loaded = network.encoder.net.state_dict()  # type: ignore[union-attr,operator]
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


def test_a_classifier_and_a_segmentation_model_share_encoders_of_renamed_families(tmp_path: Path) -> None:
    classifier = make("resnet-classifier", POLYP.as_classification(), encoder="test_convnext")
    file = write(classifier.state_dict(), tmp_path / "weights.safetensors")
    network = make("resnet-seg", POLYP, encoder="test_convnext")
    start_from(network, "resnet-seg", str(file))
    stem = next(value for value in classifier.encoder.parameters() if value.ndim == 4)  # type: ignore[union-attr]
    assert torch.equal(next(value for value in network.encoder.parameters() if value.ndim == 4), stem)  # type: ignore[union-attr]


def test_a_run_of_another_width_is_refused_and_a_run_folder_is_taken(segkit: Command, trained: Path, tmp_path: Path) -> None:
    words = ["train", "--dataset", "phantom", "--model", "unet", *SMALL, "-o", "model.depth=2", "--pretrained", trained]
    wider = segkit(*words, "-o", "model.width=8", "--out", tmp_path / "run")
    assert wider.code == 1 and "have the sizes of this model" in wider.err and not (tmp_path / "run").exists()
    same = segkit(*words, "-o", "model.width=4", "--out", tmp_path / "run")
    assert same.code == 0 and "model.safetensors" in same.err


def test_an_encoder_without_weights_is_told_and_a_frozen_random_one_noted(segkit: Command, tmp_path: Path) -> None:
    words = ["train", "--dataset", "phantom", "--model", "resnet-seg", *SMALL, "-o", "model.widths=8,8,8,8,8"]
    none = segkit(*words, "-o", "model.encoder=resnetv2_50d", "--pretrained", "imagenet", "--out", tmp_path / "run")
    assert none.code == 2 and "no weights for this encoder" in none.err
    frozen = segkit(*words, "-o", "model.encoder=test_resnet", "--freeze-encoder", "--out", tmp_path / "run")
    assert frozen.code == 0 and "frozen and its weights are random" in frozen.err
