"""Finding plugins, so guarded that no plugin can break the tool or another plugin.

Each step (entry point, import, registration, hook, spec) is guarded on its own; a failure becomes a reason in that plugin's
`PluginStatus` and the rest goes on. Hooks are never called whole, since one raising plugin would discard all results.

Environment: `SEGKIT_PLUGINS=a,b` restricts to these plugins, `SEGKIT_STRICT=1` raises on the first failure.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy

from segkit import hookspecs
from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.specs import KINDS, Spec

logger = logging.getLogger(__name__)

GROUP = "segkit"
BUILTIN = "segkit-med"
FORMER = {"segkit": BUILTIN}  # distributions that were renamed: their records mean the new one
SLOW_SECONDS = 0.5
# what takes long to import; a plugin that is merely listed, as every command does, needs none of it
HEAVY = frozenset({
    "torch", "torchvision", "timm", "monai", "pennylane", "tensorflow", "jax",
    "numpy", "scipy", "pandas", "sklearn", "skimage", "matplotlib", "cv2", "nibabel",
})  # fmt: skip


@dataclass
class PluginStatus:
    """One plugin: where it comes from, what it offers, what went wrong with it.

    Attributes:
        name: of its entry point; the first half of full names.
        seconds: what loading it took.
        heavy: the libraries of `HEAVY` that came with it and were not there before.
        specs: the good ones.
        reasons: what failed, in words; empty for a healthy plugin.
    """

    name: str
    distribution: str
    version: str
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    specs: list[Spec] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """ "ok", "partial" (some of it works) or "failed"."""
        if not self.reasons:
            return "ok"
        return "partial" if self.specs else "failed"

    @property
    def slow(self) -> bool:
        return self.seconds > SLOW_SECONDS

    @property
    def builtin(self) -> bool:
        return self.distribution == BUILTIN


@dataclass(frozen=True)
class RegisteredSpec:
    """A spec (of its group's kind) with the plugin it comes from."""

    spec: Any
    plugin: PluginStatus

    @property
    def full_name(self) -> str:
        return f"{self.plugin.name}/{self.spec.name}"

    def is_called(self, name: str) -> bool:
        """Whether a bare or full name means this spec."""
        return name == self.full_name or (self.spec.bare and name == self.spec.name)

    def was_called(self, name: str) -> bool:
        """Whether it is one of its names of the past."""
        bare = {alias for alias in self.spec.aliases if "/" not in alias}
        full = {f"{self.plugin.name}/{alias}" for alias in bare} | set(self.spec.aliases) - bare
        return name in full or (self.spec.bare and name in bare)


@dataclass(frozen=True)
class Catalogue:
    """All loaded plugins; answers what there is and what a name means."""

    plugins: tuple[PluginStatus, ...]

    def all(self, group: str) -> list[RegisteredSpec]:
        """All specs of a group ("models", "datasets", "losses", "metrics", "recipes"), in the plugins' own order."""
        return [
            RegisteredSpec(spec, plugin)
            for plugin in self.plugins
            for spec in plugin.specs
            if isinstance(spec, KINDS[group])
        ]

    def find(self, group: str, name: str) -> RegisteredSpec:
        """The spec that a bare or full name means; built-ins win bare names over third parties, names of today over aliases.

        What a built-in's bare name hides is said.

        Raises:
            UsageError: unknown, or offered by two third parties.
        """
        everything = self.all(group)
        matches = [item for item in everything if item.is_called(name)]
        matches = matches or [item for item in everything if item.was_called(name)]
        if not matches:
            raise UsageError(f"There is no {_singular(group)} called {name!r}.", self._remedy(group, name, everything))
        preferred = [item for item in matches if item.plugin.builtin] or matches
        if len(preferred) > 1:
            owners = " and ".join(f"{item.full_name} ({_origin(item.plugin)})" for item in preferred)
            raise UsageError(
                f"The {_singular(group)} name {name!r} is offered twice: {owners}.",
                f"Type the full name, for instance {preferred[0].full_name}.",
            )
        found = preferred[0]
        if not found.is_called(name):
            logger.warning(f"the {_singular(group)} {name!r} is now called {found.full_name!r}.")
        for hidden in self.shadowed(group, found) if name != found.full_name else ():
            other = f"{hidden.full_name} of {hidden.plugin.distribution}"
            logger.warning(f"using {found.full_name}, not {other}; its full name selects that one.")
        return found

    def shadowed(self, group: str, found: RegisteredSpec) -> list[RegisteredSpec]:
        """Third-party specs that a built-in's bare name hides; they are still there under their full names."""
        same = [item for item in self.all(group) if item.spec.name == found.spec.name and item.spec.bare]
        return [item for item in same if item.full_name != found.full_name] if found.plugin.builtin else []

    def _remedy(self, group: str, name: str, everything: list[RegisteredSpec]) -> str:
        names = {item.spec.name for item in everything if item.spec.bare} | {
            item.full_name for item in everything if "/" in name or not item.spec.bare
        }
        broken = [plugin for plugin in self.plugins if plugin.reasons]
        words = [did_you_mean(name, names), f"'segkit {group}' lists them."]
        if broken:
            listing = ", ".join(f"{plugin.name} ({_origin(plugin)})" for plugin in broken)
            words.append(f"It may be in a plugin that failed to load: {listing}; see 'segkit plugins'.")
        return " ".join(word for word in words if word)


@lru_cache(maxsize=8)
def load(only: str | None = None) -> Catalogue:
    """Load all plugins, or only those whose entry point is called `only` (how a weights file finds its model)."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    statuses: list[PluginStatus] = []
    for entry_point in installed_plugins():
        if only is None or entry_point.name == only:
            statuses.append(_load_one(manager, entry_point, {status.name: status for status in statuses}))
    return Catalogue(tuple(statuses))


def installed_plugins() -> list[EntryPoint]:
    """The entry points of all plugins, none of them loaded: built-ins first, then by distribution and name.

    The file system's own order differs between machines.
    """
    wanted = {name.strip() for name in os.environ.get("SEGKIT_PLUGINS", "").split(",") if name.strip()}
    found = {(_distribution(point)[0], point.name): point for point in entry_points(group=GROUP)}
    # an installation under a former name that was left behind offers the same code again
    found = {key: point for key, point in found.items() if (FORMER.get(key[0]), key[1]) not in found}
    order = sorted(found, key=lambda key: (key[0] != BUILTIN, key))
    return [found[key] for key in order if not wanted or key[1] in wanted]


def _load_one(manager: pluggy.PluginManager, entry_point: EntryPoint, taken: dict[str, PluginStatus]) -> PluginStatus:
    status = PluginStatus(entry_point.name, *_distribution(entry_point))
    started, before = time.perf_counter(), set(sys.modules)
    if entry_point.name in taken:
        owner = _origin(taken[entry_point.name])
        status.reasons.append(f"the plugin name {entry_point.name!r} is already taken by {owner}")
    else:
        with _guard(status, f"import of {entry_point.value}"):
            module = entry_point.load()
            with _guard(status, "registration"):
                _register(manager, module, status)
    status.seconds = time.perf_counter() - started
    status.heavy = tuple(sorted(HEAVY & (set(sys.modules) - before)))
    return status


def _register(manager: pluggy.PluginManager, module: ModuleType, status: PluginStatus) -> None:
    try:
        manager.register(module, status.name)
    except Exception:
        with contextlib.suppress(Exception):  # pluggy leaves a plugin registered when register() fails
            manager.unregister(module)
        raise
    callers = manager.get_hookcallers(module) or []
    for caller in callers:
        if not caller.has_spec():
            hint = did_you_mean(caller.name, (name for name in vars(hookspecs) if name.startswith("segkit_")))
            _note(status, f"{caller.name} is not a hook of segkit. {hint}")
            continue
        for implementation in caller.get_hookimpls():
            if implementation.plugin is module:
                _collect(status, caller.name, implementation.function)
    if not callers:
        _note(status, "it offers nothing: no function in it is marked @segkit.api.hookimpl")


def _collect(status: PluginStatus, hook: str, function: Any) -> None:
    group = hook.removeprefix("segkit_")
    with _guard(status, hook):
        offered = function()
        if isinstance(offered, (Spec, str)) or not hasattr(offered, "__iter__"):
            raise TypeError(f"it must return a list of specs, not {type(offered).__name__}")
        for spec in offered:  # may be a generator that fails half-way: what came before stays
            _accept(status, group, spec)


def _accept(status: PluginStatus, group: str, spec: Any) -> None:
    kind = KINDS[group]
    if not isinstance(spec, kind):
        _note(status, f"segkit_{group} gave {spec!r:.80}, which is not a {kind.__name__}")
        return
    with _guard(status, f"{_singular(group)} {spec.name!r}"):
        problems = spec.problems()
        if any(isinstance(other, kind) and other.name == spec.name for other in status.specs):
            problems.append("the plugin offers this name twice")
        if problems:
            raise ValueError("; ".join(problems))
        status.specs.append(spec)


@contextlib.contextmanager
def _guard(status: PluginStatus, step: str) -> Iterator[None]:
    """Turn any failure of the plugin, sys.exit included, into a reason; its prints must not reach our stdout."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SegkitError) and os.environ.get("SEGKIT_STRICT") == "1":
            raise
        _note(status, f"{step}: {type(error).__name__}: {error}", error)


def _note(status: PluginStatus, reason: str, cause: BaseException | None = None) -> None:
    status.reasons.append(reason)
    if os.environ.get("SEGKIT_STRICT") == "1":
        raise SegkitError(
            f"The plugin {status.name!r} ({_origin(status)}) failed: {reason}",
            "Unset SEGKIT_STRICT to go on without it.",
        ) from cause


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    dist = entry_point.dist
    return (dist.name, dist.version) if dist is not None else ("unknown", "?")


def _origin(plugin: PluginStatus) -> str:
    return f"{plugin.distribution} {plugin.version}"


def _singular(group: str) -> str:
    return {"losses": "loss"}.get(group, group.removesuffix("s"))
