"""Compressed DICOM pixels that pydicom alone cannot decode: JPEG-LS, lossless JPEG and JPEG of 12 bits, by imagecodecs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CODECS = {  # transfer syntax -> function of imagecodecs (PS3.5, section 10)
    "1.2.840.10008.1.2.4.51": "jpeg_decode",  # 12 bits; pydicom gives it to Pillow, which takes 8
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.201": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.202": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "jpeg2k_decode",
}


def syntax_of(dataset: Any) -> tuple[str, bool]:
    """The name of a file's transfer syntax, and whether it is compressed."""
    uid = dataset.file_meta.TransferSyntaxUID
    known = bool(getattr(uid, "is_transfer_syntax", False))  # a damaged file may name something else
    return str(getattr(uid, "name", uid)), known and bool(uid.is_compressed)


def decode(dataset: Any) -> NDArray[Any] | None:
    """Gray pixels (H, W) as stored; None where it is pydicom's to decode: of another syntax, in colours, of several frames.

    Raises whatever imagecodecs makes of damaged bytes, and ValueError where the size is not the one that was declared.
    """
    name = CODECS.get(str(dataset.file_meta.TransferSyntaxUID))
    gray = int(dataset.get("SamplesPerPixel", 1)) == 1 and int(dataset.get("NumberOfFrames", 1) or 1) == 1
    if name is None or not gray:
        return None
    import imagecodecs
    from pydicom.encaps import generate_frames

    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    pixels = np.asarray(getattr(imagecodecs, name)(frame))
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise ValueError(f"decoded to {pixels.shape}, declared as {(dataset.Rows, dataset.Columns)}")
    if int(dataset.get("PixelRepresentation", 0)) == 1 and pixels.dtype.kind == "u":
        unused = pixels.dtype.itemsize * 8 - int(dataset.BitsStored)  # the sign stands in the highest stored bit
        signed = np.dtype(f"i{pixels.dtype.itemsize}")
        pixels = (pixels << unused).view(signed) >> unused
    return pixels
