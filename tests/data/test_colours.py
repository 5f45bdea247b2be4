"""Colour spaces come out as RGB or are refused by name; what is transparent in a mask is background."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.data.images import read_image, read_mask
from segkit.errors import SegkitError

RED = (200, 40, 30)


def written(path: Path, pixels: Any, **how: Any) -> Path:
    tifffile.imwrite(path, np.asarray(pixels), **how)
    return path


def flat(values: tuple[int, ...], dtype: type = np.uint8) -> Any:
    return np.broadcast_to(np.array(values, dtype), (4, 5, len(values))).copy()


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_inks_are_shown_as_rgb(tmp_path: Path, dtype: type, most: int, planar: str) -> None:
    """R = (1 - C)(1 - K): half of the black ink halves what the other inks leave."""
    inks = flat((most // 5, most, 0, most // 2), dtype)
    path = written(
        tmp_path / "x.tif",
        np.moveaxis(inks, -1, 0) if planar == "separate" else inks,
        photometric="separated",
        planarconfig=planar,
    )
    image = read_image(path)
    assert image.dtype == dtype and image[:, 0, 0] / most == pytest.approx([0.8 * 0.5, 0, 0.5], abs=0.003)


def test_transparent_inks_are_rgb_without_alpha(tmp_path: Path) -> None:
    how = {"photometric": "separated", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    path = written(tmp_path / "x.tif", flat((55, 215, 225, 0, 9)), **how)
    assert read_image(path)[:, 0, 0].tolist() == [*RED]


@pytest.mark.parametrize("coding", ["full", "video"])
def test_luma_and_chroma_are_shown_as_rgb(tmp_path: Path, coding: str) -> None:
    """By Pillow's conversion; video range keeps Y in 16 to 235 and Cb, Cr in 16 to 240."""
    full = np.array(Image.fromarray(flat(RED)).convert("YCbCr"))
    ends = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)
    if coding == "video":
        full = np.round(full * [219 / 255, 224 / 255, 224 / 255] + [16, 128 - 128 * 224 / 255, 128 - 128 * 224 / 255])
        ends = (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)
    tags = [(532, "2I", 6, ends, True)]
    path = written(tmp_path / "x.tif", full.astype(np.uint8), photometric="ycbcr", extratags=tags)
    assert read_image(path)[:, 0, 0].astype(int) == pytest.approx(RED, abs=3)


@pytest.mark.parametrize(
    ("photometric", "dtype", "words"),
    [("cielab", np.uint8, "CIELAB"), ("icclab", np.uint16, "ICCLAB"), ("separated", np.float32, "CMYK")],
)
def test_other_colour_spaces_are_refused_by_name(tmp_path: Path, photometric: str, dtype: type, words: str) -> None:
    samples = 4 if photometric == "separated" else 3
    path = written(tmp_path / "x.tif", flat((1,) * samples, dtype), photometric=photometric)
    with pytest.raises(SegkitError, match=rf"x.tif is in the colour space .*{words}"):
        read_image(path)


def test_subsampled_chroma_without_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tif", flat(RED), photometric="ycbcr")
    tag = struct.Struct("<HHIHH")  # YCbCrSubSampling, two of 16 bit
    path.write_bytes(path.read_bytes().replace(tag.pack(530, 3, 2, 1, 1), tag.pack(530, 3, 2, 2, 2)))
    with pytest.raises(SegkitError, match="YCbCr"):
        read_image(path)


def test_jpeg_in_tiff_is_rgb_already(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.array(RED, np.uint8), (16, 16, 1))).save(tmp_path / "x.tif", compression="jpeg")
    assert read_image(tmp_path / "x.tif")[:, 0, 0].astype(int) == pytest.approx(RED, abs=4)


def test_a_colour_map_of_8_bit_values_is_not_black(tmp_path: Path) -> None:
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 1] = RED  # 16-bit values by the standard; some writers put 8-bit ones there
    path = written(tmp_path / "x.tif", np.ones((2, 2), np.uint8), photometric="palette", colormap=colormap)
    assert read_image(path)[:, 0, 0].tolist() == [*RED]


def test_a_palette_with_alpha_is_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(flat(RED)).convert("PA")
    picture.save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[:, 0, 0].astype(int) == pytest.approx(RED, abs=30)  # the nearest of a web palette
    assert read_mask(tmp_path / "x.tif").shape == (4, 5)


def test_white_is_low_of_16_bit_is_turned_round(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tif", np.full((2, 2), 65000, np.uint16), photometric="miniswhite")
    assert read_image(path)[0, 0, 0] == 535
    path = written(tmp_path / "y.tif", np.full((2, 2), 0.5, np.float32), photometric="miniswhite")
    with pytest.raises(SegkitError, match="MINISWHITE"):
        read_image(path)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_in_a_mask_is_background(tmp_path: Path, mode: str) -> None:
    pixels = np.full((2, 2, len(mode)), 255, np.uint8)  # white everywhere, shown in one pixel
    pixels[..., -1] = [[255, 0], [0, 0]]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_mask(tmp_path / "x.png").tolist() == [[255, 0], [0, 0]]
    assert (read_image(tmp_path / "x.png") == 255).all()
    pixels[..., :-1] = 0
    Image.fromarray(pixels).save(tmp_path / "black.png")
    with pytest.raises(SegkitError, match="lies in its alpha channel"):
        read_mask(tmp_path / "black.png")


def test_gray_of_16_bit_with_alpha_keeps_its_16_bit(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">4H", 40001, 65535, 7, 65535) for _ in range(2))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 4, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert read_image(tmp_path / "x.png").tolist() == [[[40001, 7]] * 2]


def test_the_first_picture_of_a_phones_double_jpeg_is_the_image(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 10))
    first.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "x.jpg")[0, 0, 0] == 200
