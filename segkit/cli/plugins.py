"""`segkit plugins`: which plugins there are, how they loaded, and why one did not."""

from __future__ import annotations

from typing import Annotated

import typer

from segkit.cli.output import print_json, print_table
from segkit.plugins import load


def plugins(
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if any plugin failed, wholly or in part.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the plugins: distribution, version, state, load time, and the reason where one failed."""
    found = load().plugins
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
    if check and any(plugin.reasons for plugin in found):
        raise typer.Exit(1)
