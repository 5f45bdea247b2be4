"""Orientation tags turn pictures as Pillow turns them, and the sizes of image and mask tell which were meant."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from segkit.data.images import read_image, read_mask
from segkit.data.orientation import Frame, frame_of, match_frames

STORED = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def tagged(path: Path, orientation: int, pixels: np.ndarray = STORED) -> Path:  # type: ignore[type-arg]
    if path.suffix == ".tif":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(path, pixels, photometric="minisblack", extratags=[tag])
        return path
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_every_orientation_is_turned_as_pillow_does(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tagged(tmp_path / f"x{suffix}", orientation)
    with Image.open(path) as stored:  # of a TIFF Pillow turns the pixels itself
        flat = Image.fromarray(STORED if suffix == ".tif" else np.array(stored))
    flat.getexif()[0x0112] = orientation
    shown = np.array(ImageOps.exif_transpose(flat))
    assert np.array_equal(read_image(path)[0], shown)
    assert np.array_equal(read_mask(path), shown)
    assert np.array_equal(read_image(path, upright=False)[0], np.array(flat))
    frame = frame_of(path)
    assert frame == Frame((4, 6), orientation) and frame.shown == shown.shape


def test_a_png_of_16_bit_colours_is_turned_too(tmp_path: Path) -> None:

    deep = np.arange(72, dtype=np.uint16).reshape(4, 6, 3) * 900
    cv2.imwrite(str(tmp_path / "x.png"), deep[..., ::-1])
    content = (tmp_path / "x.png").read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    part = b""

    data = exif.tobytes().removeprefix(b"Exif\0\0")
    part = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    end = content.index(b"IEND") - 4  # behind the pixels, where exiftool puts it
    (tmp_path / "x.png").write_bytes(content[:end] + part + content[end:])
    assert np.array_equal(np.moveaxis(read_image(tmp_path / "x.png"), 0, -1), np.rot90(deep, -1))
    assert frame_of(tmp_path / "x.png") == Frame((4, 6), 6)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, orientation: int) -> None:
    assert np.array_equal(read_mask(tagged(tmp_path / "x.tif", orientation)), STORED)


def test_what_is_no_image_has_no_frame(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"text")
    assert frame_of(tmp_path / "x.png") is None and frame_of(tmp_path / "gone.png") is None


@pytest.mark.parametrize(
    ("image", "mask", "expected"),
    [
        (Frame((24, 48), 6), Frame((48, 24)), "shown"),
        (Frame((24, 48), 6), Frame((24, 48)), "stored"),
        (Frame((24, 48)), Frame((24, 48), 8), "stored"),
        (Frame((24, 48), 6), Frame((24, 48), 6), "shown"),
        (Frame((32, 32), 6), Frame((32, 32)), "unsure"),
        (Frame((24, 48), 3), Frame((24, 48)), "unsure"),
        (Frame((24, 48), 6), Frame((9, 9)), "shown"),
    ],
)
def test_sizes_tell_which_pixels_a_mask_is_for(image: Frame, mask: Frame, expected: str) -> None:
    assert match_frames(image, mask) == expected
