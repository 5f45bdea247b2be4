"""The dataset. `open_folder(root, options, labelled)` says what there is; `read` opens one case when it is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segkit.api import Case, Dataset, NoOptions, Sample, Task, missing_data, read_image, read_mask, write_image


def open_folder(root: Path, options: NoOptions, labelled: bool = True) -> Dataset:
    """Images with a mask beside them; with labelled=False also those without."""
    images = [path for path in sorted(root.glob("*.png")) if not path.stem.endswith("_mask")]
    masks = {path: path.with_name(f"{path.stem}_mask.png") for path in images}
    files = {path: {"image": path, **({"mask": masks[path]} if masks[path].is_file() else {})} for path in images}
    # the group is what a split never tears: here each image is its own
    cases = tuple(Case(path.stem, path.stem, files=files[path]) for path in images if not labelled or "mask" in files[path])
    if not cases:
        raise missing_data("An image with its mask", root, ["NAME.png", "NAME_mask.png"])

    def read(case: Case) -> Sample:
        image = read_image(case.files["image"])[:3]
        mask = (read_mask(case.files["mask"]) > 0).astype(np.uint8) if labelled else None
        return Sample(image, mask)

    return Dataset(Task(3, ("background", "target")), cases, read)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Bright squares on noise."""
    draw = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        image, mask = draw.integers(0, 99, (40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
        top, left = draw.integers(4, 24, 2)
        mask[top : top + 12, left : left + 12] = 255
        image[mask > 0] += 120
        write_image(out / f"case-{number}.png", image)
        write_image(out / f"case-{number}_mask.png", mask)
