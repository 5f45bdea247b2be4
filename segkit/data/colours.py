"""Colour spaces of image files come out as gray or RGB, or are refused by name; alpha is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError

Array = NDArray[Any]

GRAY_OR_RGB = ("MINISBLACK", "RGB", "MASK")
GIVES_RGB = (6, 7, 34892, 33007, 50001, 52546)  # compressions whose decoders undo YCbCr: JPEG's kinds, WebP, JPEG XL
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (TIFF 6, section 21)
INK_SET, COEFFICIENTS, BLACK_AND_WHITE = 332, 529, 532  # tags


def check_colours(page: Any, path: Path) -> None:
    """Refuse a TIFF's page whose colours cannot be converted, before it is decoded.

    Raises:
        SegkitError: with the name of the colour space.
    """
    name, dtype = _name_of(page), np.dtype(page.dtype or np.uint8)
    ink = page.tags.get(INK_SET)
    subsampled = name == "YCBCR" and page.compression not in GIVES_RGB and tuple(page.subsampling or (1, 1)) != (1, 1)
    convertible = name in ("PALETTE", "MINISWHITE", "SEPARATED", "YCBCR") and dtype.kind in "ub"
    if name in GRAY_OR_RGB or (convertible and not subsampled and not (ink and ink.value != 1)):
        return
    words = {"SEPARATED": "inks (CMYK or others)", "YCBCR": "YCbCr, subsampled" if subsampled else "YCbCr"}
    raise SegkitError(
        f"{path} is in the colour space {words.get(name, name)}, as {dtype.name}; that cannot be converted.",
        "Save it as gray or RGB.",
    )


def to_rgb(pixels: Array, page: Any) -> Array:
    """Decoded pixels (H, W) or (H, W, samples) of a checked page as gray or RGB, any alpha behind."""
    name = _name_of(page)
    if name == "MINISWHITE":
        return np.asarray(~pixels if pixels.dtype == bool else 2 ** int(page.bitspersample) - 1 - pixels)
    if name == "SEPARATED":
        return _from_inks(pixels)
    if name == "YCBCR" and page.compression not in GIVES_RGB:
        return _from_ycbcr(pixels, page)
    return pixels


def with_palette(pixels: Array, colormap: Array) -> Array:
    """Palette indices as colours, 8 bit. Some writers fill the 16-bit colour map with 8-bit values."""
    colours = colormap if colormap.max() < 256 else colormap >> 8
    return np.asarray(np.moveaxis(colours[:, pixels], 0, -1), np.uint8)


def without_alpha(pixels: Array, labels: bool, path: Path) -> Array:
    """Drop the alpha of (H, W, 2) or (H, W, 4). What a mask holds where it is transparent is not shown: that is background.

    Raises:
        SegkitError: a mask is black all over, and its shape lies in its alpha.
    """
    if pixels.ndim == 2 or pixels.shape[-1] not in (2, 4):
        return pixels
    shown, alpha = pixels[..., :-1], pixels[..., -1]
    if labels and alpha.min() == 0 < alpha.max():
        if not shown.any():
            raise SegkitError(
                f"{path} is black; what it shows lies in its alpha channel.", "Save it as gray, without alpha."
            )
        shown = np.where(alpha[..., None] == 0, 0, shown).astype(pixels.dtype)
    return shown[..., 0] if shown.shape[-1] == 1 else shown


def _name_of(page: Any) -> str:
    return str(getattr(page.photometric, "name", f"number {page.photometric}"))


def _from_inks(pixels: Array) -> Array:
    """CMYK, where 0 is no ink, by the plain rule: (1 - C)(1 - K)."""
    most = np.iinfo(pixels.dtype).max
    paper = most - pixels[..., :4].astype(np.float32)
    rgb = np.round(paper[..., :3] * paper[..., 3:] / most).astype(pixels.dtype)
    return np.concatenate([rgb, pixels[..., 4:5]], axis=-1)


def _from_ycbcr(pixels: Array, page: Any) -> Array:
    """TIFF 6, section 21."""
    most = np.iinfo(pixels.dtype).max
    half = (most + 1) // 2
    luma = _ratios(page.tags.get(COEFFICIENTS)) or LUMA
    black_y, white_y, black_b, white_b, black_r, white_r = _ratios(page.tags.get(BLACK_AND_WHITE)) or (
        0,
        most,
        half,
        most,
        half,
        most,
    )
    y, b, r = (pixels[..., channel].astype(np.float32) for channel in range(3))
    y = (y - black_y) * most / (white_y - black_y)
    red = (r - black_r) * (half - 1) / (white_r - black_r) * (2 - 2 * luma[0]) + y
    blue = (b - black_b) * (half - 1) / (white_b - black_b) * (2 - 2 * luma[2]) + y
    green = (y - luma[2] * blue - luma[0] * red) / luma[1]
    return np.asarray(np.round(np.clip(np.stack([red, green, blue], axis=-1), 0, most)).astype(pixels.dtype))


def _ratios(tag: Any) -> tuple[float, ...]:
    """A tag of fractions, each stored as two numbers; empty where it is not there."""
    values = tag.value if tag else ()
    return tuple(above / (below or 1) for above, below in zip(values[::2], values[1::2], strict=True))
