"""A recorded run is made again as it was made, and compared with its record."""

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from rga.errors import ConfigError
from rga.runs import Run, find_results
from rga.runs.compose import compose
from rga.tables import Table
from rga.tables.missing import run_jobs
from rga.tables.repeat import Repetition, compare, repetition
from tables.conftest import Recorder, take

SMALL = ("scale=small",)


@pytest.fixture
def small_conf(small_conf: Path) -> Path:
    """With an option that names no run, as the real trainer has it."""
    trainer = small_conf / "trainer" / "cpu.yaml"
    trainer.write_text(f"{trainer.read_text()}channels_last: auto\n")
    return small_conf


@pytest.fixture
def recorded(record: Recorder, table: Table, small_conf: Path) -> str:
    """Two runs are recorded, with the metrics that the fake gives and with others; the name of the first."""
    good = record(*SMALL, "attention=rga_s", "seed=3", "trainer.channels_last=true")
    good.write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "finished_at": "2026-11-28T00:12:00+00:00"})
    record(*SMALL, "attention=none", rank1=0.75, map=0.25)
    take(table, small_conf, *SMALL)
    return f"{good.fingerprint}/3"


def again(name: str, table: Table, conf: Path, *overrides: str) -> Repetition:
    return repetition(name, overrides, conf, table.results.parent)


def test_it_is_made_with_what_rounds_differently(recorded: str, table: Table, small_conf: Path) -> None:
    repeated = again(recorded, table, small_conf)
    assert repeated.label == "table 7: RGA-S, market1501_holdout"
    assert {"attention=rga_s", "scale=small", "seed=3", "rerun=true", "trainer.channels_last=true"} <= set(
        repeated.overrides
    )
    assert repeated.runs == Path("repeated")
    given = again(recorded, table, small_conf, "trainer.channels_last=false", "paths.runs=mine")
    assert "trainer.channels_last=true" not in given.overrides
    assert given.runs == Path("mine")


@pytest.mark.slow
def test_made_again_it_is_compared(recorded: str, table: Table, small_conf: Path, fake_train: None) -> None:
    (other,) = [f"{name}/0" for name, results in find_results("runs").items() if results[0]["seed"] == 0]
    made = [again(name, table, small_conf) for name in (recorded, other)]
    with pytest.raises(ConfigError, match="has no result in repeated"):
        compare(made[0])
    jobs = [(repeated.label, list(repeated.overrides)) for repeated in made]
    assert run_jobs(jobs, [], lambda config: None, small_conf) == []
    lines, same = compare(made[0])
    assert same
    assert lines[-1] == "the same 2 metrics as its record, bit for bit"
    result = Path("repeated", recorded, "result.json")
    before = result.stat().st_mtime_ns
    assert run_jobs(jobs[:1], [], lambda config: None, small_conf) == []
    assert result.stat().st_mtime_ns > before, "it is made again, not found finished"
    lines, same = compare(made[1])
    assert not same
    assert "1 of 2 metrics differ from its record:" in lines
    assert "  rank1: 0.750000 recorded, 0.500000 here" in lines
    GlobalHydra.instance().clear()


def test_the_recorded_run_is_no_repetition_of_itself(recorded: str, table: Table, small_conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"runs/\w+/3 is the recorded run itself: paths.runs=FOLDER"):
        again(recorded, table, small_conf, "paths.runs=runs")


def test_a_run_of_ones_own_is_not_made_anew_unasked(recorded: str, table: Table, small_conf: Path) -> None:
    config = compose(["attention=rga_s", "scale=small", "seed=3"], conf=small_conf)
    own = Run("mine", config)
    own.write_result({"metrics": {"rank1": 0.1, "map": 0.1}, "finished_at": "2026-11-27T00:00:00+00:00"})
    assert own.name == recorded
    with pytest.raises(ConfigError, match=r"mine/\w+/3 is there already: rerun=true makes it anew"):
        again(recorded, table, small_conf, "paths.runs=mine")
    assert "rerun=true" in again(recorded, table, small_conf, "paths.runs=mine", "rerun=true").overrides


def test_what_is_not_recorded_is_told(recorded: str, table: Table, small_conf: Path) -> None:
    near = recorded.replace("/3", "/4")
    with pytest.raises(ConfigError, match=f"no run {near} is recorded; there are {recorded}"):
        again(near, table, small_conf)
    with pytest.raises(ConfigError, match="no row of it has that name: the table was changed, or the overrides"):
        again(recorded, table, small_conf, "recipe.epochs=7")
