"""`segkit plugins`: which plugins there are, how they loaded, and why one did not."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Annotated

import typer

from segkit.cli.output import print_json, print_table
from segkit.plugins import PluginStatus, load

logger = logging.getLogger(__name__)


def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Import all code that they name; exit 1 if any failed, wholly or in part.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the plugins: distribution, version, state, load time, and the reason where one failed."""
    from segkit.cli import terminal

    found = load().plugins
    if check:
        with terminal.results_only():
            found = tuple(_checked(plugin) for plugin in found)
    if json:
        print_json(
            [
                {
                    "name": plugin.name,
                    "distribution": plugin.distribution,
                    "version": plugin.version,
                    "state": plugin.state,
                    "seconds": round(plugin.seconds, 4),
                    "slow": plugin.slow,
                    "heavy": list(plugin.heavy),
                    "offers": [f"{spec.group}: {spec.name}" for spec in plugin.specs],
                    "reasons": plugin.reasons,
                }
                for plugin in found
            ]
        )
    else:
        rows = [
            (
                plugin.name,
                f"{plugin.distribution} {plugin.version}",
                plugin.state,
                f"{plugin.seconds * 1000:.0f} ms{' (slow)' if plugin.slow else ''}",
                "; ".join(plugin.reasons) or ", ".join(spec.name for spec in plugin.specs),
            )
            for plugin in found
        ]
        print_table(("plugin", "from", "state", "loaded in", "offers, or why it failed"), rows)
    for plugin in found:
        if plugin.heavy:
            words = f"{plugin.name} imports {', '.join(plugin.heavy)} ({plugin.seconds:.1f} s) whenever plugins are listed"
            logger.warning(f"{words}: import these inside the functions that need them.")
    if check and any(plugin.reasons for plugin in found):
        raise typer.Exit(1)


def _checked(plugin: PluginStatus) -> PluginStatus:
    """With what fails when the code of its specs is imported; a spec whose package is missing cannot be tried."""
    reasons = list(plugin.reasons)
    for spec in plugin.specs:
        for package, remedy in spec.missing().items():
            logger.warning(f"{plugin.name}/{spec.name} was not checked: it needs the package {package!r}. {remedy}")
        reasons += [] if spec.missing() else spec.broken_targets()
    return replace(plugin, reasons=reasons)
