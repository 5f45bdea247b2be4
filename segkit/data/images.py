"""The one reader and writer of 2D images: PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM in; PNG and TIFF out.

Three decoders, because each of them is silently wrong somewhere:
tifffile for TIFF   see tiff.py;
Pillow for the rest cv2 turns palette indices, which are labels, into colours, and fills up a truncated JPEG with gray;
cv2 for one case    Pillow cuts 16-bit PNGs of colours or with alpha down to 8 bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.data.colours import without_alpha
from segkit.data.dicom import looks_like_dicom
from segkit.data.foreign import foreign_format, refusal
from segkit.data.labels import whole_numbers
from segkit.data.limits import check_size
from segkit.data.orientation import PNG_START, TIFF_STARTS, exif_of, turn
from segkit.data.tiff import decode_tiff
from segkit.errors import SegkitError, first_line
from segkit.files import replacing
from segkit.words import counted

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
ROWS_AT_ONCE = 16_000_000  # pixels
POOL = 64 * 2**20  # bytes that Pillow asks for at a time

Array = NDArray[Any]


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


def read_image(path: Path, upright: bool = True) -> Array:
    """Read an image in its stored units.

    Args:
        path: of the file.
        upright: turn it as its EXIF or TIFF orientation says; otherwise the pixels come as stored.

    Returns:
        (C, H, W), C = 1 or 3 (RGB), or as many as a TIFF names channels; uint8 or uint16 (or a TIFF's own type). Alpha is
        dropped.

    Raises:
        SegkitError: missing, unreadable, too large, not a 2D image, or of colours that cannot be converted.
    """
    pixels = _decode(path, labels=False, upright=upright)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype.kind not in "buif" or (pixels.dtype.kind == "f" and not np.isfinite(pixels).all()):
        raise SegkitError(f"{path} holds values that are not finite numbers ({pixels.dtype}).")
    return np.moveaxis(pixels, -1, 0)


def read_mask(path: Path, colours: bool = False, upright: bool = True) -> Array:
    """Read a label image: (H, W) integers as stored; palette images give their indices.

    Args:
        path: of the mask.
        colours: accept a coloured mask; its pixels come as 0xRRGGBB.
        upright: as for `read_image`.

    Raises:
        SegkitError: unreadable, or coloured (three channels that differ) and `colours` is not set.
    """
    pixels = _decode(path, labels=True, upright=upright)
    if pixels.ndim == 3:
        if pixels.shape[-1] not in (1, 3):
            raise SegkitError(f"{path} has {counted(pixels.shape[-1], 'channel')}; a mask has one.")
        if (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
        elif colours and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        else:
            words = "is a coloured mask; a mask holds one number per pixel"
            raise SegkitError(f"{path} {words}.", "Save it as a gray or palette PNG.")
    if pixels.dtype.kind not in "buif":
        raise SegkitError(f"{path} holds {pixels.dtype} values; a mask holds whole numbers.")
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


def _decode(path: Path, labels: bool, upright: bool) -> Array:
    """(H, W) or (H, W, channels) of any supported file, without alpha."""
    start = _head(path)
    if looks_like_dicom(start):
        from segkit.data.dicom import read_slice

        pixels = read_slice(path)
        return pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    try:
        if start[:4] in TIFF_STARTS:
            return decode_tiff(path, labels, upright)
        pixels, orientation = _decode_pillow(path, labels)
        if labels and start[:8] == PNG_START and start[24] in (2, 4) and start[25] == 0:
            pixels = np.asarray(pixels // (255 // (2 ** start[24] - 1)))  # Pillow stretches gray of 2 and 4 bit to 255
        pixels = _decode_deep_png(path, start) if _is_cut_down(start) else pixels
        return turn(without_alpha(pixels, labels, path), orientation if upright else 1)
    except SegkitError:
        raise
    except MemoryError:
        raise SegkitError(f"{path} is too large for the memory of this machine.") from None
    except Exception as error:  # whatever a decoder makes of damaged bytes becomes one clear error with the path
        if foreign_format(path.name):
            raise SegkitError(*refusal(path)) from None
        unknown = type(error).__name__ == "UnidentifiedImageError"  # whose own words are the path again
        why = "its content is damaged, or no image of a known format" if unknown else first_line(error).rstrip(".")
        raise SegkitError(f"{path} cannot be read as an image: {why}.") from None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    if not start:
        raise SegkitError(f"{path} is empty (0 bytes).")
    return start


def _decode_pillow(path: Path, labels: bool) -> tuple[Array, int]:
    """Stored pixels, alpha behind, and the orientation."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # our own limit comes first, with our words
    # so large that what is let go goes back to the system
    Image.core.set_block_size(POOL)  # type: ignore[attr-defined]
    with Image.open(path) as opened:
        check_size(path, opened.width * opened.height)
        frames = getattr(opened, "n_frames", 1)
        if frames > 1 and opened.format != "MPO":  # a phone's JPEG with a second picture, such as a depth map, behind it
            raise SegkitError(f"{path} has {frames} frames; an image has one.", "Save each frame as a file.")
        opened.load()
        orientation, mode = exif_of(opened), opened.mode
        if mode == "P":
            return np.asarray(opened if labels else opened.convert("RGB")), orientation
        if mode == "1":
            return np.asarray(opened.convert("L")), orientation
        plain = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")
        return _as_array(opened if mode in plain else opened.convert("RGB")), orientation


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


def _is_cut_down(start: bytes) -> bool:
    """A PNG that Pillow cuts down to 8 bit: 16 bits per sample (byte 24) of colours or with alpha (byte 25)."""
    return start[:8] == PNG_START and start[24] == 16 and start[25] in (2, 4, 6)


def _decode_deep_png(path: Path, start: bytes) -> Array:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise SegkitError(f"{path} cannot be read as an image: it is damaged or cut short.")
    if start[25] == 4:  # gray with alpha
        return np.asarray(pixels[..., [0, 3]])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[-1] == 4 else cv2.COLOR_BGR2RGB))
