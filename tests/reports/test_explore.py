"""The pictures of `segkit data explore` show the subsets side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command

PICTURES = {"intensities.png", "sizes.png", "aspects.png", "centres.png", "balance.png"}
pytestmark = pytest.mark.usefixtures("pictures_drawn")


@pytest.mark.parametrize(("name", "panels"), [("brain-coco", 3), ("folder", 1), ("acdc", 2)])
def test_five_pictures_and_a_page(segkit: Command, tmp_path: Path, name: str, panels: int) -> None:
    assert segkit("data", "synth", name, "--cases", "8", "--out", tmp_path / "data").code == 0
    done = segkit("data", "explore", name, "--data-dir", tmp_path / "data", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES | {"index.html"}
    for picture in PICTURES:
        with Image.open(tmp_path / "out" / picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] == pytest.approx(panels * 462, abs=3) and pixels.std() > 5  # 4.2 inches of 110 dots each
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(picture in page for picture in PICTURES) and "with a target" in page


def test_a_case_that_cannot_be_read_is_named_on_the_page(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "4", "--out", tmp_path / "data").code == 0
    (tmp_path / "data" / "images" / "phantom-0002.png").write_bytes(b"<b>")
    words = ["--data-dir", tmp_path / "data", "-o", "dataset.channels=3", "--out", tmp_path / "out"]
    assert segkit("data", "explore", "folder", *words).code == 0
    assert "phantom-0002" in (tmp_path / "out" / "index.html").read_text()
