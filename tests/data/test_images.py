"""The reader is right about colour, depth, palette, alpha and rotation, and damaged files are one clear error each."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segkit.data import limits
from segkit.data.images import read_image, read_mask, write_image
from segkit.data.volumes import read_volume
from segkit.errors import SegkitError

COLOURS = np.zeros((4, 5, 3), np.uint8)
COLOURS[:, :, 0], COLOURS[1, 2] = 200, (10, 20, 30)


def channels_last(image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.moveaxis(image, 0, -1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_colours_come_as_rgb(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOURS).save(tmp_path / f"x{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    assert np.array_equal(channels_last(read_image(tmp_path / f"x{suffix}")), COLOURS)


def test_a_tiff_tagged_gray_that_holds_rgb_keeps_its_three_channels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", COLOURS, photometric="minisblack", planarconfig="contig")
    assert cv2.imread(str(tmp_path / "x.tif"), cv2.IMREAD_UNCHANGED).ndim == 2  # the trap
    assert np.array_equal(channels_last(read_image(tmp_path / "x.tif")), COLOURS)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
def test_compressed_tiffs_are_read(tmp_path: Path, compression: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", COLOURS, photometric="rgb", compression=compression)
    assert np.array_equal(channels_last(read_image(tmp_path / "x.tif")), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_16_bit_stays_16_bit(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    deep = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) * 900
    write_image(tmp_path / f"x{suffix}", deep)
    back = read_image(tmp_path / f"x{suffix}")
    assert back.dtype == np.uint16
    assert np.array_equal(channels_last(back).reshape(shape), deep)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_never_counted(tmp_path: Path, mode: str) -> None:
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "x.png")
    assert len(read_image(tmp_path / "x.png")) == (3 if mode == "RGBA" else 1)


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (32, 1))).save(tmp_path / "x.jpg", exif=exif)
    image = read_image(tmp_path / "x.jpg")
    assert image.shape == (1, 64, 32)
    assert image[0, 0].mean() < image[0, -1].mean()


def test_a_palette_image_shows_colours_and_a_palette_mask_gives_its_indices(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None).convert("L")
    picture = picture.convert("P")
    picture.putdata([0, 1, 2, 1])
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[:, 0, 1].tolist() == [255, 0, 0]
    assert read_mask(tmp_path / "x.png").tolist() == [[0, 1], [2, 1]]


def test_a_gray_mask_saved_as_rgb_is_read_and_a_coloured_one_refused(tmp_path: Path) -> None:
    gray = np.repeat(np.array([[0, 255], [7, 0]], np.uint8)[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert read_mask(tmp_path / "gray.png").tolist() == [[0, 255], [7, 0]]
    Image.fromarray(COLOURS).save(tmp_path / "coloured.png")
    with pytest.raises(SegkitError, match="coloured mask"):
        read_mask(tmp_path / "coloured.png")


def test_a_palette_tiff_is_the_same(tmp_path: Path) -> None:
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 1], colormap[:, 2] = (65535, 0, 0), (0, 65535, 0)
    tifffile.imwrite(tmp_path / "x.tif", np.array([[0, 1], [2, 1]], np.uint8), photometric="palette", colormap=colormap)
    assert read_image(tmp_path / "x.tif")[:, 0, 1].tolist() == [255, 0, 0]
    assert read_mask(tmp_path / "x.tif").tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_white_is_low_is_turned_round(tmp_path: Path, dtype: type) -> None:
    shown = np.zeros((4, 5), bool)
    shown[1, 2] = True
    stored = ~shown if dtype is bool else (255 * ~shown).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="miniswhite")
    assert np.array_equal(read_mask(tmp_path / "x.tif") > 0, shown)


def test_a_mask_of_two_bits_keeps_its_labels(tmp_path: Path) -> None:
    rows = b"".join(bytes([0, 0b00011011]) for _ in range(2))  # 0 1 2 3, twice
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 2, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert read_mask(tmp_path / "x.png").tolist() == [[0, 1, 2, 3]] * 2


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 255)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(SegkitError, match="2 frames; an image has one"):
        read_image(tmp_path / "x.gif")


def test_a_one_bit_image_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").tolist() == [[[0, 255]]]


def test_a_gif_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "x.gif")
    assert read_mask(tmp_path / "x.gif").shape == (1, 2)
    assert read_image(tmp_path / "x.gif").shape == (3, 1, 2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_a_truncated_file_is_named_never_filled_up(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"half{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegkitError, match=f"half{suffix}"):
        read_image(tmp_path / f"half{suffix}")


@pytest.mark.parametrize(("content", "words"), [(b"", "0 bytes"), (b"this is text, not an image", "cannot be read")])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(SegkitError, match=rf"x.tif.*{words}"):
        read_image(tmp_path / "x.tif")


def test_an_image_of_nan_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.full((4, 5), np.nan, np.float32), photometric="minisblack")
    with pytest.raises(SegkitError, match=r"x.tif holds values that are not finite"):
        read_image(tmp_path / "x.tif")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegkitError, match=r"nothing.png cannot be read: No such file"):
        read_image(tmp_path / "nothing.png")


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_IMAGE", 15)
    for suffix in (".png", ".tif"):
        Image.fromarray(COLOURS).save(tmp_path / f"x{suffix}")
        with pytest.raises(SegkitError, match="declares 20 pixels; more than 15"):
            read_image(tmp_path / f"x{suffix}")


def test_a_tiff_of_several_pages_is_a_volume_and_no_image(tmp_path: Path) -> None:
    pages = np.arange(144, dtype=np.uint16).reshape(2, 8, 9)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
    with pytest.raises(SegkitError, match="2 pages"):
        read_image(tmp_path / "x.tif")
    assert np.array_equal(read_volume(tmp_path / "x.tif").array[0], np.moveaxis(pages, 0, -1))
    (tmp_path / "y.tif").write_text("text")
    with pytest.raises(SegkitError, match=r"y.tif cannot be read as a TIFF"):
        read_volume(tmp_path / "y.tif")


def test_the_limit_of_pixels_is_set_by_a_variable(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    code = (
        f"from pathlib import Path; from segkit.data.images import read_image; read_image(Path({str(tmp_path / 'x.png')!r}))"
    )
    for limit, expected in (("1e3", 0), ("19", 1)):
        environment = {**os.environ, "SEGKIT_MAX_PIXELS": limit}
        assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == expected


@given(arrays.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_written_is_read_back(tmp_path: Path, labels: np.ndarray) -> None:  # type: ignore[type-arg]
    for suffix in (".png", ".tif"):
        write_image(tmp_path / f"x{suffix}", labels)
        assert np.array_equal(read_mask(tmp_path / f"x{suffix}"), labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x.tif"]  # no temporary file is left


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif", ".webp", ".bmp"])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_no_damage_gives_anything_but_our_own_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    source = tmp_path / f"whole{suffix}"
    if not source.exists():
        Image.fromarray(COLOURS).save(source)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert read_image(damaged).ndim == 3
    except SegkitError as error:
        assert f"damaged{suffix}" in error.message
