"""No plugin can break the tool or another plugin: each kind of failure, with invented distributions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command
from segkit import plugins
from segkit.errors import SegkitError, UsageError

GOOD = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("{name}", "a good model", target="nowhere.at_all:build")]
"""

HALF_WAY = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    yield ModelSpec("early-bird", "a good model", target="nowhere.at_all:build")
    raise RuntimeError("half-way")
"""

BROKEN = {
    "import error": ("import a_package_that_does_not_exist", "failed", "ModuleNotFoundError"),
    "exit at import": ("import sys; sys.exit('goodbye')", "failed", "SystemExit: goodbye"),
    "syntax error": ("def segkit_models(:", "failed", "SyntaxError"),
    "misspelt hook": (
        "from segkit.api import hookimpl\n@hookimpl\ndef segkit_modles(): return []",
        "failed",
        "segkit_modles is not a hook of segkit. Did you mean 'segkit_models'",
    ),
    "wrong signature": (
        "from segkit.api import hookimpl\n@hookimpl\ndef segkit_models(config): return []",
        "failed",
        "config",
    ),
    "hook raises half-way": (HALF_WAY, "partial", "RuntimeError: half-way"),
    "bad spec among good ones": (
        GOOD.format(name="early-bird").replace("return [", 'return [ModelSpec("Not Kebab", "bad", target="x"), 17, '),
        "partial",
        "kebab-case",
    ),
    "one name twice": (
        GOOD.format(name="early-bird").replace("build\")]", "build\"), ModelSpec('early-bird', 'again', target='a:b')]"),
        "partial",
        "the plugin offers this name twice",
    ),
    "not a list": (
        "from segkit.api import hookimpl\n@hookimpl\ndef segkit_models(): return None",
        "failed",
        "must return a list of specs, not NoneType",
    ),
    "unmarked hook": ("def segkit_models(): return []", "failed", "marked @segkit.api.hookimpl"),
    "options without default": (
        "from dataclasses import dataclass\n"
        + GOOD.format(name="bare").replace("@hookimpl", "@dataclass\nclass Options:\n    width: int\n\n@hookimpl")
        .replace('build")', 'build", options=Options)'),
        "failed",
        "'width' of Options has no default",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_with_its_reason_and_the_others_work(
    kind: str, install: Callable[..., None], segkit: Command
) -> None:
    source, state, reason = BROKEN[kind]
    install("acme-broken", source)
    install("zeta-good", GOOD.format(name="zeta-net"))
    listed = json.loads(segkit("plugins", "--json").out)
    broken = next(plugin for plugin in listed if plugin["distribution"] == "acme-broken")
    assert (broken["version"], broken["state"]) == ("1.2.3", state)
    assert reason in "; ".join(broken["reasons"])
    assert all(plugin["state"] == "ok" for plugin in listed if plugin["distribution"] != "acme-broken")
    names = {model["name"] for model in json.loads(segkit("models", "--json").out)}
    assert {"unet", "resunet", "zeta-net"} <= names
    assert ("early-bird" in names) == (state == "partial")
    assert segkit("plugins").code == 0
    assert segkit("plugins", "--check").code == 1


HERE = 'target="nowhere.at_all:build"'


def test_healthy_plugins_pass_the_check(segkit: Command, install: Callable[..., None]) -> None:
    source = GOOD.format(name="zeta-net").replace(HERE, 'target="zeta_good_module:segkit_models"')
    install("zeta-good", source)
    done = segkit("plugins", "--check")
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ('ModelSpec("x", "y", target="nowhere.at_all:build")', "models 'x' cannot be loaded from nowhere.at_all:build"),
        ('ModelSpec("x", "y", target="acme_module:bild")', "acme_module:bild: AttributeError"),
        ('ModelSpec("x", "y", target="acme_module:NUMBER")', "its target acme_module:NUMBER is no function"),
        ('ModelSpec("x", "y", target="acme_module:good", describe="acme_module:tell")', "acme_module:tell: AttributeError"),
        ('ModelSpec("x", "y", target="acme_module:good", migrate="acme_modul:move")', "acme_modul:move: ModuleNotFound"),
        ('DatasetSpec("x", "y", target="acme_module:good", synthesize="acme_module:make")', "acme_module:make"),
        ('LossSpec("x", "y", target="acme_module:bild")', "losses 'x' cannot be loaded from acme_module:bild"),
        ('MetricSpec("x", "y", target="acme_module:bild")', "metrics 'x' cannot be loaded from acme_module:bild"),
        ('RecipeSpec("x", "y", target="segkit:nowhere.toml")', "recipes 'x': its target segkit:nowhere.toml cannot be read"),
    ],
)
def test_the_check_imports_what_a_spec_names(
    spec: str, told: str, install: Callable[..., None], segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGKIT_PLUGINS", "acme")
    kind = spec.partition("Spec")[0]
    group = {"Dataset": "datasets", "Loss": "losses", "Metric": "metrics", "Recipe": "recipes"}.get(kind, "models")
    names = "DatasetSpec, LossSpec, MetricSpec, ModelSpec, RecipeSpec, hookimpl"
    hook = f"@hookimpl\ndef segkit_{group}():\n    return [{spec}]\n"
    install("acme", f"from segkit.api import {names}\nNUMBER = 3\ndef good(*_): ...\n{hook}")
    assert segkit("plugins").code == 0 and json.loads(segkit("plugins", "--json").out)[0]["state"] == "ok"
    done = segkit("plugins", "--check", "--json")
    (plugin,) = json.loads(done.out)
    assert done.code == 1 and plugin["state"] == "partial" and told in plugin["reasons"][0]


def test_the_check_leaves_out_what_needs_a_missing_package(
    install: Callable[..., None], segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGKIT_PLUGINS", "acme")
    install("acme", GOOD.format(name="x").replace(HERE, f'{HERE}, requires={{"not_there": "pip install not-there"}}'))
    done = segkit("plugins", "--check")
    assert done.code == 0 and "acme/x was not checked" in done.err and "pip install not-there" in done.err


def test_a_plugin_that_imports_something_heavy_is_told_with_its_name(
    install: Callable[..., None], segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGKIT_PLUGINS", "acme")
    monkeypatch.setattr(plugins, "HEAVY", frozenset({"tabnanny"}))  # stands for torch, which is here already
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    source = GOOD.format(name="x").replace(HERE, 'target="acme_module:segkit_models"')
    install("acme", "import tabnanny\n" + source)
    done = segkit("plugins", "--check")
    assert done.code == 0 and "acme imports tabnanny" in " ".join(done.err.split())
    assert json.loads(segkit("plugins", "--json").out)[0]["heavy"] == ["tabnanny"]


SHADOWS = """
from segkit.api import DatasetSpec, LossSpec, MetricSpec, ModelSpec, hookimpl

@hookimpl
def segkit_models(): return [ModelSpec("unet", "a model", target="nowhere:build")]

@hookimpl
def segkit_losses(): return [LossSpec("dice", "a loss", target="nowhere:build")]

@hookimpl
def segkit_metrics(): return [MetricSpec(name, "a metric", target="nowhere:build") for name in ("iou", "accuracy")]

@hookimpl
def segkit_datasets(): return [DatasetSpec("phantom", "data", target="nowhere:build", needs_root=False)]
"""


def test_whatever_a_built_in_shadows_is_said_once_by_every_command(
    install: Callable[..., None], segkit: Command, trained: Path, tmp_path: Path
) -> None:
    install("acme", SHADOWS)
    words = "train --dataset phantom --model unet --loss dice --metric iou --device nonsense".split()
    told = segkit(*words).err
    for name in ("unet", "dice", "iou", "phantom"):
        assert " ".join(told.split()).count(f"not acme/{name} of acme") == 1, name
    full = "train --dataset datasets/phantom --model unets/unet --loss losses/dice --metric metrics/iou --device nonsense"
    assert "not acme/" not in segkit(*full.split()).err
    told = segkit("evaluate", trained, "--metric", "accuracy", "--out", tmp_path / "scores").err
    assert "using metrics/accuracy, not acme/accuracy of acme" in " ".join(told.split())
    assert "using losses/dice, not acme/dice of acme" in " ".join(segkit("losses", "dice").err.split())


def test_a_slow_plugin_is_told_as_slow(
    install: Callable[..., None], segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.05)
    install("acme-slow", "import time; time.sleep(0.1)\n" + GOOD.format(name="slow-net"))
    listed = {plugin["name"]: plugin for plugin in json.loads(segkit("plugins", "--json").out)}
    assert listed["acme-slow"]["slow"] and listed["acme-slow"]["state"] == "ok"
    assert "(slow)" in segkit("plugins").out


def test_a_plugin_that_prints_at_import_does_not_spoil_json(install: Callable[..., None], segkit: Command) -> None:
    install("acme-chatty", "print('hello from acme')\n" + GOOD.format(name="chatty-net"))
    assert "chatty-net" in {model["name"] for model in json.loads(segkit("models", "--json").out)}


def test_two_plugins_of_one_name_the_second_is_refused(install: Callable[..., None]) -> None:
    install("acme-one", GOOD.format(name="first-net"), name="twin")
    install("acme-two", GOOD.format(name="second-net"), name="twin")
    states = {plugin.distribution: plugin for plugin in plugins.load().plugins}
    assert states["acme-one"].state == "ok"
    assert states["acme-two"].reasons == ["the plugin name 'twin' is already taken by acme-one 1.2.3"]


def test_two_third_parties_with_one_model_name_clash_only_when_it_is_asked_for(install: Callable[..., None]) -> None:
    install("acme", GOOD.format(name="shared-net"))
    install("zeta", GOOD.format(name="shared-net"))
    catalogue = plugins.load()
    assert catalogue.find("models", "unet").full_name == "unets/unet"
    with pytest.raises(UsageError, match=r"offered twice: acme/shared-net \(acme 1.2.3\) and zeta/shared-net"):
        catalogue.find("models", "shared-net")
    assert catalogue.find("models", "zeta/shared-net").plugin.distribution == "zeta"


def test_a_shadowed_built_in_wins_and_training_says_so(install: Callable[..., None], segkit: Command) -> None:
    install("acme", GOOD.format(name="unet"))
    catalogue = plugins.load()
    found = catalogue.find("models", "unet")
    assert found.full_name == "unets/unet"
    assert [hidden.full_name for hidden in catalogue.shadowed("models", found)] == ["acme/unet"]
    assert catalogue.find("models", "acme/unet").plugin.distribution == "acme"
    told = segkit("train", "--dataset", "phantom", "--model", "unet", "--device", "nonsense")
    assert "using unets/unet, not acme/unet of acme" in told.err


def test_an_unknown_name_shows_the_closest_and_the_broken_plugins(install: Callable[..., None], segkit: Command) -> None:
    install("acme-broken", "import a_package_that_does_not_exist")
    told = segkit("models", "resnuet")
    assert told.code == 2
    assert "'resunet'" in told.err and "acme-broken (acme-broken 1.2.3)" in told.err


def test_segkit_plugins_restricts(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_PLUGINS", "losses, metrics")
    plugins.load.cache_clear()
    assert [plugin.name for plugin in plugins.load().plugins] == ["losses", "metrics"]


def test_segkit_strict_raises(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_STRICT", "1")
    install("acme-broken", "import a_package_that_does_not_exist")
    with pytest.raises(SegkitError, match="a_package_that_does_not_exist"):
        plugins.load()


def test_a_spec_whose_code_is_missing_fails_only_when_used(install: Callable[..., None], segkit: Command) -> None:
    install("zeta-good", GOOD.format(name="zeta-net"))
    assert segkit("models", "zeta-net").code == 0
    told = segkit("models", "zeta-net", "--channels", "3")
    assert told.code == 1 and "nowhere.at_all:build" in told.err


@pytest.mark.parametrize("package", ["a_package_that_does_not_exist", "missing.parent"])
def test_a_spec_that_requires_a_missing_package_says_how_to_get_it(
    install: Callable[..., None], segkit: Command, package: str
) -> None:
    needs = f'build", requires={{"{package}": "pip install that-package"}})]'
    install("zeta-good", GOOD.format(name="zeta-net").replace('build")]', needs))
    told = segkit("models", "zeta-net", "--channels", "3")
    assert told.code == 1 and package in told.err and "pip install that-package" in told.err
