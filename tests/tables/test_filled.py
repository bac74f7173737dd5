"""Which runs come into which cell, and what is computed from them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rga.errors import ConfigError
from rga.runs import RESULT, Run
from rga.runs.compose import compose
from rga.runs.inputs import InputsError
from rga.tables import Cell, FilledTable, load
from rga.tables import fill as fill_table
from rga.tables.filling import fill_recorded
from rga.tables.notes import sources
from rga.tables.render import render

TABLE = load("7", Path(__file__).parent)
Recorder = Callable[..., Run]
Fill = Callable[..., FilledTable]


@pytest.fixture
def fill(runs: Path, small_conf: Path) -> Fill:
    """Fill Table 7 (tests/tables/table7.yaml) with the overrides that are given."""
    return lambda *overrides: fill_table(TABLE, overrides, small_conf)


def cell(filled: FilledTable, row: str, column: str = "Market1501", metric: str = "rank-1") -> Cell:
    (found,) = [
        cell
        for line in filled.lines
        for cell in line.cells
        if (line.row.name, cell.column.name, cell.metric) == (row, column, metric)
    ]
    return found


def test_without_runs(fill: Fill) -> None:
    filled = fill()
    assert all(cell.ours is None and cell.std is None and cell.delta is None and cell.n == 0 for cell in filled.cells)
    assert cell(filled, "Others [7]").entry is None
    assert cell(filled, "Baseline", "CUHK03 (L)").entry is None
    assert [(line.row.name, entry.missing) for line, _, entry in filled.missing()] == [
        ("Baseline", (0,)),
        ("RGA-S", (0,)),
        ("RGA-C", (0,)),
    ]
    assert filled.missing()[1][2].command == "rga train data=market1501 attention=rga_s seed=0"


def test_mean_std_and_difference(record: Recorder, fill: Fill) -> None:
    for seed, rank1 in ((0, 0.70), (1, 0.72), (3, 0.74)):
        record("attention=none", f"seed={seed}", rank1=rank1, map=0.5)
    found = cell(fill(), "Baseline")
    assert found.ours == pytest.approx(72.0)
    assert found.std == pytest.approx(2.0)  # the sample's: n - 1
    assert found.n == 3
    assert found.delta == pytest.approx(2.0)
    assert [seed for seed, _ in found.values] == [0, 1, 3]


def test_one_seed_has_no_deviation(record: Recorder, fill: Fill) -> None:
    record("attention=none", rank1=0.7, map=0.5)
    assert cell(fill(), "Baseline").std is None


def test_the_seeds_asked_for_and_no_others_count(record: Recorder, fill: Fill) -> None:
    for seed, rank1 in ((0, 0.1), (1, 0.2), (5, 0.3)):
        record("attention=none", f"seed={seed}", rank1=rank1, map=0.5)
    filled = fill("seed=1,2,5")
    assert cell(filled, "Baseline").ours == pytest.approx(25.0)
    line, _, entry = filled.missing()[0]
    assert (line.row.name, entry.missing) == ("Baseline", (2,))
    assert filled.missing()[1][2].command == "rga train -m data=market1501 attention=rga_s seed=1,2,5"
    assert fill("seed=range(0,3)").missing()[1][2].missing == (0, 1, 2)


def test_any_seed_fills_a_cell_when_none_is_asked_for(record: Recorder, fill: Fill) -> None:
    record("attention=none", "seed=5", rank1=0.3, map=0.5)
    assert [line.row.name for line, _, _ in fill().missing()] == ["RGA-S", "RGA-C"]


def test_a_rerun_misses_everything(record: Recorder, fill: Fill) -> None:
    record("attention=none", rank1=0.3, map=0.5)
    assert len(fill("rerun=true", "seed=0").missing()) == 3


def test_synthetic_data_with_default_options_are_synthetic(fill: Fill) -> None:
    assert cell(fill("+data.demo={}"), "RGA-S").entry.setting.synthetic  # type: ignore[union-attr]
    assert not cell(fill(), "RGA-S").entry.setting.synthetic  # type: ignore[union-attr]


def test_seeds_of_different_data_are_no_mean(record: Recorder, fill: Fill) -> None:
    """Asked for one of them, the table shows it."""
    for seed in (0, 1):
        run = record("attention=rga_s", f"seed={seed}")
        summary = {"data": {"train": {"images": 7 + seed, "digest": f"sha256:{seed}"}}}
        run.write_result({"metrics": {"rank1": 0.5, "map": 0.4}, "inputs": summary})
    with pytest.raises(InputsError, match=r"RGA-S, Market1501: .*train has 8 images, it had 7.*not averaged"):
        fill()
    assert cell(fill("seed=1"), "RGA-S").n == 1


def test_main_rows_have_seeds_of_the_scale(record: Recorder, runs: Path, small_conf: Path) -> None:
    """At this scale alone, until they are there, and where the user asks for no others."""
    rows = tuple(replace(row, main=row.name == "RGA-S") for row in TABLE.rows)
    table = replace(TABLE, rows=rows, main_seeds={"demo": (0, 1, 2)})

    def missing(*overrides: str) -> list[tuple[str, tuple[int, ...]]]:
        found = fill_table(table, overrides, small_conf).missing()
        return [(line.row.name, entry.missing) for line, _, entry in found]

    assert missing("scale=demo") == [("Baseline", (0,)), ("RGA-S", (0, 1, 2)), ("RGA-C", (0,))]
    assert missing() == missing("scale=demo", "seed=0") == [("Baseline", (0,)), ("RGA-S", (0,)), ("RGA-C", (0,))]
    for seed in (1, 5):
        record("scale=demo", "attention=rga_s", f"seed={seed}", rank1=0.5, map=0.5)
    assert missing("scale=demo") == [("Baseline", (0,)), ("RGA-S", (0, 2)), ("RGA-C", (0,))]


def test_demo_runs_are_no_results_of_the_paper(record: Recorder, fill: Fill) -> None:
    record("attention=none", "scale=demo", rank1=0.9, map=0.8)
    assert cell(fill(), "Baseline").ours is None
    found = cell(fill("scale=demo"), "Baseline")
    assert found.ours == pytest.approx(90.0)
    assert found.delta is None
    assert found.entry is not None
    assert found.entry.setting.scale == "demo"


def test_another_network_is_not_compared(record: Recorder, fill: Fill) -> None:
    record("attention=none", "backbone=tiny", rank1=0.9, map=0.8)
    found = cell(fill("backbone=tiny"), "Baseline")
    assert found.ours == pytest.approx(90.0)
    assert found.delta is None


@pytest.mark.parametrize("override", ["recipe.epochs=3", "data.size=[128,64]", "backbone.weights=null"])
def test_another_budget_is_stated_and_not_compared(record: Recorder, fill: Fill, override: str) -> None:
    record("attention=none", override, rank1=0.9, map=0.8)
    filled = fill(override)
    assert cell(filled, "Baseline").ours == pytest.approx(90.0)
    assert cell(filled, "Baseline").delta is None
    (source,) = sources(filled)
    assert "scale paper" not in source
    words = {
        "recipe": "3 epochs at 256 x 128, weights",
        "data": "600 epochs at 128 x 64, weights",
        "backbone": "scratch",
    }
    assert words[override.partition(".")[0]] in source


def test_rows_of_different_precision_are_told(record: Recorder, fill: Fill) -> None:
    record("attention=none", rank1=0.9, map=0.8)
    run = record("attention=rga_s")
    for precision, told in (("32-true", False), ("32-true, TF32", True)):
        run.write_result({"metrics": {"rank1": 0.9, "map": 0.8}, "precision": precision})
        text = render(fill(), "text")
        assert ("precision 32-true in the rows Baseline\nprecision 32-true, TF32 in the rows RGA-S" in text) == told


def test_another_network_than_that_of_the_rows_names_is_told(cache: Path) -> None:
    other, own = "network mobilenetv2 (not the resnet101 of the rows), ", "network resnet101, "
    for overrides, network in (([], own), (["backbone=mobilenetv2"], other)):
        printed = [render(fill_table(load("6"), overrides), format) for format in ("text", "md", "latex")]
        assert all(network in text for text in printed)


def test_a_table_of_our_own_has_no_paper(cache: Path) -> None:
    filled = fill_table(load("cifar_short"), counted="recorded")
    assert not any(column.of_the_paper for column in filled.columns)
    assert {cell.paper for cell in filled.cells} == {None}
    printed = render(filled, "text")
    source = "data cifar10, cifar100, network resnet20, scale small, 8 epochs at 32 x 32, from scratch"
    assert f"SMALL: {source}. These compare with each other, NOT with the paper's.\n" in printed
    assert "paper" not in printed.split("\n\n")[1]


def test_weights_from_a_file_and_other_paths_are_still_compared(record: Recorder, fill: Fill) -> None:
    record("attention=none", "backbone.weights=/x/resnet50.pth", rank1=0.9, map=0.8)
    overrides = ["backbone.weights=/elsewhere/resnet50.pth", "paths.data=/data", "trainer.devices=2"]
    assert cell(fill(*overrides), "Baseline").delta == pytest.approx(20.0)


def test_another_data_set_has_a_column_of_its_own(record: Recorder, fill: Fill) -> None:
    record("attention=none", "data=market1501_holdout", rank1=0.6, map=0.4)
    record("attention=none", rank1=0.9, map=0.8)
    filled = fill("data=market1501_holdout")
    assert [column.name for column in filled.columns] == ["CUHK03 (L)", "Market1501", "market1501_holdout"]
    found = cell(filled, "Baseline", "market1501_holdout")
    assert (found.ours, found.paper, found.delta) == (pytest.approx(60.0), None, None)
    assert cell(filled, "Baseline").ours is None
    assert cell(filled, "Baseline").paper == 70.0


def test_the_tables_own_data_set_stays_in_its_column(record: Recorder, fill: Fill) -> None:
    record("attention=none", rank1=0.9, map=0.8)
    filled = fill("data=market1501")
    assert filled.columns == TABLE.columns
    assert cell(filled, "Baseline").delta == pytest.approx(20.0)


def test_equal_rows_are_one_run(fill: Fill) -> None:
    filled = fill("seed=0")
    twice = FilledTable(filled.table, filled.overrides, filled.columns, filled.lines * 2)
    assert len(twice.missing()) == 3


def test_damaged_and_incomplete_runs_are_named_and_left_out(record: Recorder, fill: Fill) -> None:
    record("attention=rga_s", rank1=0.9)
    (record("attention=none", rank1=0.9, map=0.8).folder / RESULT).write_text("{")
    with pytest.warns(UserWarning, match="left out"):
        filled = fill()
    assert cell(filled, "Baseline").ours is None
    with pytest.warns(UserWarning, match="no metric 'map'"):
        assert cell(filled, "RGA-S", metric="mAP").ours is None
    assert cell(filled, "RGA-S").ours == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attention=none", "rows of table 7 differ by attention"),
        ("attenton=none", "table 7, Baseline, Market1501: .*attenton"),
        ("backbone=no_such", "no_such"),
        ("demo", "expected NAME=VALUE"),
        ("seed=one", "seed=0,1,2"),
        ("seed=0,x", "seed=0,1,2"),
    ],
)
def test_a_wrong_override_is_named(fill: Fill, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fill(override)


def test_rows_may_train_on_parts_of_one_set(runs: Path, small_conf: Path, fill: Fill) -> None:
    """They differ in how many identities they train on, and are tested on the same images."""
    for block, count in (("none", None), ("rga_s", 32)):
        config = compose([f"attention={block}", "seed=0"], conf=small_conf)
        part = {**config, "data": {**config["data"], "train_identities": count}}
        inputs = {"data": {"train": {"images": count or 99, "digest": "0"}, "query": {"images": 9, "digest": "0"}}}
        Run(runs, config).write_result({"metrics": {"rank1": 0.7, "map": 0.5}, "inputs": inputs, "config": part})
    assert cell(fill(), "RGA-S").ours == pytest.approx(70.0)


def test_rows_of_different_data_are_not_compared(runs: Path, small_conf: Path, fill: Fill) -> None:
    def made(block: str, digest: str, weights: str = "0") -> None:
        inputs = {
            "data": {"train": {"images": 9, "digest": digest}},
            "weights": {"file": "a.pth", "digest": weights},
        }
        run = Run(runs, compose([f"attention={block}", "seed=0"], conf=small_conf))
        run.write_result({"metrics": {"rank1": 0.7, "map": 0.5}, "inputs": inputs})

    made("none", "0")
    made("rga_s", "0")
    assert cell(fill(), "RGA-S").ours == pytest.approx(70.0)
    made("rga_s", "1")
    with pytest.raises(InputsError, match="Baseline and RGA-S were made of different inputs: as many images"):
        fill()
    made("rga_s", "0", weights="1")
    with pytest.raises(InputsError, match=r"the weights a\.pth are another file of the same name"):
        fill()


def test_records_that_a_table_does_not_take_any_more_are_left_out(small_conf: Path, runs: Path) -> None:
    """Such as of a setting that its rows differ by now: the others are shown."""
    settings = [("scale=small",), ("attention=none",)]
    with pytest.warns(UserWarning, match="what is recorded with attention=none is left out: .* differ by attention"):
        (filled,) = fill_recorded(TABLE, settings, small_conf)
    assert filled.overrides == ("scale=small",)


def test_a_part_of_a_published_set_is_told(record: Recorder, fill: Fill) -> None:
    """A set that was cut down, or unpacked by half, under the published one's name: no difference to the paper."""
    for attention, queries in (("none", 3_368), ("rga_s", 38)):
        run = record(f"attention={attention}", rank1=0.70, map=0.5)
        counts = {"name": "market1501", "query": {"images": queries}}
        run.write_result({"metrics": {"rank1": 0.70, "map": 0.5}, "data": counts})
    filled = fill()
    assert cell(filled, "Baseline").delta is not None
    assert cell(filled, "RGA-S").delta is None
    assert any("market1501 (not the published set: query 38 images of 3,368)" in line for line in sources(filled))
