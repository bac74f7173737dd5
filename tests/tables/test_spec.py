"""The files of the tables, and what is refused in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rga.errors import ConfigError
from rga.runs import fingerprint
from rga.runs.compose import compose
from rga.tables import available, fill, load
from rga.tables.cells_of_run import cells_of

GOOD: dict[str, Any] = {
    "title": "T",
    "source": "S",
    "columns": [{"name": "A", "data": "market1501", "metrics": {"rank-1": "rank1"}}],
    "rows": [{"name": "Ours", "overrides": ["attention=none"], "paper": [50]}, {"name": "Theirs", "paper": [None]}],
}


def write(folder: Path, content: Any) -> Path:
    (folder / "table8.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_reads_a_table(tmp_path: Path) -> None:
    table = load("8", write(tmp_path, GOOD))
    assert [row.literature for row in table.rows] == [False, True]
    assert table.rows[0].paper == (50.0,)
    assert table.rows[1].paper == (None,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tilte": "x"}, "tilte"),
        ({"columns": []}, "columns is a list"),
        ({"rows": [{"name": "Ours", "overrides": ["attention=none"]}]}, "row 1 has no paper"),
        ({"rows": [{"name": "Ours", "overrides": ["attention=none"], "paper": [1, 2]}]}, "row 1 .Ours.: .* 1 numbers"),
        ({"rows": [{"name": "Ours", "overrides": ["attention=none"], "paper": ["94.1"]}]}, "'94.1' is neither"),
        ({"rows": [{"name": "Ours", "overrides": "attention=none", "paper": [1]}]}, "list of Hydra overrides"),
        ({"rows": [{"name": "Ours", "overrides": ["none"], "paper": [1]}]}, "list of Hydra overrides"),
        ({"rows": 2 * [{"name": "Ours", "paper": [1]}]}, "two rows have the same name"),
        ({"columns": [{"name": "A", "data": 3, "metrics": {"rank-1": "rank1"}}]}, "column 1: data"),
        ({"columns": [{"name": "A", "data": None, "metrics": ["rank1"]}]}, "column 1: metrics"),
        ({"main_seeds": {"demo": 3}}, "main_seeds is a mapping of scales to seeds"),
        ({"main_seeds": [0, 1]}, "main_seeds is a mapping of scales to seeds"),
    ],
)
def test_refuses_what_is_not_well_formed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"table8\.yaml: .*{message}"):
        load("8", write(tmp_path, {**GOOD, **change}))


def test_the_demo_has_three_seeds_of_the_rows_to_compare(cache: Path, tmp_path: Path) -> None:
    """`make demo`: eighteen runs, and no other scale has seeds of its own."""

    def missing(name: str, *overrides: str) -> dict[str, tuple[int, ...]]:
        filled = fill(load(name), [*overrides, f"paths.runs={tmp_path}"], counted="here")
        return {line.row.name: entry.missing for line, _, entry in filled.missing()}

    three = ("Baseline", "RGA-S", "RGA-C", "RGA-SC")
    rows = [row.name for row in load("1").rows]
    assert missing("1", "scale=demo", "data=market1501") == {
        name: (0, 1, 2) if name in three else (0,) for name in rows
    }
    assert set(missing("1", "data=market1501").values()) == {(0,)}


def test_an_unknown_table_is_answered_with_those_there_are(tmp_path: Path) -> None:
    for stem in ("table10", "table2", "zoo", "attention_lr", "figure3"):
        (tmp_path / f"{stem}.yaml").touch()
    for name in ("3", "table2", "figure3"):
        with pytest.raises(ConfigError, match=f"no table {name}; there are: 2, 10, attention_lr, zoo"):
            load(name, tmp_path)
    with pytest.raises(ConfigError, match="no figure zoo; there are: 3"):
        load("zoo", tmp_path, kind="figure")


def test_there_are_the_papers_tables_and_our_own() -> None:
    own = [
        "budget",
        "cifar_short",
        "controls",
        "gate_init",
        "identities",
        "more_steps",
        "ratios",
        "regularization",
        "which_stage",
        "zoo",
    ]
    assert available() == [*map(str, range(1, 8)), *own]
    for name in available():
        table = load(name)
        assert (name in own) == (not table.title.startswith(f"Table {name}: ")), "only the paper's are called Table N"
        assert all(column.of_the_paper == (name not in own) for column in table.columns)
        assert table.source == f"arXiv:1904.02998v1, Table {name}" or name in own


def test_numbers_are_printed_with_the_decimals_of_the_paper(tmp_path: Path) -> None:
    rows = [{"name": "Ours", "overrides": ["attention=none"], "paper": [50]}, {"name": "Theirs", "paper": [3.25]}]
    assert load("8", write(tmp_path, GOOD)).digits == 1
    assert load("8", write(tmp_path, {**GOOD, "rows": rows})).digits == 2
    assert [load(name).digits for name in available()] == [*6 * [1], 2, *10 * [1]]


@pytest.mark.slow
@pytest.mark.parametrize("name", available())
def test_every_row_of_every_table_can_be_run(name: str, cache: Path) -> None:
    table = load(name)
    names, runnable = set(), 0
    for column in table.columns:
        for row in table.rows:
            own = table.runnable(row, column)
            if own is not None:
                runnable += 1
                names.add(fingerprint(compose(own)))
                assert fingerprint(compose((*own, "scale=demo"))) not in names
    assert len(names) == runnable, "two rows are the same run"


@pytest.mark.slow
def test_a_run_knows_its_cells(cache: Path) -> None:
    tables = ["1", "2", "4", "zoo"]
    rows = dict.fromkeys(tables, "RGA-SC") | {"ratios": "s1 = 8, s2 = 8", "which_stage": "all four"}
    assert cells_of(compose(["attention=rga_sc", "seed=3", "backbone.weights=/x/resnet50.pth"])) == [
        f"table {name}: {row}, Market1501" for name, row in sorted(rows.items())
    ]
    tables = ["1", "2", "3", "4", "ratios", "which_stage", "zoo"]
    assert cells_of(compose(["attention=none", "scale=demo"])) == [
        f"table {name}: Baseline, Market1501" for name in tables
    ]
    assert cells_of(compose(["recipe.epochs=3"])) == []
