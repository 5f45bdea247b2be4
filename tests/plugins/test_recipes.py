"""The papers' recipes: whole, true to what is printed, and starting points that train."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import SHARED, Command
from segkit import plugins
from segkit.config.recipe import Recipe
from segkit.config.resolve import gather, resolve_config
from segkit.config.starting_point import read_recipe, read_starting_point
from segkit.plugins import RegisteredSpec

BUILTIN = [item for item in plugins.load().all("recipes") if item.plugin.builtin]
PRINTED = SHARED.parent / "papers" / "recipes.yaml"
OF_TASK = {"results", "run", "first_val_loss"}


def recipe(name: str) -> Recipe:
    return read_recipe(plugins.load().find("recipes", name))


def rows(found: Recipe) -> Iterator[dict[str, Any]]:
    for printed in found.paper["published"].values():
        yield from printed


def numbers(value: Any) -> Iterator[Decimal]:
    """All numbers of a tree, however deep; "34:20" and "1:01:00" are seconds."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for own in value:
            yield from numbers(own)
    elif isinstance(value, str) and ":" in value:
        yield Decimal(sum(int(part) * 60**place for place, part in enumerate(reversed(value.split(":")))))
    elif isinstance(value, int | float | Decimal) or (isinstance(value, str) and value.replace(".", "", 1).isdecimal()):
        yield Decimal(str(value))


def test_every_paper_is_here() -> None:
    assert {item.full_name for item in BUILTIN} == {
        "ehab-li/lgg", "ehab-li/polyp", "ehab-li/acdc", "keller/brats2020-2d", "baizhan/brats2020", "baizhan/tumour-slices",
        "vaona/figshare", "muller-wolf/brain-coco",
    }  # fmt: skip


@pytest.mark.skipif(not PRINTED.is_file(), reason=f"{PRINTED} is not there")
def test_every_printed_number_stands_in_a_recipe() -> None:
    papers = yaml.load(PRINTED.read_text(), Loader=yaml.BaseLoader)["papers"]  # as text, with every digit
    known = {str(number) for item in BUILTIN for row in rows(read_recipe(item)) for number in numbers(row)}
    for paper in papers:
        wanted = [paper.get("model_params", {}), *({key: task.get(key) for key in OF_TASK} for task in paper["tasks"])]
        missing = {str(number) for number in numbers(wanted)} - known
        assert not missing, (paper["id"], missing)


@pytest.mark.parametrize("item", BUILTIN, ids=lambda item: item.full_name)
def test_every_model_of_a_recipe_resolves_and_says_what_is_assumed(item: RegisteredSpec, tmp_path: Path) -> None:
    found, catalogue = read_recipe(item), plugins.load()
    for model in found.models:
        values = gather(read_starting_point(None, item.full_name, catalogue, model.name), {"data_dir": str(tmp_path)}, [])
        requested = resolve_config(values, catalogue)
        assert requested.model.spec.name == model.name and requested.recipe is not None
    assert found.paper["assumed"] and all(one["setting"] and one["why"] for one in found.paper["assumed"])
    assert all(row["model"] in {model.name for model in found.models} for row in rows(found))


def interval(printed: Decimal) -> tuple[float, float]:
    half = 0.5 * 10.0 ** int(printed.as_tuple().exponent)
    return float(printed) - half, float(printed) + half


@pytest.mark.parametrize("name", ["ehab-li/lgg", "ehab-li/polyp", "ehab-li/acdc", "vaona/figshare"])
def test_printed_figures_agree_with_each_other(name: str) -> None:
    """Dice = 2PR / (P + R) and IoU = D / (2 - D), by interval arithmetic; each grows with what it is made of."""
    by_cell: dict[tuple[str, str], dict[str, Decimal]] = {}
    for row in rows(recipe(name)):
        values = {key: value[0] if isinstance(value, list) else value for key, value in row.items()}
        by_cell.setdefault((row["model"], row.get("class", "")), {}).update(values)
    checked = 0
    for cell in by_cell.values():
        if {"precision", "recall", "dice"} <= cell.keys():
            pairs = zip(interval(cell["precision"]), interval(cell["recall"]), strict=True)
            low, high = (2 * p * r / (p + r) for p, r in pairs)
            assert low <= interval(cell["dice"])[1] and interval(cell["dice"])[0] <= high
            checked += 1
        if {"dice", "iou"} <= cell.keys():
            low, high = (d / (2 - d) for d in interval(cell["dice"]))
            assert low <= interval(cell["iou"])[1] and interval(cell["iou"])[0] <= high
    assert checked >= 2


def test_a_model_is_a_cell_of_the_table(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "polyp", "--cases", "12", "--out", tmp_path / "data").code == 0
    small = ["-o", "model.width=4", "-o", "model.depth=2", "-o", "preprocess.size=32", "--epochs", "1"]
    words = ["train", "--recipe", "ehab-li/polyp", "--data-dir", tmp_path / "data", *small]
    for name in ("resunet", "unet"):
        done = segkit(*words, "--model", name, "--out", tmp_path / name)
        assert done.code == 0, done.err
        written = tomllib.loads((tmp_path / name / "run.toml").read_text())
        assert (written["model"]["name"], written["model"]["init"]) == (f"unets/{name}", "keras")
        assert (written["loss"]["name"], written["train"]["lr"], written["train"]["epochs"]) == ("losses/focal", 1e-5, 1)
        assert written["recipe"] == {"name": "ehab-li/polyp"} and written["train"]["schedule"] == "plateau"
    other = segkit(*words, "--model", "attention-unet", "--out", tmp_path / "other")
    assert other.code == 0 and "nothing is published of attention-unet" in other.err


def test_a_recipe_is_shown_with_what_is_printed(segkit: Command) -> None:
    listed = segkit("recipes").out
    assert all(item.full_name in listed for item in BUILTIN)
    shown = segkit("recipes", "ehab-li/acdc").out
    assert "published, Table 7" in shown and "0.920" in shown and "assumed: train.batch_size" in shown
    document = json.loads(segkit("recipes", "vaona/figshare", "--json").out)
    assert document["paper"]["published"]["Table 1"][1]["dice"] == [0.8613, 0.0025]
    assert [model["name"] for model in document["models"]] == ["unet", "semantic-fpn"]


def test_a_recipe_that_is_laid_out_otherwise_is_said(install: Any, segkit: Command) -> None:
    site = install("acme", "from segkit.api import RecipeSpec, hookimpl\n@hookimpl\ndef segkit_recipes():\n"
                   "    return [RecipeSpec('odd', 'a strange one', target='odd_recipes:odd.toml')]")  # fmt: skip
    (site / "odd_recipes").mkdir()
    (site / "odd_recipes" / "__init__.py").touch()
    for text in ("[[models]]\nwidth = 3", "models = 3", "[paper"):
        (site / "odd_recipes" / "odd.toml").write_text(text)
        told = segkit("recipes", "odd")
        assert told.code == 1 and "acme/odd cannot be read" in told.err


def test_models_of_one_recipe_are_told_apart() -> None:
    for item in BUILTIN:
        names = [model.name for model in read_recipe(item).models]
        assert not [pair for pair in itertools.combinations(names, 2) if pair[0] == pair[1]]
