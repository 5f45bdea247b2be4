"""The training on phantoms that the benchmarks measure: said once, as the command and as the record it makes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from segkit import plugins
from segkit.config.complete import Config, complete_config
from segkit.config.resolve import gather, resolve_config
from segkit.data.reading import open_dataset
from segkit.task import Dataset


@dataclass(frozen=True)
class Setup:
    """What is trained, on how many RGB phantoms of which side, and how; None leaves the choice to segkit."""

    model: str = "unet"
    width: int = 64
    size: int = 256
    batch_size: int = 8
    cases: int = 40
    device: str = "cpu"
    precision: str = "fp32"
    workers: int | None = None
    augment: str = "none"
    compile: bool = False

    def flags(self) -> dict[str, str]:
        """Of `segkit train`, by parameter name."""
        kept = ("model", "batch_size", "device", "precision", "workers", "augment")
        typed = {name: str(getattr(self, name)) for name in kept if getattr(self, name) is not None}
        return {"dataset": "phantom", "loss": "dice-focal", **typed}

    def assignments(self) -> list[str]:
        """What stands behind -o."""
        return [
            f"dataset.cases={self.cases}",
            f"dataset.size={self.size}",
            f"preprocess.size={self.size}",
            f"model.width={self.width}",
            f"train.compile={str(self.compile).lower()}",
        ]

    def command(self, *assignments: str) -> list[str]:
        """The words of `segkit train`."""
        words = [word for name, value in self.flags().items() for word in (f"--{name.replace('_', '-')}", value)]
        return ["train", *words, *(word for text in (*self.assignments(), *assignments) for word in ("-o", text))]

    def record(self, *assignments: str) -> tuple[Config, Dataset]:
        """What the command makes of these words: the complete record, and the opened dataset."""
        catalogue = plugins.load()
        config = resolve_config(gather({}, self.flags(), [*self.assignments(), *assignments]), catalogue)
        dataset = open_dataset(config.dataset, config.root)
        return complete_config(config, dataset, catalogue), dataset


def parser(about: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Options with these defaults; a type stands for an option that has none."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        kind, value = (default, None) if isinstance(default, type) else (type(default), default)
        made.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value, help=f"default: {value}")
    return made


def setup_of(words: argparse.Namespace, **more: Any) -> Setup:
    """Those of the words that a Setup has; `more` wins."""
    known = {field.name for field in fields(Setup)}
    return Setup(**{**{key: value for key, value in vars(words).items() if key in known}, **more})


def numbers(text: str) -> Sequence[int]:
    """
    >>> numbers("0,1,2")
    [0, 1, 2]
    """
    return [int(word) for word in text.split(",")]
