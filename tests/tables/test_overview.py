"""`rga table` without a name: every table, and how many of its runs there are."""

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from rga.paths import CONF, EXPERIMENTS
from rga.runs import Run
from rga.tables import available, load
from rga.tables.overview import list_tables
from rga.tables.recording import record_table

HOLDOUT = ("data=market1501_holdout", "backbone=tiny")


def lines(text: str) -> list[list[str]]:
    """The cells of the lines below the rule, until the blank line."""
    body = text.split("\n\n")[0].splitlines()[2:]
    return [re.split(r"  +", line.strip()) for line in body]


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """Table 7 (tests/tables/table7.yaml), once more under a name of our own."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "table7.yaml", folder)
    shutil.copy(Path(__file__).parent / "table7.yaml", folder / "again.yaml")
    return folder


def test_runs_here_and_recorded_are_counted(
    runs: Path, record: Callable[..., Run], experiments: Path, small_conf: Path
) -> None:
    title = "Table 7: a made-up table, 100 % test & no result"
    assert lines(list_tables(experiments, small_conf)) == [
        ["7", "0 of 3", "0", "0", title],
        ["again", "0 of 3", "0", "0", title],
    ]
    for seed in (0, 1):
        record("attention=none", f"seed={seed}", rank1=0.5, map=0.5)
        record(*HOLDOUT, "attention=rga_s", f"seed={seed}", rank1=0.5, map=0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*commit")
        record_table(load("7", experiments), HOLDOUT, small_conf)
    shutil.rmtree(runs)
    record("attention=none", "seed=3", rank1=0.5, map=0.5)
    record("attention=rga_c", rank1=0.5, map=0.5)
    record("attention=rga_c", "scale=demo", "seed=1", rank1=0.5, map=0.5)
    assert lines(list_tables(experiments, small_conf)) == [
        ["7", "2 of 3", "2", "0", title],
        ["1 of 3", "0", "2", "with data=market1501_holdout backbone=tiny"],
        ["again", "2 of 3", "2", "0", title],
    ]


def test_every_table_of_the_repository_is_listed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments", ignore=shutil.ignore_patterns("results"))
    listed = {line[0]: line for line in lines(list_tables(tmp_path / "experiments"))}
    assert list(listed) == available()
    for name in available():
        table = load(name)
        cells = sum(table.runnable(row, column) is not None for row in table.rows for column in table.columns)
        assert listed[name] == [name, f"0 of {cells}", "0", "0", table.title]


def test_a_data_set_is_called_in_its_runs_as_it_is_chosen() -> None:
    """The list skips tables without any run on their data, and knows a run's data by the name in its config."""
    for path in (CONF / "data").glob("*.yaml"):
        assert re.findall(r"^name: (.*)$", path.read_text(), re.MULTILINE) == [path.stem]
