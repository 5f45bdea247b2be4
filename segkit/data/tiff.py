"""TIFF files: which of their pages are pictures, slices or channels, and how each is decoded.

tifffile, since cv2 returns one channel of three where a file tagged gray holds RGB (public copies of CVC-ClinicDB). Pages
that are marked as reduced copies (pyramids, thumbnails) or as transparency masks are no slices. Where the file names its
axes (OME, ImageJ, tifffile's own), C are channels of one picture; all others are slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.data.colours import check_colours, to_rgb, with_palette, without_alpha
from segkit.data.limits import check_size
from segkit.data.orientation import tag_of, turn
from segkit.errors import SegkitError, first_line

REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
IN_PLANE = "YXS"  # axes of one page

Array = NDArray[Any]


def count_slices(path: Path) -> int:
    """How many pictures lie one behind the other; 1 for an image, also where its channels or a pyramid take several pages.

    Raises:
        SegkitError: it cannot be read.
    """
    with _opened(path) as file:
        return len(_slices(file, path))


def decode_tiff(path: Path, labels: bool, upright: bool = True) -> Array:
    """The one picture of a TIFF: (H, W), or (H, W, channels) without alpha.

    Args:
        path: of the file.
        labels: palette images give their indices.
        upright: turn it as its orientation says.

    Raises:
        SegkitError: damaged, too large, of several slices, or of colours that cannot be converted.
    """
    with _opened(path) as file:
        slices = _slices(file, path)
        if len(slices) > 1:
            what = "a mask" if labels else "an image"
            raise SegkitError(f"{path} has {len(slices)} pages; {what} has one.", "As a volume: segkit.api.read_volume.")
        return _decode_slice(slices[0], path, labels, upright)


def read_pages(path: Path) -> Array:
    """The slices of a TIFF, each read as an image of its own: (C, H, W, slices).

    Raises:
        SegkitError: damaged, too large, or of slices that differ in size or type.
    """
    with _opened(path) as file:
        slices = _slices(file, path)
        sizes = {(page.imagelength, page.imagewidth) for pages in slices for page in map(_facts, pages)}
        if len(sizes) > 1:
            raise SegkitError(
                f"{path}: its pages have the sizes {sorted(sizes, reverse=True)}; a stack is of equal pages.",
                "The levels of a pyramid must be marked as reduced images; save the largest one alone.",
            )
        decoded = [_decode_slice(pages, path, labels=False, upright=True) for pages in slices]
    kinds = {(pixels.shape, pixels.dtype.str) for pixels in decoded}
    if len(kinds) > 1:
        raise SegkitError(f"{path}: its pages hold {sorted(kinds)}; a stack is of equal pages, gray or in colours.")
    stack = np.stack([pixels if pixels.ndim == 3 else pixels[..., None] for pixels in decoded])
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


def _slices(file: Any, path: Path) -> list[list[Any]]:
    """The pages of each slice: one, or one for each channel."""
    every = list(file.pages)
    pages = [page for page in every if not int(_facts(page).subfiletype) & REDUCED_OR_MASK] or every
    check_size(path, sum(_facts(page).imagewidth * _facts(page).imagelength for page in pages))
    axes = _named_axes(file)
    count = int(np.prod([*axes.values()], dtype=np.int64))
    if count > len(pages):
        shown = ", ".join(f"{name} = {size}" for name, size in axes.items())
        raise SegkitError(
            f"{path} names the axes {shown}, but holds {len(pages)} page(s).", "Save it as a plain TIFF stack."
        )
    if count < len(pages) or "C" not in axes:
        return [[page] for page in pages]
    own = file.series[0].pages
    pages = [page for page in own if page is not None] if len(own) == count else pages
    order = np.arange(count).reshape([*axes.values()])
    by_slice = np.moveaxis(order, [*axes].index("C"), -1).reshape(-1, axes["C"])
    return [[pages[index] for index in channels] for channels in by_slice]


def _named_axes(file: Any) -> dict[str, int]:
    """Axes that the file names, other than those of a page, with their lengths."""
    if not (file.is_ome or file.is_imagej or file.is_shaped or file.is_lsm):
        return {}
    series = file.series[0]
    return {name: size for name, size in zip(series.axes, series.shape, strict=True) if name not in IN_PLANE}


def _facts(page: Any) -> Any:
    """The page itself, or, of a frame that is like an earlier page and was not looked at, that page."""
    return page.keyframe


def _decode_slice(pages: list[Any], path: Path, labels: bool, upright: bool) -> Array:
    planes = [_decode_page(page, path, labels) for page in pages]
    if len(planes) > 1 and len({plane.shape for plane in planes} | {plane.shape[:2] for plane in planes}) > 1:
        raise SegkitError(f"{path}: its channels are pages of {planes[0].shape}; a channel is one gray page.")
    pixels = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
    return turn(pixels, tag_of(pages[0])) if upright else pixels


def _decode_page(page: Any, path: Path, labels: bool) -> Array:
    """(H, W), or (H, W, channels) without alpha."""
    facts = _facts(page)
    check_colours(facts, path)
    pixels: Array = np.asarray(page.asarray())
    if facts.photometric == 3:  # palette
        indices = pixels if pixels.ndim == 2 else pixels[..., 0]  # without alpha
        return indices if labels else with_palette(indices, facts.colormap)
    if facts.planarconfig == 2 and pixels.ndim == 3:  # channel after channel
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = without_alpha(to_rgb(pixels, facts), labels, path)
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[-1] not in (1, 3)):
        raise SegkitError(f"{path} holds an array of shape {pixels.shape}; an image is (H, W) or (H, W, 3).")
    return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
