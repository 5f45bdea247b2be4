"""`segkit compare`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segkit.cli import completion

if TYPE_CHECKING:
    from segkit.experiments.compare import Comparison, Row

RESULTS = "Runs, folders of seeds, folders that segkit evaluate wrote, or a table with columns case_id, alg_A, alg_B, ..."


def compare(
    results: Annotated[list[Path], typer.Argument(help=RESULTS)],
    metric: Annotated[str, typer.Option(help="What is compared; a class of it: dice/polyp.")] = "dice",
    subset: Annotated[str, typer.Option(help="Of runs: test, val or train.", autocompletion=completion.SUBSETS)] = "test",
    test: Annotated[
        str,
        typer.Option(help="permutation or wilcoxon.", autocompletion=completion.words("permutation", "wilcoxon")),
    ] = "permutation",
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Differences below this do not matter: test whether two results are equivalent."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare runs of different splits.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables for a README.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="A table for a paper.")] = False,
    table: Annotated[
        bool, typer.Option("--csv", help="case_id, alg_A, alg_B, ...: every shared case, as other tools read it.")
    ] = False,
) -> None:
    """Compare results on the cases that all share: means, intervals, paired differences, and what may be said about them.

    segkit compare runs/polyp-unet-1 runs/polyp-resunet-1
    """
    from segkit.cli.output import print_json
    from segkit.errors import UsageError, did_you_mean
    from segkit.experiments.compare import TESTS, compare_contenders, with_other_definitions
    from segkit.experiments.contenders import read_contenders

    if test not in TESTS:
        raise UsageError(f"--test {test} is not known.", did_you_mean(test, TESTS))
    chosen = [
        word
        for word, wanted in zip(("json", "markdown", "latex", "csv"), (json, markdown, latex, table), strict=True)
        if wanted
    ]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other.", "Leave out one of them.")
    found = compare_contenders(read_contenders(results, metric, subset), metric, test, margin, anyway)
    found = with_other_definitions(found, results, subset)
    if json:
        print_json(found.to_dict())
    elif table:
        typer.echo(_csv(found), nl=False)
    elif markdown:
        typer.echo(_markdown(found))
    elif latex:
        typer.echo(_latex(found))
    else:
        _print(found)


def _columns(found: Comparison) -> dict[str, Callable[[Row], str]]:
    """Headings, and what stands below them."""
    columns: dict[str, Callable[[Row], str]] = {
        "result": lambda row: row.name,
        found.metric: lambda row: f"{row.mean:.4f}",
        "std of seeds": lambda row: "-" if row.std is None else f"{row.std:.4f}",
        "95 % interval": lambda row: "-" if row.interval is None else f"{row.interval.low:.4f} to {row.interval.high:.4f}",
        "seeds": lambda row: str(row.seeds),
    }
    known = dict.fromkeys(fact for row in found.rows for fact in row.facts)
    for fact in known:
        columns[fact.replace("_", " ")] = lambda row, fact=fact: f"{row.facts[fact]:,.4g}" if fact in row.facts else "-"  # type: ignore[misc]
    return columns


def _pair_rows(found: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = []
    for pair in found.pairs:
        own = pair.paired
        span = "-" if own.low is None else f"{own.low:+.4f} to {own.high:+.4f}"
        rows.append(
            [
                f"{pair.first} - {pair.second}",
                f"{own.mean:+.4f}",
                span,
                f"{pair.p:.3g}",
                "-" if own.effect is None else f"{own.effect:.2f}",
                "-" if own.false_claim is None else f"{own.false_claim:.1%}",
                pair.verdict,
            ]
        )
    return ["pair", "difference", "95 % interval", "p (Holm)", "effect", "false claim", "what may be said"], rows


def _print(found: Comparison) -> None:
    from segkit.cli.output import print_table
    from segkit.words import counted

    columns = _columns(found)
    shared = f"{counted(len(found.cases), 'case')} of {counted(found.groups, 'group')} that all share"
    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in found.rows], title=shared, wrap=False)
    typer.echo()
    print_table(*_pair_rows(found))
    for note in found.notes:
        typer.echo(note)
    typer.echo("false claim: the probability that the better mean is not the better method (arXiv 2505.04720).")


def _markdown(found: Comparison) -> str:
    columns = _columns(found)
    tables = [(list(columns), [[cell(row) for cell in columns.values()] for row in found.rows]), _pair_rows(found)]
    lines = []
    for headings, rows in tables:
        marked = [headings, ["---"] * len(headings), *rows]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in marked] + [""]
    return "\n".join([*lines, *(f"- {note}" for note in found.notes)])


def _latex(found: Comparison) -> str:
    columns = _columns(found)
    rows = [[_escaped(cell(row)) for cell in columns.values()] for row in found.rows]
    body = [f"{' & '.join(row)} \\\\" for row in ([_escaped(name) for name in columns], *rows)]
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        "\\toprule",
        body[0],
        "\\midrule",
        *body[1:],
        "\\bottomrule",
    ]
    notes = [f"% {pair.verdict} (p = {pair.p:.3g})" for pair in found.pairs] + [f"% {note}" for note in found.notes]
    return "\n".join([*lines, "\\end{tabular}", *notes])


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "&%$#_{}" else sign for sign in text)


def _csv(found: Comparison) -> str:
    from segkit.experiments.contenders import CLAIMS

    lines = io.StringIO()
    writer: Any = csv.writer(lines)
    writer.writerow(["case_id", *(f"{CLAIMS}{row.name}" for row in found.rows)])
    values = zip(*(row.values for row in found.rows), strict=True)
    writer.writerows([case, *map(repr, own)] for case, own in zip(found.cases, values, strict=True))
    return lines.getvalue()
