"""augmented.png is the batch of the first step, and making it changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import Command, same_weights
from segkit.data.images import read_image
from segkit.reports.batch import draw_batch
from segkit.reports.overlay import COLORS

DATA = (
    "train --dataset phantom -o dataset.cases=16 -o dataset.size=16 -o preprocess.size=16 --epochs 1 --batch-size 4".split()
)
UNET = "--model unet -o model.width=2 -o model.depth=1"
CLASSIFIER = "--model resnet-classifier -o model.encoder=test_resnet -o model.hidden=4 -o preprocess.size=32"


@pytest.mark.parametrize(
    "words",
    [
        UNET,
        f"{UNET} -o dataset.classes=2",
        f"{UNET} -o dataset.dims=3",
        "--model unet3d -o model.width=2 -o model.depth=1 -o dataset.dims=3 -o preprocess.fit=patch",
        f"{CLASSIFIER} -o dataset.empty=0.5",
    ],
)
def test_every_training_keeps_a_picture_of_its_first_batch(segkit: Command, tmp_path: Path, words: str) -> None:
    done = segkit(*DATA, *words.split(), "--out", tmp_path / "run")
    assert done.code == 0, done.err
    picture = read_image(tmp_path / "run" / "augmented.png")
    assert picture.shape[0] == 3 and picture.shape[2] >= 2 * 256 and len(np.unique(picture)) > 50


def test_it_shows_masks_on_their_images() -> None:
    images, masks = np.zeros((3, 1, 32, 32), np.float32), np.zeros((3, 32, 32), np.int32)
    images[:, :, :16] = 1
    masks[1, 8:24, 8:24] = 1
    picture = draw_batch(images, masks, ("background", "target"), "a batch")
    body = picture[-2 * 258 :]  # two by two; the legend is above
    colored = (body == COLORS[0]).all(axis=2)
    assert colored[:258, 258:].any() and not colored[:258, :258].any() and not colored[258:].any()


def test_the_picture_changes_nothing_that_is_trained(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segkit(*DATA, *UNET.split(), "-o", "model.dropout=0.5", "--out", tmp_path / "with").code == 0
    monkeypatch.setattr("segkit.training.train.keep_batch_picture", lambda session: None)
    assert segkit(*DATA, *UNET.split(), "-o", "model.dropout=0.5", "--out", tmp_path / "without").code == 0
    assert same_weights(tmp_path / "with", tmp_path / "without")
    assert not (tmp_path / "without" / "augmented.png").exists()
