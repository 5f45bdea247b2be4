"""What a setting is called that was typed without its section, or in the wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.errors import UsageError, did_you_mean
from segkit.options import fields_of
from segkit.plugins import Catalogue
from segkit.settings import SECTIONS

GROUPS = {"model": "models", "dataset": "datasets", "loss": "losses"}


def keys_of(catalogue: Catalogue, chosen: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every key that -o can set, by section.

    Args:
        catalogue: of the plugins.
        chosen: names of model, dataset and loss where they are known; otherwise all of a kind count.
    """
    found = {section: [field.name for field in fields_of(options)] for section, options in SECTIONS.items()}
    for section, group in GROUPS.items():
        specs = [item.spec for item in catalogue.all(group)]
        try:
            specs = [catalogue.find(group, str(chosen[section])).spec] if chosen.get(section) else specs
        except UsageError:  # told elsewhere
            specs = []
        found[section] = list(dict.fromkeys(field.name for spec in specs for field in fields_of(spec.options)))
    return found


def proposal(key: str, catalogue: Catalogue, chosen: Mapping[str, Any], sections: Sequence[str]) -> str:
    """What to type in place of a bare key, "" where nothing is like it.

    >>> from segkit.plugins import load
    >>> proposal("weight-decay", load(), {}, ("train",))
    'Did you mean -o train.weight_decay=...?'
    """
    known = {section: keys for section, keys in keys_of(catalogue, chosen).items() if section in sections}
    name = key.replace("-", "_")
    exact = [f"{section}.{name}" for section, keys in known.items() if name in keys]
    if exact:
        return f"Did you mean {' or '.join(f'-o {one}=...' for one in exact)}?"
    close = did_you_mean(name, {one for keys in known.values() for one in keys})
    if not close.startswith("Did you mean"):
        return ""
    words = [f"-o {section}.{one}=..." for section, keys in known.items() for one in keys if f"'{one}'" in close]
    return f"Did you mean {' or '.join(words[:3])}?"
