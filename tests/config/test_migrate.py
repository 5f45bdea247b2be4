"""What was written before a rename, a removed option or a move to another distribution still loads, with a notice."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from conftest import Command, same_weights
from segkit import plugins
from segkit.errors import SegkitError, UsageError
from segkit.models.build import load_model
from segkit.runs.weights import read_header
from segkit.testing import sandbox

SOURCE = """
from dataclasses import dataclass
from segkit.api import (
    Case, Dataset, DatasetSpec, LossSpec, Metric, MetricSpec, ModelSpec, Sample, Task, hookimpl, option
)

@dataclass(frozen=True)
class Options:
    {option}

@dataclass(frozen=True)
class Nothing:
    kept: int = option(3, "an option of data, loss and metric")

more = dict({more})

def spec(kind, name, options=Nothing, **own):
    aliases = tuple(alias.format(name=name) for alias in {aliases})
    target = f"{{__name__}}:{{name.replace('-', '_')}}"
    return kind("{prefix}" + name, "invented", target=target, options=options, aliases=aliases, **more, **own)

@hookimpl
def segkit_models(): return [spec(ModelSpec, "net", Options)]

@hookimpl
def segkit_datasets(): return [spec(DatasetSpec, "data", needs_root=False, preprocess={{"size": 8}})]

@hookimpl
def segkit_losses(): return [spec(LossSpec, "loss")]

@hookimpl
def segkit_metrics(): return [spec(MetricSpec, "score")]

def migrate(options, from_version):
    assert from_version == "1.0"
    return {{{{"width": "channels"}}.get(key, key): value for key, value in options.items() if key != "gone"}}

def net(task, options):
    import torch
    width = getattr(options, "width", None) or options.channels
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 1), torch.nn.Conv2d(width, 1, 1))

def data(root, options, labelled=True):
    import numpy as np
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (8, 3, 8, 8), np.uint8)
    cases = tuple(Case(str(number), str(number)) for number in range(8))
    read = lambda case: Sample(images[int(case.id)], (images[int(case.id), 0] > 99).astype(np.uint8) if labelled else None)
    return Dataset(Task(3, ("background", "bright")), cases, read)

def loss(task, options):
    import torch
    class Loss(torch.nn.Module):
        def forward(self, logits, target):
            return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    return Loss()

def score(task, options):
    return Metric(lambda result: {{"n": options.kept}}, lambda counts: {{"": counts["n"]}})
"""
WIDTHS = 'width: int = option(5, "maps")\n    gone: int = option(7, "x")'
CHANNELS = 'channels: int = option(5, "maps")'
OLD = SOURCE.format(option=WIDTHS, more="", aliases=(), prefix="old-")
MOVED = OLD
RENAMED = SOURCE.format(option=WIDTHS, more="", aliases=("old-{name}",), prefix="new-")
FULLY_RENAMED = SOURCE.format(option=WIDTHS, more="", aliases=("acme/old-{name}",), prefix="new-")
MIGRATED = SOURCE.format(option=CHANNELS, more='migrate="acme_module:migrate"', aliases=(), prefix="old-")
ALL = SOURCE.format(option=CHANNELS, more='migrate="zeta_module:migrate"', aliases=("acme/old-{name}",), prefix="new-")

# what became of it: source, distribution, plugin, and what the user is told
PASTS = {
    "renamed": (RENAMED, "acme", "acme", "is now called"),
    "plugin renamed": (FULLY_RENAMED, "acme", "acme-two", "is now called 'acme-two/new-net'"),
    "option dropped and another renamed": (MIGRATED, "acme", "acme", "width=2, gone=7 became channels=2"),
    "moved to another distribution": (MOVED, "zeta", "acme", "was part of acme and now comes from zeta 2.0"),
    "all of it": (ALL, "zeta", "zeta", "width=2, gone=7 became channels=2"),
}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained with everything from a plugin as it was."""
    from segkit.cli.app import run

    out = tmp_path_factory.mktemp("past") / "run"
    words = "train --dataset old-data --model old-net --loss old-loss --metric old-score -o model.width=2 --epochs 1"
    with sandbox() as install:
        install("acme", OLD, version="1.0")
        assert run([*words.split(), "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(past: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(past, tmp_path / "run"))


@pytest.fixture
def install() -> Iterator[Callable[..., Path]]:
    with sandbox() as make:
        yield make


@pytest.mark.parametrize("what", PASTS)
def test_weights_and_run_toml_of_the_past_load_with_a_notice(
    what: str,
    run: Path,
    past: Path,
    tmp_path: Path,
    segkit: Command,
    install: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, distribution, plugin, told = PASTS[what]
    install(distribution, source, name=plugin, version="2.0")
    header, _, model = load_model(run / "model.safetensors")
    assert told in caplog.text
    assert (header.distribution, header.version) == (distribution, "2.0")
    assert sum(own.numel() for own in model.parameters()) == 3 * 2 + 2 + 2 + 1

    evaluated = segkit("evaluate", run)
    assert evaluated.code == 0 and "not the data of the run" not in evaluated.err, evaluated.err
    assert told.partition(" '")[0] in evaluated.err
    assert json.loads((run / "test" / "metrics.json").read_text())["cases"] == 1

    again = segkit("train", "--config", run, "--out", tmp_path / "again")
    assert again.code == 0 and told.partition(" '")[0] in again.err, again.err
    assert same_weights(run, tmp_path / "again")
    record = tomllib.loads((tmp_path / "again" / "run.toml").read_text())
    assert record["plugins"][plugin] == {"distribution": distribution, "version": "2.0"}
    assert segkit("train", "--config", tmp_path / "again", "--out", tmp_path / "third").err.count("Note") <= 1

    resumed = segkit("train", "--resume", run, "--epochs", "2")
    assert resumed.code == 0 and told.partition(" '")[0] in resumed.err, resumed.err
    assert tomllib.loads((run / "run.toml").read_text())["model"]["name"] == header.model


def test_a_run_records_the_plugins_that_it_used(past: Path) -> None:
    record = tomllib.loads((past / "run.toml").read_text())["plugins"]
    assert record["acme"] == {"distribution": "acme", "version": "1.0"}
    assert record["metrics"]["distribution"] == "segkit-med" and "unets" not in record
    assert json.loads((past / "manifest.json").read_text())["plugins"] == record


def test_todays_names_win_over_aliases(install: Callable[..., Path]) -> None:
    source = "from segkit.api import ModelSpec, hookimpl\n@hookimpl\ndef segkit_models():\n    return [ModelSpec("
    install("acme", source + "'new-net', 'x', target='a:b', aliases=('unet', 'lost-net'))]")
    install("zeta", source + "'lost-net', 'x', target='a:b')]")
    catalogue = plugins.load()
    assert catalogue.find("models", "unet").full_name == "unets/unet"
    assert catalogue.find("models", "lost-net").full_name == "zeta/lost-net"
    assert catalogue.find("models", "acme/lost-net").full_name == "acme/new-net"
    with pytest.raises(UsageError):
        catalogue.find("models", "acme/found-net")


@pytest.mark.parametrize("bad", ["aliases=('Not Kebab',)", "aliases='word'", "migrate='nowhere'"])
def test_aliases_and_migrate_are_checked(bad: str, install: Callable[..., Path]) -> None:
    source = "from segkit.api import ModelSpec, hookimpl\n@hookimpl\ndef segkit_models():\n    return [ModelSpec("
    install("acme", source + f"'new-net', 'x', target='a:b', {bad})]")
    assert bad.partition("=")[0] in plugins.load("acme").plugins[0].reasons[0]


def test_a_migrate_that_fails_is_named_with_both_versions(run: Path, install: Callable[..., Path]) -> None:
    install("acme", MIGRATED.replace('from_version == "1.0"', "False"), version="2.0")
    with pytest.raises(SegkitError, match=r"acme/old-net, written with version 1.0, cannot be read by acme 2.0: Assert"):
        load_model(run / "model.safetensors")


def test_weights_of_the_distribution_segkit_are_ours(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = read_header(trained / "model.safetensors").to_dict()
    document["model"]["distribution"] = "segkit"
    file = tmp_path / "model.safetensors"
    save_file(load_file(trained / "model.safetensors"), file, metadata={"segkit": json.dumps(document)})
    header, _, _ = load_model(file)
    assert header.distribution == "segkit-med" and caplog.text == ""
    document["model"]["name"] = "unets/unknown"
    save_file(load_file(trained / "model.safetensors"), file, metadata={"segkit": json.dumps(document)})
    with pytest.raises(SegkitError) as error:
        load_model(file)
    assert error.value.hint == "pip install segkit-med"


def test_an_installation_under_the_former_name_is_not_taken_for_a_second_plugin(install: Callable[..., Path]) -> None:
    site = install("segkit", "raise RuntimeError('the old one')", name="unets", version="0.1.0")
    (site / "segkit-0.1.0.dist-info" / "entry_points.txt").write_text("[segkit]\nunets = segkit_unets.plugin\n")
    plugins.load.cache_clear()
    (unets,) = plugins.load("unets").plugins
    assert unets.builtin and unets.state == "ok"


def test_no_hint_sends_anybody_to_a_strangers_package() -> None:
    import re

    root = Path(__file__).parents[2]
    texts = [*root.glob("segkit/**/*.py"), *root.glob("plugins/**/*.py"), *root.glob("*.md"), *root.glob("examples/**/*.*")]
    wrong = re.compile(r"pip install[^\n`]*\bsegkit(?![\w-])|segkit\[")
    assert [path for path in texts if path.is_file() and wrong.search(path.read_text(errors="ignore"))] == []
