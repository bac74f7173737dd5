"""What the tables of our own tell of their rows, against the networks that the rows build."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rga.bench.costs import network_of
from rga.errors import ConfigError
from rga.inspection import forward_flop
from rga.runs import fingerprint
from rga.runs.compose import compose
from rga.tables import Row, Table, fill, load

TABLES = [load("which_stage"), load("ratios")]
ROWS = [(table, row) for table in TABLES for row in table.rows]


def config(table: Table, row: Row) -> dict[str, Any]:
    (market,) = [column for column in table.columns if column.data == "market1501"]
    return compose(table.runnable(row, market) or ())


@pytest.mark.slow
@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.name)
def test_parameters_and_flop_are_those_of_the_built_network(table: Table, row: Row, cache: Path) -> None:
    built = config(table, row)
    size = built["data"]["size"]
    assert (built["backbone"]["name"], size) == ("resnet50", [256, 128])
    with torch.device("meta"):
        network = network_of(built)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        flop = forward_flop(network, size)
    assert row.about == (f"{parameters / 1e6:.3f}", f"{flop / 1e9:.2f}")


def test_the_stages_one_by_one_and_all(cache: Path) -> None:
    table = TABLES[0]
    stages = [config(table, row)["attention"]["after"] for row in table.rows]
    assert stages == [[], [1], [2], [3], [4], [1, 2, 3, 4]]
    added = {row.name: float(row.about[0]) - 23.508 for row in table.rows}
    *one, every = [added[row.name] for row in table.rows[1:]]
    assert sum(one) == pytest.approx(every, abs=0.003), "what the blocks add does not depend on each other"


def test_the_ratios_are_all_combinations(cache: Path) -> None:
    table = TABLES[1]
    blocks = [config(table, row)["attention"]["block"] for row in table.rows[1:]]
    found = [(block["reduction"], block["squeeze"]) for block in blocks]
    assert found == [(s1, s2) for s1 in (4, 8, 16) for s2 in (4, 8, 16)]
    assert [row.name for row in table.rows[1:]] == [f"s1 = {s1}, s2 = {s2}" for s1, s2 in found]


@pytest.mark.parametrize(("table", "row"), [(TABLES[0], "all four"), (TABLES[1], "s1 = 8, s2 = 8")])
def test_the_papers_choice_is_the_run_of_table_1(table: Table, row: str, cache: Path) -> None:
    (own,) = [candidate for candidate in table.rows if candidate.name == row]
    first = load("1")
    assert fingerprint(config(table, own)) == fingerprint(config(first, first.rows[-1]))


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("identities", "data.train_identities=128", "the columns of table identities differ by data.train_identities"),
        ("controls", "data.train_identities=64", "the columns of table controls differ by data.train_identities"),
        ("budget", "recipe.epochs=60", "the columns of table budget differ by recipe.epochs"),
        ("controls", "task={margin: 1.2}", r"the rows of table controls differ by task\.attention_lr"),
        ("controls", "+recipe.epoch=5", "recipe.epoch: nothing reads this setting; is it recipe.epochs"),
        ("budget", "data.train_identities=64", "table budget is one with data.train_identities=32"),
    ],
)
def test_what_a_table_is_about_is_not_overridden(cache: Path, name: str, override: str, said: str) -> None:
    """The names of its columns, and its title, would be wrong."""
    with pytest.raises(ConfigError, match=said):
        fill(load(name), [override])


def test_columns_of_another_set_say_what_they_differ_by(cache: Path) -> None:
    filled = fill(load("identities"), ["data=market1501"], counted="here")
    assert [column.name for column in filled.columns][:2] == ["32 identities, market1501", "64 identities, market1501"]
    assert len({entry.fingerprint for entry in filled.entries}) == len(filled.entries)
