"""Run a model that `segkit export --runner` wrote, without segkit: numpy, onnxruntime and opencv are all it needs.

    python MODEL_runner.py IMAGE.png MASK.png        an image, and its mask
    python MODEL_runner.py VOLUME.npy MASK.npy       (C, X, Y, Z), axes to the right, front and top; spacing: --spacing X,Y,Z

The model is the file MODEL.onnx beside this one (or --model FILE). What it wants done to an image stands in its header and
is done below, step by step; nothing else is hidden. Masks hold labels, or 0 and 255 where there is one class.
"""

import argparse
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

WHOLE, TILE = {2: 1536**2, 3: 128**3}, {2: 1024, 3: 128}  # larger images are seen through windows also with fit native
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalise(image, settings, axis):
    """(C, *S) as stored -> float32. Means, deviations, ... are of each channel, over the image (or each slice of it)."""
    kind, values = settings["intensity"], image.astype(np.float32)
    over = tuple(range(1, image.ndim))
    if settings["intensity_per"] == "slice" and axis is not None:
        over = tuple(own for own in over if own != axis + 1)
    if kind in ("scale255", "imagenet", "encoder"):
        values /= np.iinfo(image.dtype).max if image.dtype in (np.uint8, np.uint16, np.int8, np.int16) else 255
    if kind in ("imagenet", "encoder"):
        mean, std = IMAGENET if kind == "imagenet" else (settings["mean"], settings["std"])
        shape = (len(mean), *[1] * (image.ndim - 1))
        values = (values - np.reshape(mean, shape)) / np.reshape(std, shape)
    if kind == "range":
        low, high = settings["range"]
        values = (np.clip(values, low, high) - low) / (high - low)
    if kind == "zscore":
        mean, deviation = image.mean(over, keepdims=True, dtype=float), image.std(over, keepdims=True, dtype=float)
        values = (values - mean) / np.maximum(deviation, 1e-6)
    if kind == "percentile":
        values = np.clip(values, *np.percentile(values, (0.5, 99.5), axis=over, keepdims=True))
    if kind in ("minmax", "percentile"):
        low, high = values.min(over, keepdims=True), values.max(over, keepdims=True)
        values = (values - low) / np.maximum(high - low, 1e-6)
    if kind == "max":
        values = values / np.maximum(np.abs(values).max(over, keepdims=True), 1e-6)
    return values.astype(np.float32)


def resize(values, size):
    """(C, *S) -> (C, *size): areas are averaged where an axis shrinks, linear where it grows."""
    for axis, length in enumerate(size, start=1):
        own = values.shape[axis]
        if own != length:
            lines = np.ascontiguousarray(np.moveaxis(values, axis, 0))
            flat, how = lines.reshape(own, -1), cv2.INTER_AREA if length < own else cv2.INTER_LINEAR
            blocks = [flat[:, at : at + 30_000] for at in range(0, flat.shape[1], 30_000)]  # cv2's sides have 16 bits
            done = [cv2.resize(part, (part.shape[1], length), interpolation=how).reshape(length, -1) for part in blocks]
            values = np.moveaxis(np.concatenate(done, axis=1).reshape(length, *lines.shape[1:]), 0, axis)
    return values


def placed(source, settings, spacing, axis):
    """Size of the image after resampling, size of the grid that the network sees, and where the image lies on it."""
    wanted = (
        settings["size"] if isinstance(settings["size"], list) else [settings["size"]] * (len(source) - (axis is not None))
    )
    wanted = list(wanted)
    if axis is not None:
        wanted.insert(axis, source[axis])
    scaled = list(source)
    if settings["spacing"] not in (None, "auto"):
        mm = settings["spacing"] if isinstance(settings["spacing"], list) else [settings["spacing"]] * len(source)
        scaled = [
            own if ax == axis else max(1, round(own * have / want))
            for ax, (own, have, want) in enumerate(zip(source, spacing, mm, strict=True))
        ]
    if settings["fit"] in ("native", "patch"):
        return scaled, scaled, [0] * len(source)
    frame = settings.get("frame")  # the middle part that fills the grid
    frame = (
        frame
        if isinstance(frame, list)
        else [1.0 if frame in (None, "auto") else frame] * (len(source) - (axis is not None))
    )
    frame = frame if axis is None else [*frame[:axis], 1.0, *frame[axis:]]
    largest = [round(want / share) for want, share in zip(wanted, frame, strict=True)]
    if settings["fit"] == "stretch":
        scaled = largest
    if settings["fit"] == "pad":
        scale = min(want / own for ax, (own, want) in enumerate(zip(scaled, largest, strict=True)) if ax != axis)
        scaled = [
            own if ax == axis else min(want, max(1, round(own * scale)))
            for ax, (own, want) in enumerate(zip(scaled, largest, strict=True))
        ]
    return scaled, wanted, [(want - own) // 2 for own, want in zip(scaled, wanted, strict=True)]


def shared(scaled, target, offset):
    """The part that the image and the network's grid have in common, on either of them."""
    starts = [max(0, own) for own in offset]
    stops = [min(size, own + inner) for size, own, inner in zip(target, offset, scaled, strict=True)]
    on_target = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    on_image = tuple(slice(start - own, stop - own) for start, stop, own in zip(starts, stops, offset, strict=True))
    return on_target, on_image


def run(session, batch, header):
    """(B, C, *S) -> logits: zeros are added up to a size that the network takes, and cut off again."""
    model, sizes = header["model"], batch.shape[2:]
    least = [
        max(-(-own // step), -(-model["minimum"] // step)) * step for own, step in zip(sizes, model["stride"], strict=True)
    ]
    images = np.pad(batch, [(0, 0), (0, 0), *((0, want - own) for own, want in zip(sizes, least, strict=True))])
    logits = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images, np.float32)})[0]
    return logits[(..., *(slice(own) for own in sizes))] if logits.ndim > 2 else logits


def windows(session, image, header):
    """Logits of an image seen through overlapping windows, blended with a Gaussian weight."""
    dims, size = image.ndim - 1, header["preprocess"]["size"]
    if header["preprocess"]["fit"] == "native":
        size = TILE[dims]
    size = size if isinstance(size, list) else [size] * dims
    shape = [max(own, side) for own, side in zip(image.shape[1:], size, strict=True)]
    image_padded = np.pad(image, [(0, 0), *((0, want - own) for own, want in zip(image.shape[1:], shape, strict=True))])
    lines = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (0.125 * side)) ** 2) for side in size]
    weight = np.ones(())
    for line in lines:
        weight = np.multiply.outer(weight, line)
    weight = np.maximum(weight, 1e-3).astype(np.float32)
    starts = []
    for own, side in zip(shape, size, strict=True):
        count = int(np.ceil((own - side) / (side * 0.5))) + 1
        starts.append(sorted({round(at) for at in np.linspace(0, own - side, count)}))
    total, weights = 0.0, np.zeros(shape, np.float32)
    for corner in itertools.product(*starts):
        box = tuple(slice(at, at + side) for at, side in zip(corner, size, strict=True))
        logits = run(session, image_padded[(slice(None), *box)][None], header)[0]
        total = np.zeros((len(logits), *shape), np.float32) if isinstance(total, float) else total
        total[(slice(None), *box)] += logits * weight
        weights[box] += weight
    return (total / weights)[(slice(None), *(slice(own) for own in image.shape[1:]))]


def segment(session, header, image, spacing=None):
    """(C, *S) as stored -> probabilities (K, *S) on the image's own grid; of a classification (K,) or (K, slices)."""
    settings, task, dims = header["preprocess"], header["task"], len(header["model"]["stride"])
    axis = None
    if image.ndim - 1 > dims:  # a network of images sees a volume slice by slice
        axis = settings["slice_axis"]
        if axis in (None, "auto"):
            uneven = spacing is not None and max(spacing) >= 1.5 * sorted(spacing)[-2]
            ones = image.shape[1:].count(1) == 1
            axis = image.shape[1:].index(1) if ones else int(np.argmax(spacing)) if uneven else 2
    source = image.shape[1:]
    scaled, target, offset = placed(source, settings, spacing, axis)
    on_target, on_image = shared(scaled, target, offset)
    seen = np.zeros((len(image), *target), np.float32)
    if task["dims"] < image.ndim - 1:
        settings = {**settings, "intensity_per": "slice"}  # trained on images: each slice is one
    seen[(slice(None), *on_target)] = resize(normalise(image, settings, axis), scaled)[(slice(None), *on_image)]
    parts = [seen] if axis is None else list(np.moveaxis(seen, axis + 1, 0))
    large = settings["fit"] == "native" and parts[0][0].size > WHOLE[dims]
    in_windows = (settings["fit"] == "patch" or large) and task["kind"] == "segmentation"
    logits = [windows(session, part, header) if in_windows else run(session, part[None], header)[0] for part in parts]
    logits = logits[0] if axis is None else np.stack(logits, axis + 1 if logits[0].ndim > 1 else 1)
    if task["mode"] == "multiclass":
        powers = np.exp(logits - logits.max(axis=0))
        probabilities = powers / powers.sum(axis=0)
    else:
        probabilities = 1 / (1 + np.exp(-logits))
    if task["kind"] == "classification":
        return probabilities
    whole = np.zeros((len(probabilities), *scaled), np.float32)
    whole[0] = task["mode"] == "multiclass"  # background, where the network saw nothing
    whole[(slice(None), *on_image)] = probabilities[(slice(None), *on_target)]
    return resize(whole, source)


def read(path, channels):
    """(C, *S) as stored."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    content = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if content.size else None  # turned as EXIF says
    if pixels is None:
        raise SystemExit(f"{path} cannot be read as an image.")
    image = np.moveaxis(pixels[..., ::-1], -1, 0)  # BGR -> RGB
    return image[:1] if channels == 1 and (image == image[:1]).all() else image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument(
        "--model", type=Path, default=Path(__file__).with_name(Path(__file__).stem.removesuffix("_runner") + ".onnx")
    )
    parser.add_argument("--spacing", help="mm along each axis: X,Y,Z")
    words = parser.parse_args()
    for path in (words.image, words.model):
        if not path.is_file():
            raise SystemExit(f"{path} does not exist.")
    try:
        session = onnxruntime.InferenceSession(words.model, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each reason
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "pip install --upgrade onnxruntime, or copy the file again if it is damaged."
        raise SystemExit(
            f"{words.model} cannot be loaded by this onnxruntime ({onnxruntime.__version__}): {reason}\n{hint}"
        ) from None
    if "segkit" not in session.get_modelmeta().custom_metadata_map:
        raise SystemExit(f"{words.model} was not written by segkit export.")
    header = json.loads(session.get_modelmeta().custom_metadata_map["segkit"])
    spacing = [float(mm) for mm in words.spacing.split(",")] if words.spacing else None
    image = read(words.image, header["task"]["channels"])
    if header["preprocess"]["spacing"] not in (None, "auto") and len(spacing or ()) != image.ndim - 1:
        raise SystemExit("This model resamples to a spacing: say that of the image, --spacing X,Y,Z.")
    probabilities = segment(session, header, image, spacing)
    if header["task"]["kind"] == "classification":
        print(json.dumps(dict(zip(header["task"]["classes"], probabilities.tolist(), strict=True))))
        return
    binary = header["task"]["mode"] == "binary"
    labels = probabilities[0] > 0.5 if binary else probabilities.argmax(axis=0)
    if words.mask.suffix == ".npy":
        np.save(words.mask, labels.astype(np.uint8))
    elif not words.mask.parent.is_dir() or not cv2.imwrite(
        str(words.mask), labels.astype(np.uint8) * (255 if binary else 1)
    ):
        raise SystemExit(f"{words.mask} cannot be written.")


if __name__ == "__main__":
    main()
