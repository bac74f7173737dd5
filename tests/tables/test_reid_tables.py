"""Tables 2 to 5: which blocks their rows build, and that what they share with Table 1 is one run and one number."""

from pathlib import Path
from typing import Any

import pytest

from rga.runs import fingerprint
from rga.runs.compose import compose
from rga.tables import Row, Table, load

BLOCKS = {
    "2": {
        "Baseline": None,
        "CBAM-S": "CBAMS",
        "FC-S": "FCS",
        "RGA-S": "RGAS",
        "SE": "SE",
        "CBAM-C": "CBAMC",
        "FC-C": "FCC",
        "RGA-C": "RGAC",
        "CBAM-CS": "CBAM",
        "FC-S//C": "FCParallel",
        "RGA-SC": "RGASC",
    },
    "3": {"Baseline": None, "Non-local": "NonLocal", "RGA-S": "RGAS", "Non-local + RGA-S": "NonLocalRGAS"},
}
BLOCKS |= {name: {"Baseline": None, "RGA-SC": "RGASC"} for name in ("4", "5")}
TABLES = [load(name) for name in BLOCKS]
ROWS = [(table, row) for table in TABLES for row in table.rows if not row.literature]


def composed(table: Table, row: Row, data: str) -> dict[str, Any]:
    (column,) = [column for column in table.columns if column.data == data]
    return compose(table.runnable(row, column) or ())


def paper(table: Table, row: Row) -> dict[tuple[str, str], float | None]:
    places = [(column.name, metric) for column in table.columns for metric in column.metrics]
    return dict(zip(places, row.paper, strict=True))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_our_rows_are_those_blocks(table: Table) -> None:
    assert [row.name for row in table.rows if not row.literature] == list(BLOCKS[table.name])


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.name)
def test_each_row_is_its_block_after_the_four_stages(table: Table, row: Row, cache: Path) -> None:
    attention = composed(table, row, str(table.columns[0].data))["attention"]
    block = BLOCKS[table.name][row.name]
    if block is None:
        assert attention == {"block": None, "after": []}
    else:
        assert attention["block"]["_target_"] == f"rga.attention.{block}"
        assert attention["after"] == [1, 2, 3, 4]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.name)
def test_what_is_in_table_1_is_the_same_run_with_the_same_number(table: Table, row: Row, cache: Path) -> None:
    first = load("1")
    twin = next((twin for twin in first.rows if twin.name == row.name), None)
    numbers = paper(first, twin) if twin else {}
    for place, number in paper(table, row).items():
        if place in numbers:
            assert number == numbers[place]
    if twin and "market1501" in {column.data for column in table.columns}:
        assert fingerprint(composed(table, row, "market1501")) == fingerprint(composed(first, twin, "market1501"))
