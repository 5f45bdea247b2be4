"""The command line as a whole: its commands, the options that work everywhere, and how errors end."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from segkit import __version__, distributed
from segkit.cli import (
    benchmark,
    catalogue,
    compare,
    data,
    evaluate,
    export,
    info,
    plan,
    plugins,
    predict,
    settings,
    terminal,
    train,
)
from segkit.cli.proposals import ProposingCommand, ProposingGroup
from segkit.errors import SegkitError
from segkit.plugins import BUILTIN, installed_plugins

logger = logging.getLogger(__name__)

SHARED = ("train", "evaluate", "predict")  # commands that several processes do together
EVERYWHERE = ("--debug", "-q", "--quiet")  # typed before or after the command

app = typer.Typer(
    name="segkit",
    cls=ProposingGroup,
    help="Medical image segmentation: train, evaluate, predict, export. Try: segkit train --dataset phantom --model resunet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", cls=ProposingCommand)(train.train)
app.command("plan", cls=ProposingCommand)(plan.plan)
app.command("evaluate", cls=ProposingCommand)(evaluate.evaluate)
app.command("compare", cls=ProposingCommand)(compare.compare)
app.command("predict", cls=ProposingCommand)(predict.predict)
app.command("export", cls=ProposingCommand)(export.export)
app.command("benchmark", cls=ProposingCommand)(benchmark.benchmark)
app.command("models", cls=ProposingCommand)(catalogue.models)
app.command("datasets", cls=ProposingCommand)(catalogue.datasets)
app.command("losses", cls=ProposingCommand)(catalogue.losses)
app.command("metrics", cls=ProposingCommand)(catalogue.metrics)
app.command("recipes", cls=ProposingCommand)(catalogue.recipes)
app.command("settings", cls=ProposingCommand)(settings.settings)
app.command("info", cls=ProposingCommand)(info.info)
app.command("plugins", cls=ProposingCommand)(plugins.plugins)
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segkit {__version__}")
        for line in plugin_versions():
            typer.echo(line)
        raise typer.Exit


def plugin_versions() -> list[str]:
    """A line for each distribution that brings plugins of its own: what a bug report needs. None of them is imported."""
    own = [point.dist for point in installed_plugins() if point.dist is not None]
    found = {(dist.name, dist.version) for dist in own if dist.name != BUILTIN}
    return [f"{name} {version}" for name, version in sorted(found)]


@app.callback()
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results only: no messages, no progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    distributed.share_work(context.invoked_subcommand in SHARED)
    distributed.check_environment()
    terminal.set_verbosity(quiet or not distributed.is_main(), debug)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code (0 done, 1 failed, 2 wrong usage, 3 done in part, 130 interrupted)."""
    with terminal.encodable(), terminal.attached(), _library_warnings("--debug" in arguments):
        try:
            return _run(arguments)
        finally:
            distributed.destroy_process_group()
            distributed.share_work(True)  # as the Python API does


@functools.cache
def _command() -> Callable[..., Any]:
    """All commands, built once: to read their signatures takes longer than most of them."""
    return typer.main.get_command(app)


def _run(arguments: Sequence[str]) -> int:
    try:
        words = _hoist(arguments)
        _command()(args=words, prog_name="segkit", standalone_mode=True, obj=(run, words))
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except KeyboardInterrupt:
        logger.warning("interrupted.")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nobody is left to tell
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _report(error)
    return 0


@contextmanager
def _library_warnings(shown: bool) -> Iterator[None]:
    """Hide the warnings of libraries, unless --debug was typed."""
    loggers = [logging.getLogger(name) for name in ("py.warnings", "matplotlib")]  # its cache folder is nobody's concern
    handler, before = logging.NullHandler(), [logger.propagate for logger in loggers]
    logging.captureWarnings(True)
    for logger in () if shown else loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
        logging.captureWarnings(False)


def _hoist(arguments: Sequence[str]) -> list[str]:
    """Move the options that work everywhere before the command, where the parser wants them."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    hoisted = [argument for argument in arguments[:end] if argument in EVERYWHERE]
    rest = [argument for argument in arguments[:end] if argument not in EVERYWHERE]
    return [*hoisted, *rest, *arguments[end:]]


def _report(error: Exception) -> int:
    if distributed.is_reported_elsewhere(error):
        return error.exit_code if isinstance(error, SegkitError) else 1
    error = distributed.lost_peer(error) or error
    if not distributed.is_main():
        terminal.say(f"In process {distributed.rank()}:", "bold red")
    shown = _in_words(error)
    terminal.say(f"Error: {shown.message}", "bold red")
    if shown.hint:
        terminal.say(shown.hint)
    return shown.exit_code


def _in_words(error: Exception) -> SegkitError:
    """What a user is told about an error, whatever raised it."""
    if isinstance(error, SegkitError):
        return error
    if isinstance(error, OSError):
        return SegkitError(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    if isinstance(error, MemoryError):
        return SegkitError(
            "the memory of this machine is too small for this.",
            "--batch-size 1 needs least; of a training also a smaller -o preprocess.size=N.",
        )
    words = f"segkit itself failed: {type(error).__name__}: {error}"
    return SegkitError(words, "Add --debug for the traceback, and please report it.")
