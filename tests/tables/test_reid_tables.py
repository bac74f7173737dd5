"""Tables 2 and 3: which blocks their rows build, and that what they share with Table 1 is one run and one number."""

from pathlib import Path

import pytest

from rga.compose import compose
from rga.runs import fingerprint
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
TABLES = [load(name) for name in BLOCKS]
ROWS = [(table, row) for table in TABLES for row in table.rows]


def composed(table: Table, row: Row) -> dict[str, object]:
    (market,) = [column for column in table.columns if column.data == "market1501"]
    return compose(table.runnable(row, market) or ())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_rows_are_those_blocks(table: Table) -> None:
    assert [row.name for row in table.rows] == list(BLOCKS[table.name])


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.name)
def test_each_row_is_its_block_after_the_four_stages(table: Table, row: Row, cache: Path) -> None:
    attention = composed(table, row)["attention"]
    block = BLOCKS[table.name][row.name]
    assert isinstance(attention, dict)
    if block is None:
        assert attention == {"block": None, "after": []}
    else:
        assert attention["block"]["_target_"] == f"rga.attention.{block}"
        assert attention["after"] == [1, 2, 3, 4]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.name)
def test_what_is_in_table_1_is_the_same_run_with_the_same_number(table: Table, row: Row, cache: Path) -> None:
    first = load("1")
    twins = [twin for twin in first.rows if twin.name == row.name]
    if not twins:
        assert row.paper == (None,) * len(row.paper)
        return
    (twin,) = twins
    assert row.paper == twin.paper
    assert fingerprint(composed(table, row)) == fingerprint(composed(first, twin))
