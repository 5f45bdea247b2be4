"""`segkit compare`: what is compared, what is refused, and what may be said."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Command

METRICS = {"dice": {"higher_is_better": True, "unit": ""}, "hd95": {"higher_is_better": False, "unit": "mm"}}


def evaluation(folder: Path, values: Mapping[str, Sequence[float]], groups: Sequence[str] | None = None) -> Path:
    """What `segkit evaluate` leaves: two classes, the values of each case the same for both unless a column is given."""
    folder.mkdir(parents=True)
    names = list(values)
    number = len(values[names[0]])
    with (folder / "cases.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["case", "group", *names, "error"])
        for place in range(number):
            group = groups[place] if groups else f"g{place}"
            writer.writerow([f"c{place}", group, *(values[name][place] for name in names), ""])
    document = {"kind": "segmentation", "foreground": ["liver", "spleen"], "metrics": METRICS}
    (folder / "metrics.json").write_text(json.dumps(document))
    return folder


def run(folder: Path, dice: Sequence[float], split: Mapping[str, Sequence[str]] | None = None) -> Path:
    evaluation(folder / "test", {"dice/background": [0.1] * len(dice), "dice/liver": dice, "dice/spleen": dice})
    (folder / "split.json").write_text(
        json.dumps(split or {"train": ["x"], "test": [f"c{place}" for place in range(len(dice))]})
    )
    (folder / "manifest.json").write_text(json.dumps({"parameters": 1000}))
    (folder / "history.csv").write_text("epoch,train_seconds,val_seconds\n1,2.5,0.5\n2,3.5,\n")
    return folder


def compared(segkit: Command, *words: Any) -> dict[str, Any]:
    done = segkit("compare", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)  # type: ignore[no-any-return]


def test_two_results_side_by_side(segkit: Command, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    base = draw.uniform(0.6, 0.8, 20)
    runs = run(tmp_path / "a", base), run(tmp_path / "b", base + draw.normal(0.05, 0.02, 20))
    found = compared(segkit, *runs)
    assert [row["name"] for row in found["rows"]] == ["a", "b"]
    assert found["rows"][0]["facts"] == {"parameters": 1000, "training_seconds": 6.5}
    assert found["rows"][0]["mean"] == pytest.approx(base.mean())  # over the foreground: the background has .1
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == ("b", "a") and pair["paired"]["mean"] > 0
    assert pair["verdict"] == "b is significantly better than a" and pair["paired"]["false_claim"] < 0.001
    assert "a single training" in found["notes"][0] and "20 groups: below 50" in found["notes"][1]


def test_identical_runs_do_not_differ(segkit: Command, tmp_path: Path) -> None:
    values = [0.5, 0.6, 0.7, 0.8, 0.9, 0.7, 0.6]
    found = compared(segkit, run(tmp_path / "a", values), run(tmp_path / "b", values))
    (pair,) = found["pairs"]
    assert pair["verdict"] == "a and b do not differ in any group" and pair["p"] == 1


def test_few_groups_are_never_called_significant(segkit: Command, tmp_path: Path) -> None:
    """Five groups have a smallest p of 2 / 2^5 = .0625."""
    runs = run(tmp_path / "a", [0.5] * 5), run(tmp_path / "b", [0.9, 0.91, 0.92, 0.9, 0.93])
    done = segkit("compare", *runs)
    assert done.code == 0 and "significant" not in done.out
    (pair,) = compared(segkit, *runs)["pairs"]
    assert pair["verdict"] == "5 groups cannot tell: p is at least 0.062; 6 groups could, if all of them agree"


def test_a_small_difference_is_not_shown_and_says_how_many_groups_would_show_it(segkit: Command, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    base = draw.uniform(0.6, 0.8, 12)
    runs = run(tmp_path / "a", base), run(tmp_path / "b", base + np.tile([0.05, -0.04], 6))
    (pair,) = compared(segkit, *runs)["pairs"]
    std = statistics.stdev([0.05, -0.04] * 6)
    needed = int(np.ceil(((1.959964 + 0.841621) / (0.005 / std)) ** 2))
    assert pair["verdict"] == f"that b is better than a is not shown; about {needed} groups would show such a difference"
    (pair,) = compared(segkit, *runs, "--margin", 0.05)["pairs"]
    assert pair["verdict"] == "b and a are equivalent within 0.05"


def test_a_distance_is_better_when_it_is_smaller(segkit: Command, tmp_path: Path) -> None:
    values = {"near": [1.0] * 8, "far": [2.0 + place / 10 for place in range(8)]}
    folders = [evaluation(tmp_path / name, {"hd95/liver": own, "hd95/spleen": own}) for name, own in values.items()]
    found = compared(segkit, *folders, "--metric", "hd95")
    assert not found["higher_is_better"] and found["pairs"][0]["first"] == "near"


def test_seeds_have_a_mean_and_a_spread(segkit: Command, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    for seed, shift in enumerate((0.0, 0.02, 0.04)):
        run(folder / f"seed-{seed}", [value + shift for value in (0.5, 0.6, 0.7)])
    (folder / "seeds.json").write_text(json.dumps({"seeds": [0, 1, 2], "settings": {}}))
    found = compared(segkit, folder, run(tmp_path / "other", [0.5, 0.6, 0.7]))
    row = found["rows"][0]
    assert row["seeds"] == 3 and row["mean"] == pytest.approx(0.62) and row["std"] == pytest.approx(0.02)


def test_only_shared_cases_are_compared_and_the_rest_is_counted(segkit: Command, tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", {"dice/liver": [0.5, 0.6, 0.7, 0.8]})
    second = evaluation(tmp_path / "b", {"dice/liver": [0.5, float("nan"), 0.7]})
    found = compared(segkit, first, second)
    assert found["cases"] == ["c0", "c2"] and found["left_out"] == ["c1", "c3"]
    assert any("2 cases left out" in note for note in found["notes"])


def test_runs_of_different_splits_are_refused_unless_anyway(segkit: Command, tmp_path: Path) -> None:
    runs = run(tmp_path / "a", [0.5, 0.6]), run(tmp_path / "b", [0.5, 0.6], {"train": ["c0"], "test": ["c1"]})
    done = segkit("compare", *runs)
    assert done.code == 2 and "different splits" in done.err and "--anyway" in done.err
    assert segkit("compare", *runs, "--anyway").code == 0


def test_the_table_of_claims_goes_out_and_comes_in_again(segkit: Command, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    runs = [run(tmp_path / name, draw.random(9)) for name in ("a", "b")]
    text = segkit("compare", *runs, "--csv").out
    assert text.splitlines()[0] == "case_id,alg_a,alg_b" and len(text.splitlines()) == 10
    (tmp_path / "claims.csv").write_text(text)
    direct, again = compared(segkit, *runs), compared(segkit, tmp_path / "claims.csv")
    assert again["rows"][0]["mean"] == direct["rows"][0]["mean"]
    assert again["pairs"][0]["paired"] == direct["pairs"][0]["paired"]


def test_tables_for_papers_and_readmes(segkit: Command, tmp_path: Path) -> None:
    runs = run(tmp_path / "my_net", [0.5, 0.6, 0.7]), run(tmp_path / "other", [0.6, 0.7, 0.9])
    latex, markdown = segkit("compare", *runs, "--latex").out, segkit("compare", *runs, "--markdown").out
    assert r"my\_net & 0.6000" in latex and latex.count(r"\\") == 3 and r"\bottomrule" in latex
    assert "| my_net | 0.6000 |" in markdown and markdown.count("\n| --- |") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a",), "one result alone"),
        (("a", "nowhere"), "is not there"),
        (("a", "empty"), "holds no figures"),
        (("a", "b", "--metric", "dcie"), "no metric 'dcie'"),
        (("a", "b", "--json", "--csv"), "exclude each other"),
        (("a", "b", "--test", "chi"), "not known"),
        (("a", "a"), "Two results are called a"),
        (("a", "odd.csv"), "is no table of results"),
    ],
)
def test_what_cannot_be_compared_is_said(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        run(tmp_path / name, [0.5, 0.6])
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.csv").write_text("x,y\n1,2\n")
    done = segkit("compare", *words)
    assert done.code in (1, 2) and told in done.err


def test_groups_of_many_cases_that_turn_the_order_of_the_means_are_pointed_out(segkit: Command, tmp_path: Path) -> None:
    """Nine cases of one patient, where a is better by .02, and one of another, where b is by .1: .008 and -.04."""
    groups = ["one"] * 9 + ["two"]
    first = evaluation(tmp_path / "a", {"dice/liver": [0.72] * 9 + [0.5]}, groups)
    second = evaluation(tmp_path / "b", {"dice/liver": [0.70] * 9 + [0.6]}, groups)
    found = compared(segkit, first, second)
    assert found["rows"][0]["mean"] > found["rows"][1]["mean"] and found["pairs"][0]["first"] == "b"
    assert found["notes"][0] == "a has the better mean over cases, b that over groups, by which pairs are compared."


@pytest.mark.parametrize("file", ["split.json", "manifest.json"])
def test_a_damaged_run_is_named_and_its_split_is_not_taken_for_unknown(segkit: Command, tmp_path: Path, file: str) -> None:
    runs = run(tmp_path / "a", [0.5, 0.6]), run(tmp_path / "b", [0.5, 0.6])
    (runs[1] / file).write_text("{")
    done = segkit("compare", *runs)
    assert done.code == 1 and f"The run {runs[1]} cannot be read" in done.err
