"""A recipe: a training as data, the models that it is for, and what its paper printed, leaves open and gets wrong.

It is laid out like run.toml; besides, each of them optional:

[[models]]            name, label, options of the model; "SECTION.KEY" is another setting that holds for this model alone
[paper]               title, section; how its figures are summed up (aggregate), its own split, seeds and variants
paper.assumed         what the paper does not say: setting, why
paper.discrepancies   where the paper errs or contradicts itself: where, says, against, reading
paper.published       by table, rows of model, subset, class and the printed values, [mean, standard deviation] over seeds
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from segkit.errors import SegkitError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecipeModel:
    """A model that a recipe trains.

    Args:
        name: bare or full.
        label: as the paper calls it.
        settings: by section: the model's options, and what else holds for this model alone.
    """

    name: str
    label: str
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file holds.

    Args:
        settings: for all models, laid out like run.toml.
        models: in the order of the paper; none where `settings` names one.
        paper: what is known of the paper; numbers with a point are Decimals, with the digits that are printed.
    """

    settings: Mapping[str, Any]
    models: tuple[RecipeModel, ...] = ()
    paper: Mapping[str, Any] = field(default_factory=dict)

    def settings_for(self, model: str | None) -> dict[str, Any]:
        """The settings to train a model with: the first where none is named; another than the recipe's gets its defaults."""
        if not self.models:
            return dict(self.settings)
        named = model and next((one for one in self.models if model in (one.name, one.name.rpartition("/")[2])), None)
        names = ", ".join(one.name for one in self.models)
        if model and not named:
            logger.warning(f"the recipe is for {names}: nothing is published of {model}, which takes its own defaults.")
            return dict(self.settings)
        if not named and len(self.models) > 1:
            logger.info(f"recipe      for {names}; without --model the first")
        chosen = named or self.models[0]
        sections = [*self.settings, *(key for key in chosen.settings if key not in self.settings)]
        return {key: {**self.settings.get(key, {}), **chosen.settings.get(key, {})} for key in sections}


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe from its file's text.

    Raises:
        SegkitError: it is no TOML, or laid out otherwise.
    """
    try:
        values = tomllib.loads(text, parse_float=Decimal)  # printed digits count
        models = tuple(_model(dict(one)) for one in values.pop("models", ()))
        paper = dict(values.pop("paper", {}))
    except (tomllib.TOMLDecodeError, TypeError, ValueError, KeyError) as error:
        raise SegkitError(f"The recipe {name} cannot be read: {type(error).__name__}: {error}") from error
    return Recipe(with_floats(values), models, paper)


def _model(values: dict[str, Any]) -> RecipeModel:
    name, label = str(values.pop("name")), str(values.pop("label", ""))
    settings: dict[str, dict[str, Any]] = {"model": {"name": name}}
    for key, value in with_floats(values).items():
        section, dot, option = key.partition(".")
        settings.setdefault(section if dot else "model", {})[option if dot else key] = value
    return RecipeModel(name, label or name, settings)


def with_floats(value: Any) -> Any:
    """With floats in the place of Decimals."""
    if isinstance(value, Mapping):
        return {key: with_floats(own) for key, own in value.items()}
    if isinstance(value, list):
        return [with_floats(own) for own in value]
    return float(value) if isinstance(value, Decimal) else value
