"""The printed table in each format, against files that are read by people: golden/.

After a wanted change: RGA_WRITE_GOLDEN=1 pytest tests/tables/test_render.py, and read the difference.
"""

import csv
import io
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from rga.runs import RESULT, Run
from rga.tables import FilledTable, fill, load
from rga.tables.filling import canonical
from rga.tables.recorded import record_of, write_records
from rga.tables.render import Format, render

HERE = Path(__file__).parent
TABLE = load("7", HERE)
ENDINGS = {"text": "txt", "md": "md", "latex": "tex", "csv": "csv", "json": "json"}
HOLDOUT = ["scale=small"]
CASES = {"paper": [], "demo": ["scale=demo"], "holdout": HOLDOUT, "recorded": HOLDOUT}


@pytest.fixture
def filled(record: Callable[..., Run], small_conf: Path, tmp_path: Path) -> Callable[[str], FilledTable]:
    """Table 7 with made-up runs: the baseline with three seeds, RGA-S with one, RGA-C with none.

    In the case `recorded` all but the baseline's first two are recorded, and so is a run that is of no row.
    """

    def make(case: str) -> FilledTable:
        asked = CASES[case]
        runs = [
            record(*asked, "attention=none", f"seed={seed}", rank1=rank1, map=rank1 - 0.21)
            for seed, rank1 in ((0, 0.70), (1, 0.7218), (3, 0.7401))
        ]
        runs.append(record(*asked, "attention=rga_s", rank1=0.765, map=0.5512))
        if case != "recorded":
            return fill(TABLE, asked, small_conf)
        runs.append(record(*asked, "attention=rga_s", "recipe.epochs=1", rank1=0.9, map=0.9))
        table = replace(TABLE, folder=tmp_path)
        records = [record_of("7", canonical(asked), run.result() or {}) for run in runs[2:]]
        write_records("7", records, table.results)
        for run in runs[2:]:
            (run.folder / RESULT).unlink()
        return fill(table, asked, small_conf)

    return make


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", get_args(Format))
def test_prints_as_before(filled: Callable[[str], FilledTable], case: str, format: Format) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the stale record, in csv and json
        printed = render(filled(case), format) + "\n"
    golden = HERE / "golden" / f"{case}.{ENDINGS[format]}"
    if os.environ.get("RGA_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")


def test_json_is_what_other_scripts_rely_on(filled: Callable[[str], FilledTable]) -> None:
    table = json.loads(render(filled("paper"), "json"))
    assert table.keys() == {"table", "rows"}
    assert table["table"] == 7
    assert [row.keys() for row in table["rows"]] == 4 * [{"name", "group", "literature", "cells"}]
    keys = {"column", "metric", "paper", "ours", "std", "n", "delta", "runs"}
    assert all(cell.keys() == keys for row in table["rows"] for cell in row["cells"])
    assert [row["group"] for row in table["rows"]] == ["Theirs", "Ours", "Ours", "Ours"]
    literature, baseline, _, unrun = table["rows"]
    assert literature["literature"]
    assert literature["cells"][0]["paper"] == 41.5
    rank1 = baseline["cells"][1]
    assert (rank1["column"], rank1["metric"], rank1["paper"], rank1["n"]) == ("Market1501", "rank-1", 70.0, 3)
    assert rank1["ours"] == pytest.approx(72.063333)
    assert rank1["delta"] == pytest.approx(2.063333)
    assert [run["seed"] for run in rank1["runs"]] == [0, 1, 3]
    assert (unrun["cells"][1]["ours"], unrun["cells"][1]["n"], unrun["cells"][1]["runs"]) == (None, 0, [])


@pytest.mark.parametrize("format", get_args(Format))
def test_demo_is_labelled_in_every_format(filled: Callable[[str], FilledTable], format: Format) -> None:
    printed = render(filled("demo"), format)
    assert "demo" in printed
    if format in ("text", "md", "latex"):
        assert "NOT results on the paper's data sets" in printed
        assert "ours" not in printed.replace("colours", "").split("Others")[0].split("Table 7")[0]
    if format == "json":
        cells = [cell for row in json.loads(printed)["rows"] for cell in row["cells"]]
        assert {cell["delta"] for cell in cells} == {None}
        assert {run["scale"] for cell in cells for run in cell["runs"]} == {"demo"}
    if format == "csv":
        lines = list(csv.DictReader(io.StringIO(printed)))
        assert {line["scale"] for line in lines if line["ours"]} == {"demo"}
        assert {line["delta"] for line in lines} == {""}


def test_a_table_that_somebody_sent_is_shown_and_not_obeyed(filled: Callable[[str], FilledTable]) -> None:
    made = filled("paper")
    first = replace(made.lines[0].row, name="=HYPERLINK(1)\x1b[2J", group="@<script>\nx")
    title = "\\input{/etc/passwd} <img src=x> `x` $x$\x1b]0;x\x07"
    lines = (replace(made.lines[0], row=first), *made.lines[1:])
    theirs = replace(made, table=replace(made.table, title=title), lines=lines)
    printed = {format: render(theirs, format) for format in get_args(Format)}
    row = next(csv.DictReader(io.StringIO(printed["csv"])))
    assert (row["row"][:2], row["group"][:2]) == ("'=", "'@")
    assert "<" not in printed["md"]
    assert "&#96;x&#96;" in printed["md"]
    assert r"\textbackslash{}input\{/etc/passwd\}" in printed["latex"]
    assert r"\$x\$" in printed["latex"]
    for format in ("md", "latex", "json"):
        assert "\x1b" not in printed[format]
    assert all("<script>" not in line for line in printed["md"].splitlines())


def test_queries_that_did_not_count_are_told(filled: Callable[[str], FilledTable]) -> None:
    whole = filled("paper")
    results = [result for entry in whole.entries for result in entry.results]
    for counted, said in ((3368, ""), (3300, " (3,300 of 3,368 queries counted)")):
        for result in results:
            result["data"] = {"name": "market1501", "query": {"images": 3368, "counted": counted}}  # type: ignore[index]
        for format in ("text", "md"):
            assert f"data market1501{said}, network" in render(whole, format)
        runs = json.loads(render(whole, "json"))["rows"][1]["cells"][1]["runs"]
        assert [run.get("queries_counted") for run in runs] == [[3300, 3368] if said else None] * 3
