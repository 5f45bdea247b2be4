"""What is validated is what is trained on: the same loss, of the same pieces, beside figures of whole cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import Command, history
from segkit import plugins
from segkit.config.resolve import Choice
from segkit.data.reading import open_dataset
from segkit.models.build import load_model
from segkit.options import build
from segkit.task import Dataset

STILL = (
    "train --dataset phantom -o dataset.dims=3 -o dataset.size=16 -o dataset.cases=6 -o preprocess.size=16 --augment none "
    "-o preprocess.slice_axis=2 --lr 0 --epochs 1 --batch-size 5 -o split.val=0.4 -o split.test=0.2"
).split()
PLAIN = "--model unet -o model.width=2 -o model.depth=1 -o model.norm=none -o model.head_norm=false".split()


def phantoms() -> Dataset:
    found = plugins.load().find("datasets", "phantom")
    return open_dataset(Choice(found, build(found.spec.options, {"dims": 3, "size": 16, "cases": 6}, "dataset")), None)


def slices(run: Path, subset: str) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Logits (N, K, 16, 16) and masks of all slices of a subset, and how many each volume has."""
    ids = json.loads((run / "split.json").read_text())[subset]
    dataset, (_, _, model) = phantoms(), load_model(run / "model.safetensors")
    samples = [dataset.read(case) for case in dataset.cases if case.id in ids]
    images = np.concatenate([np.moveaxis(sample.image, -1, 0) for sample in samples])
    masks = np.concatenate([np.moveaxis(sample.mask, -1, 0) for sample in samples])  # type: ignore[arg-type]
    with torch.inference_mode():
        logits = model(torch.from_numpy(images.astype(np.float32) / 255))
    return logits, torch.from_numpy(masks), [sample.image.shape[-1] for sample in samples]


def dice_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Of each item, by the formula of `segkit losses dice` with smooth = 1."""
    found, truth = logits.sigmoid().flatten(1), masks.float().flatten(1)
    return 1 - (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)


def test_a_2d_network_on_volumes_is_validated_on_the_loss_of_slices(segkit: Command, tmp_path: Path) -> None:
    words = [*STILL, *PLAIN, "--loss", "dice", "-o", "loss.smooth=1", "--monitor", "loss"]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    (row,) = history(tmp_path / "run")
    for subset in ("train", "val"):  # with a rate of 0 both are of the same weights
        logits, masks, _ = slices(tmp_path / "run", subset)
        assert float(row[f"{subset}_loss"]) == pytest.approx(float(dice_loss(logits, masks).mean()), abs=1e-5)
    logits, masks, depths = slices(tmp_path / "run", "val")
    whole = [dice_loss(own.flatten()[None], truth.flatten()[None]) for own, truth in parts(logits, masks, depths)]
    assert abs(float(row["val_loss"]) - float(torch.stack(whole).mean())) > 0.005
    dices = [_dice(own > 0, truth > 0) for own, truth in parts(logits, masks, depths)]
    assert float(row["val_dice"]) == pytest.approx(np.mean(dices), abs=1e-6)  # beside it, of whole volumes


def parts(logits: torch.Tensor, masks: torch.Tensor, depths: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(logits[:, 0].split(depths), masks.split(depths), strict=True))


def _dice(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_a_classifier_of_slices_is_validated_on_the_loss_of_slices(segkit: Command, tmp_path: Path) -> None:
    model = "--model resnet-classifier -o model.encoder=test_resnet -o model.hidden=4".split()
    words = [*STILL, *model, "-o", "preprocess.size=32", "--monitor", "loss"]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    ids = json.loads((tmp_path / "run" / "split.json").read_text())["val"]
    dataset, (_, _, network) = phantoms(), load_model(tmp_path / "run" / "model.safetensors")
    losses = []
    for case in (case for case in dataset.cases if case.id in ids):
        sample = dataset.read(case)
        images = torch.from_numpy(np.moveaxis(sample.image, -1, 0).astype(np.float32) / 255)
        images = functional.interpolate(images, (32, 32), mode="bilinear", align_corners=False)
        truth = torch.from_numpy(np.moveaxis(sample.mask, -1, 0)).flatten(1).any(1).long()  # type: ignore[arg-type]
        with torch.inference_mode():
            losses.append(functional.cross_entropy(network(images), truth, reduction="none"))
    assert float(history(tmp_path / "run")[0]["val_loss"]) == pytest.approx(float(torch.cat(losses).mean()), rel=2e-2)
