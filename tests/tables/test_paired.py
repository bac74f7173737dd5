"""Rows compared over equal seeds and queries: against scipy, and in experiments whose truth is known."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rga.errors import ConfigError
from rga.runs.queries import pack
from rga.tables import Table, fill, load
from rga.tables.filled import Cell, FilledTable
from rga.tables.paired import _clearly_better, compare, half_width
from rga.tables.render import render
from rga.tables.spec import Column
from tables.conftest import Recorder


@pytest.fixture
def table() -> Table:
    return load("7", Path(__file__).parent)


def compared(table: Table, conf: Path, row: str = "Baseline") -> FilledTable:
    filled = fill(table, [], conf)
    return replace(filled, against=compare(filled, row))


@pytest.mark.parametrize(("seeds", "noise"), [(3, (1, 10, 20)), (3, (10, 5, 20)), (5, (3, 10, 20))])
def test_an_interval_holds_the_truth_as_often_as_it_says(seeds: int, noise: tuple[float, float, float]) -> None:
    """Seeds, queries and both together deviate; the truth is 0. (A bootstrap holds it in 79 % of
    the experiments of the last case.)"""
    random = np.random.default_rng(0)
    of_seed, of_query, rest = noise
    held, experiments, queries = 0, 3000, 150
    for _ in range(experiments):
        differences = of_seed * random.standard_normal((seeds, 1)) + of_query * random.standard_normal((1, queries))
        differences = differences + rest * random.standard_normal((seeds, queries))
        half = half_width(differences)
        assert half is not None
        held += abs(differences.mean()) <= half
    assert 0.93 < held / experiments < 0.985


def test_over_seeds_alone_it_is_the_paired_t_interval(record: Recorder, table: Table, small_conf: Path) -> None:
    mine, theirs = [0.75, 0.5, 0.875], [0.5, 0.5, 0.5625]
    for seed in range(3):
        record("attention=rga_s", f"seed={seed}", rank1=mine[seed], map=mine[seed])
        record("attention=none", f"seed={seed}", rank1=theirs[seed], map=theirs[seed])
    record("attention=none", "seed=7", rank1=0.99, map=0.99)  # which the other row does not have
    filled = compared(table, small_conf)
    assert filled.against is not None
    differences = filled.against.differences
    found = differences["RGA-S", "Market1501", "rank-1"]
    expected = stats.ttest_rel(100 * np.array(mine), 100 * np.array(theirs)).confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(mine) * 100 - np.mean(theirs) * 100)
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.seeds, found.queries) == ((0, 1, 2), None)
    assert {row for row, _, _ in differences} == {"RGA-S"}, "the row itself and those without runs have none"


def with_queries(record: Recorder, override: str, hits: list[int], seed: int = 0) -> None:
    run = record(override, f"seed={seed}")
    rank1 = float(np.mean(hits))
    queries = pack(np.array(hits, dtype=float), 2 - np.array(hits))
    run.write_result({"metrics": {"rank1": rank1, "map": rank1}, "queries": queries})


def test_seeds_are_compared_query_by_query(record: Recorder, table: Table, small_conf: Path) -> None:
    mine = [[1, 1, 1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 0, 1]]
    theirs = [[1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 0, 1]]
    for seed in range(3):
        with_queries(record, "attention=rga_s", mine[seed], seed)
        with_queries(record, "attention=none", theirs[seed], seed)
    filled = compared(table, small_conf)
    printed = render(filled, "text")
    differences = 100 * (np.array(mine) - np.array(theirs))
    mean, half = differences.mean(), half_width(differences)
    assert half is not None
    assert f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}] (3 x 8)" in printed
    assert "vs Baseline: mean difference over equal seeds" in printed
    (rga_s,) = [row for row in json.loads(render(filled, "json"))["rows"] if row["name"] == "RGA-S"]
    cell = next(cell for cell in rga_s["cells"] if cell["n"])
    expected = {"difference": mean, "low": mean - half, "high": mean + half, "seeds": 3, "queries": 8}
    assert cell["against"] == {"row": "Baseline"} | {key: round(value, 6) for key, value in expected.items()}
    lines = list(csv.DictReader(io.StringIO(render(filled, "csv"))))
    assert {line["difference"] for line in lines if line["row"] == "RGA-S"} == {"", str(round(mean, 6))}
    assert {line["against"] for line in lines if line["row"] != "RGA-S"} == {""}


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(seeds: int, record: Recorder, table: Table, small_conf: Path) -> None:
    """The queries of one seed say nothing of another one, and Student's t of two seeds is 12.7 standard errors."""
    for seed in range(seeds):
        with_queries(record, "attention=rga_s", [1, 1, 1, 0], seed)
        with_queries(record, "attention=none", [1, 0, 0, 0], seed)
    filled = compared(table, small_conf)
    assert filled.against is not None
    (found, _) = filled.against.differences.values()
    assert (found.value, found.low, found.high) == (50.0, None, None)
    assert not filled.against.better
    printed = render(filled, "text")
    assert f"+50.0 ({seeds}" in printed
    assert "fewer than three seeds in common have no interval" in printed


def test_a_row_without_common_seeds_is_said_to_be_one(record: Recorder, table: Table, small_conf: Path) -> None:
    record("attention=rga_s", "seed=0")
    record("attention=none", "seed=1")
    assert "vs Baseline: nothing to compare, as no other row has a run of a seed that Baseline has" in render(
        compared(table, small_conf), "text"
    )


def test_other_queries_are_not_paired(record: Recorder, table: Table, small_conf: Path) -> None:
    """Where the runs do not keep the same queries, the interval is that of the seeds."""
    for seed in range(3):
        with_queries(record, "attention=rga_s", [1, 1, 1, 0], seed)
        with_queries(record, "attention=none", [1, 0], seed)
    filled = compared(table, small_conf)
    assert filled.against is not None
    (found, _) = filled.against.differences.values()
    assert (found.value, found.low, found.queries) == (25.0, 25.0, None)
    assert "+25.0 [+25.0, +25.0] (3)" in render(filled, "md")


def test_a_row_that_is_not_there_is_named_before_anything_runs(table: Table, small_conf: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"table 7 has no runs of a row 'Basline' .*did you mean 'Baseline'\?\); it has 'Baseline', "
    ):
        compared(table, small_conf, "Basline")


def test_bold_is_what_is_better_by_two_pooled_standard_deviations(
    record: Recorder, table: Table, small_conf: Path
) -> None:
    """Baseline 50, 52 and 54: above 52 + 2 * 2 = 56 a row is bold, if its seeds agree on the difference."""
    for seed, off in enumerate((-0.02, 0, 0.02)):
        record("attention=none", f"seed={seed}", rank1=0.52 + off, map=0.5)
        record("attention=rga_s", f"seed={seed}", rank1=0.555 + off, map=0.5)
        record("attention=rga_c", f"seed={seed}", rank1=0.57 + off, map=0.5)
    filled = compared(table, small_conf)
    assert filled.against is not None
    assert filled.against.better == {("RGA-C", "Market1501", "rank-1")}
    assert "| **57.0 ± 2.0 (3)** |" in render(filled, "md")
    assert r"& \textbf{57.0 $\pm$ 2.0 (3)} &" in render(filled, "latex")
    assert "better than Baseline by more than two pooled standard deviations" in render(filled, "text")


def test_seeds_that_disagree_are_not_bold(record: Recorder, table: Table, small_conf: Path) -> None:
    """Better by 9, 5 and 1 points: more than two standard deviations, in an interval of -4.9 to +14.9."""
    for seed, off in enumerate((-0.02, 0, 0.02)):
        record("attention=none", f"seed={seed}", rank1=0.52 + off, map=0.5)
        record("attention=rga_s", f"seed={seed}", rank1=0.57 - off, map=0.5)
    filled = compared(table, small_conf)
    assert filled.against is not None
    assert not filled.against.better
    assert "+5.0 [-4.9, +14.9] (3)" in render(filled, "md")


def test_of_errors_the_lower_is_better() -> None:
    base, better, worse = (cell_of("error", values) for values in ([7.0, 7.2], [6.0, 6.2], [8.0, 8.2]))
    assert _clearly_better(better, base)
    assert not _clearly_better(worse, base)
    assert _clearly_better(cell_of("map", [8.0, 8.2]), cell_of("map", [7.0, 7.2]))


def cell_of(metric: str, values: list[float]) -> Cell:
    cell = Cell(Column("CIFAR-10", "cifar10", {"it": metric}), "it", None, None)
    cell.__dict__["values"] = list(enumerate(values))
    return cell


def test_the_reports_baseline_is_a_row(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "table7.yaml").read_text()
    (tmp_path / "table7.yaml").write_text(text.replace("columns:", "baseline: Basline\ncolumns:", 1))
    with pytest.raises(ConfigError, match="baseline is 'Basline', but no row with overrides is called so"):
        load("7", tmp_path)
