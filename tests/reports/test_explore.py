"""The pictures of `segkit data explore` show the subsets side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import Command
from segkit.reports import exploration_pictures, explore
from segkit.reports.exploration import Gathered
from segkit.settings import Preprocess
from segkit.task import Case, Dataset, Sample, Task

PICTURES = {"intensities.png", "sizes.png", "aspects.png", "centres.png", "balance.png"}
EXAMPLES = "examples.png"
pytestmark = pytest.mark.usefixtures("pictures_drawn")


@pytest.mark.parametrize(("name", "panels"), [("brain-coco", 3), ("folder", 1), ("acdc", 2)])
def test_pictures_and_a_page(segkit: Command, tmp_path: Path, name: str, panels: int) -> None:
    assert segkit("data", "synth", name, "--cases", "8", "--out", tmp_path / "data").code == 0
    done = segkit("data", "explore", name, "--data-dir", tmp_path / "data", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES | {EXAMPLES, "index.html"}
    for picture in PICTURES:
        with Image.open(tmp_path / "out" / picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] == pytest.approx(panels * 462, abs=3) and pixels.std() > 5  # 4.2 inches of 110 dots each
    with Image.open(tmp_path / "out" / EXAMPLES) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels.max(axis=-1) - pixels.min(axis=-1) > 100).any()  # masks in colours
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(picture in page for picture in PICTURES | {EXAMPLES}) and "with a target" in page
    assert "<ul></ul>" not in page


def test_a_case_that_cannot_be_read_is_named_on_the_page(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "4", "--out", tmp_path / "data").code == 0
    (tmp_path / "data" / "images" / "phantom-0002.png").write_bytes(b"<b>")
    words = ["--data-dir", tmp_path / "data", "-o", "dataset.channels=3", "--out", tmp_path / "out"]
    assert segkit("data", "explore", "folder", *words).code == 0
    assert "phantom-0002" in (tmp_path / "out" / "index.html").read_text()


def dataset_of(masks: dict[str, np.ndarray], classes: tuple[str, ...] = ("background", "x")) -> Dataset:  # type: ignore[type-arg]
    """Images of which each is 200 where its mask is set; the part of an id before / is its subset."""
    mode = "binary" if len(classes) == 2 else "multiclass"
    cases = tuple(Case(id, id, subset=id.partition("/")[0] if "/" in id else None) for id in masks)

    def read(case: Case) -> Sample:
        mask = masks[case.id]
        return Sample(np.where(mask[None] > 0, 200, 20).astype(np.uint8), mask)

    return Dataset(Task(1, classes, 2, mode), cases, read)  # type: ignore[arg-type]


def two_boxes() -> np.ndarray:  # type: ignore[type-arg]
    mask = np.zeros((20, 40), int)
    mask[2:6, 4:12] = 1  # 4 x 8, centre (4, 8)
    mask[12:18, 30:33] = 1  # 6 x 3, centre (15, 31.5)
    return mask


def drawn_of(dataset: Dataset, out: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> dict[str, Gathered]:
    found: dict[str, Gathered] = {}
    monkeypatch.setattr(explore, "draw_all", lambda subsets, *_: found.update(subsets))
    explore.explore_dataset(dataset, out, "made up", Preprocess(intensity="scale255"), **how)
    return found


def test_every_target_counts_with_its_own_place_size_and_aspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = drawn_of(dataset_of({"a": two_boxes()}), tmp_path, monkeypatch)["all"].targets
    assert [target.centre for target in targets] == [(0.2, 0.2), (0.75, 31.5 / 40)]
    assert [target.aspect for target in targets] == [2, 0.5]
    assert [target.size for target in targets] == [32 / 800, 18 / 800]


def test_parts_of_two_classes_are_two_targets_also_where_they_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = two_boxes()
    mask[2:6, 8:12] = 2
    found = drawn_of(dataset_of({"a": mask}, ("background", "x", "y")), tmp_path, monkeypatch)["all"]
    assert sorted(target.centre[1] for target in found.targets) == pytest.approx([6 / 40, 10 / 40, 31.5 / 40])
    assert found.balance == pytest.approx([750 / 800, 34 / 800, 16 / 800])


def test_layers_that_overlap_are_each_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = np.stack([two_boxes(), two_boxes() * 0])
    layers[1, 0:2, 0:2] = 1
    task = Task(1, ("background", "x", "y"), 2, "multilabel")
    dataset = Dataset(task, (Case("a", "a"),), lambda case: Sample(layers[:1].astype(np.uint8), layers))
    found = drawn_of(dataset, tmp_path, monkeypatch)["all"]
    assert len(found.targets) == 3 and found.balance == pytest.approx([746 / 800, 50 / 800, 4 / 800])


def test_a_runs_own_split_is_shown(segkit: Command, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "draw_all", lambda *_: None)
    for number, words in enumerate(([trained], ["--run", trained], ["phantom", "--run", trained])):
        done = segkit("data", "explore", *words, "--out", tmp_path / str(number))
        assert done.code == 0, done.err
        page = (tmp_path / str(number) / "index.html").read_text()
        for name, ids in json.loads((trained / "split.json").read_text()).items():
            assert f"{name}: {len(ids)} case" in page
    assert segkit("data", "explore", "polyp", "--run", trained, "--out", tmp_path / "x").code == 2
    assert segkit("data", "explore", "--run", tmp_path / "none", "--out", tmp_path / "x").code == 2


def test_panels_share_their_axes_and_nothing_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: dict[str, Any] = {}
    monkeypatch.setattr(exploration_pictures, "_save", lambda figure, path: figures.update({path.stem: figure}))
    small = np.zeros((20, 40), int)
    small[3:5, 3:5] = 1
    masks = {"train/a": two_boxes(), "train/b": two_boxes(), "val/c": small}
    explore.explore_dataset(dataset_of(masks, ("background", "y" * 60)), tmp_path, "made up", Preprocess(intensity="zscore"))
    for name, figure in figures.items():
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y1 <= height, name
        panels = [axes for axes in figure.axes if axes.axison]
        assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) <= 1, name
        titles = [axes.title.get_window_extent() for axes in panels]
        assert all(title.x0 >= 0 and title.x1 <= width for title in titles), name
    bins = [[patch.get_x() for patch in axes.patches] for axes in figures["sizes"].axes]
    assert bins[0] == bins[1]
    limits = {axes.images[0].get_clim() for axes in figures["centres"].axes}
    assert len(limits) == 1
