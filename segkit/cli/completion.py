"""What the shell proposes on Tab (`segkit --install-completion`): names and keys, found without torch or data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

Words = Callable[[str], list[str]]


def names(group: str) -> Words:
    """Completion for the names of a group: "models", "datasets", "losses", "metrics", "recipes"."""

    def complete(incomplete: str) -> list[str]:
        from segkit.plugins import load

        found = [item.spec.name if item.spec.bare else item.full_name for item in load().all(group)]
        return _beginning(incomplete, found)

    return complete


def monitored(incomplete: str) -> list[str]:
    """Completion for --monitor."""
    from segkit.plugins import load

    directed = [item.spec.name for item in load().all("metrics") if item.spec.higher_is_better is not None]
    return _beginning(incomplete, ["auto", "loss", *directed])


def words(*allowed: str) -> Words:
    """Completion for a choice of words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, allowed)

    return complete


def keys(*sections: str) -> Callable[[typer.Context, str], list[str]]:
    """Completion for -o SECTION.KEY=; where model, dataset and loss are typed already, for their keys alone."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from segkit.config.suggestions import keys_of
        from segkit.plugins import load

        typed = {section: ctx.params.get(section) for section in ("model", "dataset", "loss")}
        typed = {section: name for section, name in typed.items() if isinstance(name, str)}
        if ctx.info_name == "models" and ctx.params.get("name"):
            typed["model"] = ctx.params["name"]
        known = keys_of(load(), typed)
        return _beginning(incomplete, [f"{section}.{key}=" for section in sections for key in known[section]])

    return complete


SUBSETS = words("train", "val", "test", "all")
DEVICES = words("auto", "cpu", "cuda", "cuda:0", "mps")


def _beginning(incomplete: str, allowed: Sequence[str]) -> list[str]:
    return [word for word in dict.fromkeys(allowed) if word.startswith(incomplete)]
