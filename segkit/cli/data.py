"""`segkit data ...`: working on datasets themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segkit import plugins
from segkit.cli import terminal
from segkit.cli.completion import keys, names
from segkit.cli.output import print_json, print_table
from segkit.cli.proposals import ProposingCommand, ProposingGroup
from segkit.errors import SegkitError, UsageError
from segkit.words import counted

if TYPE_CHECKING:
    from segkit.data.cache_entries import Entry

logger = logging.getLogger(__name__)

app = typer.Typer(help="Check, explore and synthesize datasets; manage the cache.", no_args_is_help=True, cls=ProposingGroup)

Name = Annotated[str, typer.Argument(help="A dataset; 'segkit datasets' lists them.", autocompletion=names("datasets"))]
Root = Annotated[str | None, typer.Option("--data-dir", help="Folder that holds the data.")]
Option = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="dataset.KEY=VALUE", help="An option of the dataset.", autocompletion=keys("dataset")),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command(cls=ProposingCommand)
def check(name: Name, data_dir: Root = None, option: Option = None, json: Json = False) -> None:
    """Read every case: counts, sizes, class balance, and what would make a training fail or lie (then exit 1)."""
    from segkit.config.complete import default_intensity
    from segkit.data.check import check_dataset, summarize_check

    with terminal.results_only():
        choice, dataset = _open(name, data_dir, option)
        report = check_dataset(dataset, default_intensity(choice.spec))
    document = {"dataset": name, **summarize_check(dataset, report)}
    if json:
        print_json(document)
    else:
        _print(document)
    if report.problems:
        raise typer.Exit(1)


@app.command(cls=ProposingCommand)
def explore(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and index.html.")],
    name: Annotated[str | None, typer.Argument(help="A dataset, or a run: its data by its own split.")] = None,
    data_dir: Root = None,
    option: Option = None,
    run: Annotated[Path | None, typer.Option(help="A run, whose split and intensities are shown.")] = None,
) -> None:
    """Draw intensities, targets, class balance and examples, by subset: PNGs and one HTML page."""
    from segkit.runs.folder import find_run

    place = run or (Path(name) if name and Path(name).is_dir() else None)
    folder = find_run(place) if place else None
    if run is not None and folder is None:
        raise UsageError(f"--run {run} is not a run folder.", "It holds run.toml and split.json.")
    if folder is None and name is None:
        raise UsageError("What is to be explored?", "segkit data explore NAME --out DIR, or --run RUN.")

    from segkit.data.value_range import usual_intensity
    from segkit.files import read_toml
    from segkit.options import build
    from segkit.reports.explore import explore_dataset
    from segkit.runs.folder import read_split
    from segkit.settings import Preprocess

    with terminal.results_only():
        if folder is None:
            choice, dataset = _open(name, data_dir, option)
            settings, split = build(Preprocess, {"intensity": usual_intensity(dataset, choice.spec)}, "preprocess"), None
        else:
            recorded = read_toml(folder.config)
            own = recorded["dataset"]["name"]
            if run and name not in (None, own, own.rpartition("/")[2]):
                raise UsageError(f"{run} was trained on {own}, not on {name}.", "Leave out the name.")
            dataset = _open(None, data_dir, option, recorded)[1]
            settings, split = build(Preprocess, recorded["preprocess"], "preprocess"), read_split(folder)
        page = explore_dataset(dataset, out, folder.path.name if folder else str(name), settings, split)
    logger.info(f"written: {page}")


@app.command(cls=ProposingCommand)
def synth(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.")],
    cases: Annotated[int, typer.Option(min=1, help="How many cases.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Write synthetic cases in a dataset's own on-disk layout: for tests, tutorials, and while waiting for access."""
    found = plugins.load().find("datasets", name)
    target = found.spec.synthesize
    if target is None:
        raise UsageError(f"The dataset {name!r} cannot generate cases.", "'segkit data synth phantom' can.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} exists already.", "Choose another folder.")
    try:
        found.spec.load(target)(out, cases, seed)
    except (SegkitError, OSError):
        raise
    except Exception as error:
        raise SegkitError(f"{target} of {found.full_name} failed: {type(error).__name__}: {error}") from error
    logger.info(f"written: {counted(cases, 'synthetic case')} in {out}")


@app.command(cls=ProposingCommand)
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything that no training uses now.")] = False,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Let it hold this much, such as 20GB, now and in all trainings to come: what was used least recently goes "
            "first; none: no limit.",
        ),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Remove what was not used for so many days.")
    ] = None,
    json: Json = False,
) -> None:
    """Show where preprocessed cases are kept, how large that is and when they were used; remove some or all of them."""
    from segkit.data.cache_entries import entries, parse_size, prune, read_limit, write_limit
    from segkit.files import SET_CACHE, cache_folder

    folder, most = cache_folder(), parse_size(limit) if limit is not None else None
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"The cache {folder} is a file, not a folder.", SET_CACHE)
    if limit is not None:
        write_limit(folder, most)
    removed, kept = prune(folder, 0 if clear else most, older_than)
    left, allowed = entries(folder), read_limit(folder)
    if json:
        print_json(
            {
                "folder": str(folder),
                "cases": len(left),
                "files": sum(len(entry.files) for entry in left),
                "bytes": sum(entry.size for entry in left),
                "limit": allowed,
                "first_use": left[0].used if left else None,
                "last_use": left[-1].used if left else None,
                "removed": {"cases": len(removed), "bytes": sum(entry.size for entry in removed)},
                "in_use": len(kept),
                "cleared": clear,
            }
        )
        return
    limited = f"; limit {allowed / 1e6:,.1f} MB" if allowed is not None else ""
    typer.echo(f"{folder}: {_amount(left)}{limited}")
    if left:
        typer.echo(f"Least recently used {_ago(left[0].used)}, most recently {_ago(left[-1].used)}.")
    if removed:
        typer.echo(f"{_amount(removed)}: now removed")
    if kept:
        typer.echo(f"{_amount(kept)}: in use by a running training, and therefore still there")


def _amount(found: Sequence[Entry]) -> str:
    cases = "1 case" if len(found) == 1 else f"{len(found)} cases"
    return f"{cases}, {sum(entry.size for entry in found) / 1e6:,.1f} MB"


def _ago(moment: float) -> str:
    days = (time.time() - moment) / 86400
    return "today" if days < 1 else "1 day ago" if days < 2 else f"{int(days)} days ago"


def _open(
    name: str | None, data_dir: str | None, option: list[str] | None, recorded: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """The chosen spec and the opened dataset; `recorded` are the settings of a run, which what is typed changes."""
    from segkit.config.migrate import migrate_settings
    from segkit.config.resolve import gather, resolve_data
    from segkit.data.reading import open_dataset

    catalogue = plugins.load()
    base = migrate_settings({"dataset": recorded["dataset"], "plugins": recorded["plugins"]}, catalogue) if recorded else {}
    flags = {"dataset": name, "data_dir": data_dir}
    values = gather({"dataset": base.get("dataset", {})}, flags, option or [], ("dataset",))
    choice, root, _ = resolve_data(values, catalogue)
    return choice, open_dataset(choice, root)


def _print(document: dict[str, Any]) -> None:
    rows = []
    for name, facts in document["subsets"].items():
        balance = ", ".join(f"{label} {100 * (share or 0):.2f} %" for label, share in facts["class_balance"].items())
        sizes = list(facts["sizes"])
        shown = ", ".join(sizes[:3]) + (", ..." if len(sizes) > 3 else "")
        spacing = ", ".join(list(facts["spacings"])[:2]) or "-"
        counts = [str(facts[key]) for key in ("cases", "groups", "without_target")]
        rows.append([name, *counts, shown or "-", spacing, balance])
    columns = ("subset", "cases", "groups", "no target", "size", "spacing (mm)", "share of pixels")
    print_table(
        columns, rows, title=f"{document['dataset']}: {counted(document['cases'], 'case')}, {document['unusable']} unusable"
    )
    for kind, words in (("warnings", "Note"), ("problems", "Problem")):
        for text in document[kind]:
            typer.echo(f"{words}: {text}")
    if not document["problems"]:
        typer.echo("No problem was found." + (" Mind the notes." if document["warnings"] else ""))
