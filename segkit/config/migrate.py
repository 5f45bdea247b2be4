"""What older versions wrote, in today's words: names and options that were changed or dropped, plugins that moved.

A weights file and a run.toml name specs, and the distribution and version that they came from. A spec's `aliases` and
`migrate` say what became of them (segkit.specs); the user is told what changed on reading.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from segkit import plugins
from segkit.errors import SegkitError, UsageError
from segkit.plugins import FORMER, Catalogue, RegisteredSpec

logger = logging.getLogger(__name__)

GROUPS = {"dataset": "datasets", "model": "models", "loss": "losses"}  # sections of run.toml that name one spec
UNKNOWN = "0"  # the version where none was written down
NO_OPTIONS = ("name", "root")
BEFORE = {"batch_norm": "running", "smoothing": 0.0}  # what trainings did before these settings were there


def migrate_settings(settings: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """A parsed run.toml with today's names and options; sections that are malformed or name nothing stay as they are.

    Raises:
        SegkitError: a plugin's `migrate` fails.
    """
    recorded = settings.get("plugins")
    origins = recorded if isinstance(recorded, Mapping) else {}
    migrated = dict(settings)
    if recorded and isinstance(settings.get("train"), Mapping):  # a whole run's, which holds every setting that there was
        migrated["train"] = {**BEFORE, **settings["train"]}
    if "max_time" in migrated.get("train", ()):  # in minutes; 0 stood for none
        kept = {key: value for key, value in migrated["train"].items() if key != "max_time"}
        minutes = float(migrated["train"]["max_time"])
        migrated["train"] = {"time": f"{minutes:g}m" if minutes else "auto", **kept}
    for section, group in GROUPS.items():
        table = settings.get(section)
        if isinstance(table, Mapping) and isinstance(table.get("name"), str):
            name, options = _migrate_table(group, table["name"], table, origins, catalogue)
            migrated[section] = {"name": name, **options}
    tables = settings.get("metrics")
    if isinstance(tables, Mapping) and all(isinstance(table, Mapping) for table in tables.values()):
        migrated["metrics"] = dict(
            _migrate_table("metrics", name, table, origins, catalogue) for name, table in tables.items()
        )
    return migrated


def _migrate_table(
    group: str, name: str, table: Mapping[str, Any], origins: Mapping[str, Any], catalogue: Catalogue
) -> tuple[str, dict[str, Any]]:
    """Today's name and table of one spec."""
    options = {key: value for key, value in table.items() if key not in NO_OPTIONS}
    kept = {key: value for key, value in table.items() if key == "root"}
    try:
        found = catalogue.find(group, name)
    except UsageError:  # what is typed may replace it; if not, it is refused with all that there is
        return name, {**kept, **options}
    plugin = name.rpartition("/")[0] or found.plugin.name
    origin = origins.get(plugin, {})
    tell_of_move(found, origin.get("distribution", found.plugin.distribution))
    same = found.is_called(name)
    return name if same else found.full_name, {**kept, **migrate_options(found, options, origin.get("version", UNKNOWN))}


def find_recorded(group: str, name: str) -> RegisteredSpec | None:
    """The spec that a recorded full name means, with no other plugin loaded where its own still has it; None without one."""
    for catalogue in (plugins.load(only=name.partition("/")[0]), plugins.load()):
        if any(item.is_called(name) or item.was_called(name) for item in catalogue.all(group)):
            return catalogue.find(group, name)
    return None


def migrate_options(found: RegisteredSpec, options: Mapping[str, Any], version: str) -> dict[str, Any]:
    """What recorded options are called today.

    Args:
        found: the spec that they are for.
        options: plain values, as run.toml and weights files hold them.
        version: of the distribution that they were written with.

    Raises:
        SegkitError: the plugin's `migrate` fails, or gives no dictionary.
    """
    if found.spec.migrate is None:
        return dict(options)
    migrate = found.spec.load(found.spec.migrate)
    try:
        migrated = dict(migrate(dict(options), version))
    except (Exception, SystemExit) as error:
        raise SegkitError(
            f"The options of {found.full_name}, written with version {version}, cannot be read by "
            f"{found.plugin.distribution} {found.plugin.version}: {type(error).__name__}: {error}",
            "" if version == UNKNOWN else f"Install that version: pip install {found.plugin.distribution}=={version}",
        ) from error
    before = ", ".join(f"{key}={value}" for key, value in options.items() if (key, value) not in migrated.items())
    after = ", ".join(f"{key}={value}" for key, value in migrated.items() if (key, value) not in options.items())
    if before or after:
        what = f"{before or 'nothing'} became {after}" if after else f"{before} was dropped"
        logger.warning(f"options of {found.full_name}, written with version {version}: {what}.")
    return migrated


def tell_of_move(found: RegisteredSpec, distribution: str) -> None:
    """Say where a plugin has moved since it was recorded."""
    now = found.plugin.distribution
    if FORMER.get(distribution, distribution) != now:
        logger.warning(f"{found.full_name} was part of {distribution} and now comes from {now} {found.plugin.version}.")
