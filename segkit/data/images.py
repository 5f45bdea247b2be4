"""The one reader and writer of 2D images: PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM in; PNG and TIFF out.

Three decoders, because each of them is silently wrong somewhere:
tifffile for TIFF   cv2 returns one channel of three where a file tagged gray holds RGB (public copies of CVC-ClinicDB);
Pillow for the rest cv2 turns palette indices, which are labels, into colours, and fills up a truncated JPEG with gray;
cv2 for one case    Pillow cuts 16-bit colour PNGs down to 8 bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.data.labels import whole_numbers
from segkit.errors import SegkitError, first_line
from segkit.files import replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
LARGEST_IMAGE = int(float(os.environ.get("SEGKIT_MAX_PIXELS") or 1e9))  # more is taken for a decompression bomb

ROWS_AT_ONCE = 16_000_000  # pixels
POOL = 64 * 2**20  # bytes that Pillow asks for at a time
PNG = b"\x89PNG\r\n\x1a\n"

Array = NDArray[Any]


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


def read_image(path: Path) -> Array:
    """Read an image in its stored units.

    Returns:
        (C, H, W), C = 1 or 3 (RGB), uint8 or uint16 (or a TIFF's own type). Alpha is dropped; EXIF turns are undone.

    Raises:
        SegkitError: missing, unreadable, too large, or not a 2D image.
    """
    pixels = _decode(path, labels=False)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4):
        raise SegkitError(f"{path} holds an array of shape {pixels.shape}; an image is (H, W) or (H, W, 3).")
    if pixels.dtype.kind not in "buif" or (pixels.dtype.kind == "f" and not np.isfinite(pixels).all()):
        raise SegkitError(f"{path} holds values that are not finite numbers ({pixels.dtype}).")
    color = pixels.shape[-1] - (pixels.shape[-1] % 2 == 0)  # gray + alpha -> gray, RGB + alpha -> RGB
    return np.moveaxis(pixels[..., :color], -1, 0)


def read_mask(path: Path, colours: bool = False) -> Array:
    """Read a label image: (H, W) integers as stored; palette images give their indices.

    Args:
        path: of the mask.
        colours: accept a coloured mask; its pixels come as 0xRRGGBB.

    Raises:
        SegkitError: unreadable, or coloured (three channels that differ) and `colours` is not set.
    """
    pixels = _decode(path, labels=True)
    if pixels.ndim == 3:
        color = pixels[..., : 1 if pixels.shape[-1] <= 2 else 3]
        if (color == color[..., :1]).all():
            pixels = color[..., 0]
        elif colours and pixels.dtype == np.uint8:
            pixels = color.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        else:
            words = "is a coloured mask; a mask holds one number per pixel"
            raise SegkitError(f"{path} {words}.", "Save it as a gray or palette PNG.")
    if pixels.ndim != 2 or pixels.dtype.kind not in "buif":
        raise SegkitError(f"{path} holds an array of shape {pixels.shape}; a mask is (H, W).")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise SegkitError(f"{path} holds values that are not finite numbers.")
    return whole_numbers(pixels, path)


def write_image(path: Path, image: Array, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Write as PNG or TIFF after the suffix; whole or not at all.

    Args:
        path: of the file.
        image: (H, W) or (H, W, 3 RGB), uint8 or uint16.
        palette: colours of the values of a gray uint8 PNG, whose pixels then are indices.
    """
    with replacing(path) as temporary:
        if is_tiff(path):
            import tifffile

            photometric = "rgb" if image.ndim == 3 else "minisblack"
            tifffile.imwrite(temporary, image, photometric=photometric, compression="zlib", metadata=None)
            return
        if palette is not None:
            from PIL import Image

            indexed = Image.fromarray(image)
            indexed.putpalette([value for color in palette for value in color])
            indexed.save(temporary)
            return
        encoded = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
        written, buffer = cv2.imencode(path.suffix, encoded)
        if not written:
            raise SegkitError(f"{path} cannot be written as {path.suffix}.")
        temporary.write_bytes(buffer.tobytes())


def _decode(path: Path, labels: bool) -> Array:
    """(H, W) or (H, W, channels RGB[A]) of any supported file."""
    start = _head(path)
    if start[128:] == b"DICM":
        from segkit.data.dicom import read_slice

        pixels = read_slice(path)
        return pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    try:
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _decode_tiff(path, labels)
        pixels = _decode_pillow(path, labels)
        if labels and start[:8] == PNG and start[24] in (2, 4) and start[25] == 0:
            return np.asarray(pixels // (255 // (2 ** start[24] - 1)))  # Pillow stretches gray of 2 and 4 bit to 255
        return _decode_deep_png(path) if _is_deep_color_png(start) else pixels
    except SegkitError:
        raise
    except MemoryError:
        raise SegkitError(f"{path} is too large for the memory of this machine.") from None
    except Exception as error:  # whatever a decoder makes of damaged bytes becomes one clear error with the path
        raise SegkitError(f"{path} cannot be read as an image: {first_line(error)}") from None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    if not start:
        raise SegkitError(f"{path} is empty (0 bytes).")
    return start


def count_pages(path: Path) -> int:
    """Of a TIFF.

    Raises:
        SegkitError: it cannot be read.
    """
    with _opened(path) as file:
        return len(file.pages)


def read_pages(path: Path) -> Array:
    """The pages of a TIFF, each read as an image of its own: (C, H, W, pages).

    Raises:
        SegkitError: damaged, too large, or of pages that differ in size or type.
    """
    with _opened(path) as file:
        _check_size(path, sum(page.imagewidth * page.imagelength for page in file.pages))
        pages = [_decode_page(page, labels=False) for page in file.pages]
    kinds = {(page.shape, page.dtype.str) for page in pages}
    coloured = pages[0].ndim == 3 and pages[0].shape[-1] in (3, 4)
    if len(kinds) > 1 or not (coloured or pages[0].ndim == 2):
        raise SegkitError(f"{path}: its pages hold {sorted(kinds)}; a stack is of equal pages, gray or in colours.")
    stack = np.stack([page[..., :3] if coloured else page[..., None] for page in pages])
    if stack.dtype.kind not in "buif" or (stack.dtype.kind == "f" and not np.isfinite(stack).all()):
        raise SegkitError(f"{path} holds values that are not finite numbers ({stack.dtype}).")
    return np.moveaxis(stack, (3, 1, 2, 0), (0, 1, 2, 3))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A TIFF; whatever a decoder makes of damaged bytes becomes one clear error with the path."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except SegkitError:
        raise
    except MemoryError:
        raise SegkitError(f"{path} is too large for the memory of this machine.") from None
    except Exception as error:
        raise SegkitError(f"{path} cannot be read as a TIFF: {first_line(error)}") from None


def _decode_tiff(path: Path, labels: bool) -> Array:
    with _opened(path) as file:
        if len(file.pages) > 1:
            raise SegkitError(
                f"{path} has {len(file.pages)} pages; an image has one.", "As a volume: segkit.api.read_volume."
            )
        _check_size(path, file.pages[0].imagewidth * file.pages[0].imagelength)
        return _decode_page(file.pages[0], labels)


def _decode_page(page: Any, labels: bool) -> Array:
    """(H, W), or (H, W, channels)."""
    import tifffile

    pixels: Array = np.asarray(page.asarray())
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "ub":
        pixels = ~pixels if pixels.dtype == bool else np.iinfo(pixels.dtype).max - pixels
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not labels:
        return np.asarray(np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1), np.uint8)
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels


def _decode_pillow(path: Path, labels: bool) -> Array:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # our own limit comes first, with our words
    # so large that what is let go goes back to the system
    Image.core.set_block_size(POOL)  # type: ignore[attr-defined]
    with Image.open(path) as opened:
        _check_size(path, opened.width * opened.height)
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            raise SegkitError(f"{path} has {frames} frames; an image has one.", "Save each frame as a file.")
        ImageOps.exif_transpose(opened, in_place=True)
        image: Image.Image = opened
        if image.mode == "P":
            return np.asarray(image if labels else image.convert("RGB"))
        if image.mode == "1":
            return np.asarray(image.convert("L"))
        plain = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")
        return _as_array(image if image.mode in plain else image.convert("RGB"))


def _as_array(image: Any) -> Array:
    """A Pillow image as an array, some rows at a time: Pillow alone would hold a large image three times."""
    if image.width * image.height <= ROWS_AT_ONCE:
        return np.asarray(image)
    rows = max(1, ROWS_AT_ONCE // image.width)
    parts = (
        np.asarray(image.crop((0, top, image.width, min(top + rows, image.height)))) for top in range(0, image.height, rows)
    )
    first = next(parts)
    whole = np.empty((image.height, *first.shape[1:]), first.dtype)
    whole[:rows] = first
    for number, part in enumerate(parts, start=1):
        whole[number * rows : number * rows + len(part)] = part
    return whole


def _is_deep_color_png(start: bytes) -> bool:
    """16 bits per sample (IHDR byte 24) and colour type 2 or 6 (byte 25)."""
    return start[:8] == PNG and start[24] == 16 and start[25] in (2, 6)


def _decode_deep_png(path: Path) -> Array:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if pixels is None:
        raise SegkitError(f"{path} cannot be read as an image: it is damaged or cut short.")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _check_size(path: Path, pixels: int) -> None:
    if pixels > LARGEST_IMAGE:
        raise SegkitError(
            f"{path} declares {pixels:,} pixels; more than {LARGEST_IMAGE:,} are refused.",
            "SEGKIT_MAX_PIXELS sets the limit.",
        )
