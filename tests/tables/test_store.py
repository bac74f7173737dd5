"""Runs that are recorded in the repository: what is kept, what is refused, how they join the local ones."""

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

import rga.tables.recording
import rga.training.launcher
from rga.errors import ConfigError
from rga.runs import Run, find_results, fingerprint
from rga.runs.identity import VERSION
from rga.runs.inputs import InputsError
from rga.tables import FilledTable, Table, fill, load
from rga.tables.missing import run_missing
from rga.tables.recorded import read_records, record_of, results, thinned
from rga.tables.recording import record as record_words
from rga.tables.recording import record_table
from tables.conftest import take

Recorder = Callable[..., Run]
HOLDOUT = ("scale=small",)


def values_of(filled: FilledTable) -> dict[tuple[str, str], list[tuple[int, float, bool]]]:
    """Seed, value and whether it is recorded, of every cell with runs."""
    return {
        (line.row.name, f"{cell.column.name} {cell.metric}"): [
            (seed, round(value, 6), seed in cell.entry.recorded) for seed, value in cell.values if cell.entry
        ]
        for line in filled.lines
        for cell in line.cells
        if cell.n
    }


def test_a_record_is_the_result_without_this_machines_folders(record: Recorder, table: Table, small_conf: Path) -> None:
    run = record("attention=none", "paths.data=/secret", "backbone.weights=/secret/w.pth", rank1=0.7, map=0.5)
    (line,) = take(table, small_conf, "backbone.weights=/secret/w.pth")
    assert "secret" not in json.dumps(line)
    assert (line["table"], line["fingerprint"], line["seed"]) == ("7", run.fingerprint, 0)
    assert line["metrics"] == {"rank1": 0.7, "map": 0.5}
    assert fingerprint(line["config"]) == run.fingerprint
    assert not line["config"].keys() & {"paths", "logger", "hydra"}
    assert not line["config"]["data"].keys() & {"root", "cache"}
    assert line["overrides"] == ["backbone.weights=w.pth"]


def test_everything_a_reader_needs_is_kept(tmp_path: Path) -> None:
    config = {"seed": 3, "data": {"name": "x", "root": "/x"}, "paths": {}}
    result = {
        "version": VERSION,
        "inputs": {"data": {"train": {"images": 7, "digest": "sha256:0"}}},
        "fingerprint": fingerprint(config),
        "seed": 3,
        "config": config,
        "metrics": {"map": 0.123456789},
        "cells": ["of other tables"],
        "data": {"name": "x", "train": {"images": 7}},
        "parameters": 12,
        "duration_s": 4.5,
        "curve": [{"epoch": 1.0, "loss": 0.123456789}],
        "versions": {"torch": "2.15.0"},
        "commit": "0c030e0",
        "device": "1 x CPU",
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    line = json.loads(record_of("7", ["a=b"], result).line())
    kept = {**result, "table": "7", "overrides": ["a=b"], "config": {"seed": 3, "data": {"name": "x"}}}
    del kept["cells"]
    assert line == {**kept, "curve": [{"epoch": 1.0, "loss": 0.123457}]}


def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends() -> None:
    curve = [{"epoch": float(epoch)} for epoch in range(1, 601)]
    epochs = [point["epoch"] for point in thinned(curve)]
    assert (len(epochs), epochs[0], epochs[-1]) == (200, 1.0, 600.0)
    assert {late - early for early, late in pairwise(epochs)} <= {3.0, 4.0}
    assert thinned(curve[:200]) == curve[:200]
    assert len(thinned(curve[:201])) == 200


def test_recording_twice_changes_nothing_and_the_order_is_that_of_the_rows(
    record: Recorder, table: Table, small_conf: Path
) -> None:
    for attention, seed in (("rga_s", 1), ("none", 10), ("rga_c", 0), ("none", 2)):
        record(f"attention={attention}", f"seed={seed}", rank1=0.5, map=0.5)
        record(*HOLDOUT, f"attention={attention}", f"seed={seed}", rank1=0.5, map=0.5)
    take(table, small_conf, *HOLDOUT)
    lines = take(table, small_conf)
    assert take(table, small_conf, *HOLDOUT[::-1]) == lines
    assert [line["overrides"] for line in lines] == 4 * [[]] + 4 * [list(HOLDOUT)]
    found = [(line["config"]["attention"]["block"] or {}).get("_target_", "none") for line in lines]
    assert list(zip(found, (line["seed"] for line in lines), strict=True)) == 2 * [
        ("none", 2),
        ("none", 10),
        ("rga_s", 1),
        ("rga_c", 0),
    ]
    path = table.results / "table7.jsonl"
    os.utime(path, ns=(0, 0))
    take(table, small_conf)
    assert path.stat().st_mtime_ns == 0, "the file was written again"


def test_overrides_that_choose_nothing_are_not_recorded(record: Recorder, table: Table, small_conf: Path) -> None:
    record(*HOLDOUT, "attention=none", rank1=0.5, map=0.5)
    asked = [
        "scale=small",
        "backbone=tiny",
        "trainer.devices=2",
        "recipe.epochs=15",
        "backbone.weights=/x/tiny.pt",
        "seed=0,1",
    ]
    (line,) = take(table, small_conf, *asked, "data=market1501_holdout", f"paths.runs={Path('runs').absolute()}")
    assert line["overrides"] == list(HOLDOUT)
    record("attention=none", rank1=0.5, map=0.5)
    assert [line["overrides"] for line in take(table, small_conf, "data=market1501")] == [[], list(HOLDOUT)]


def test_recorded_and_local_runs_join(record: Recorder, table: Table, small_conf: Path) -> None:
    for seed in (0, 1):
        record("attention=none", f"seed={seed}", rank1=0.5 + seed / 10, map=0.5)
    take(table, small_conf)
    shutil.rmtree("runs")
    record("attention=none", "seed=1", rank1=0.9, map=0.9)
    record("attention=none", "seed=2", rank1=0.7, map=0.7)
    filled = fill(table, [], small_conf)
    assert values_of(filled)["Baseline", "Market1501 rank-1"] == [(0, 50.0, True), (1, 90.0, False), (2, 70.0, False)]
    assert [line.row.name for line, _, _ in filled.missing()] == ["RGA-S", "RGA-C"]
    assert fill(table, ["seed=0,1,2,3"], small_conf).missing()[0][2].missing == (3,)
    only = fill(table, [], small_conf, counted="recorded")
    assert values_of(only)["Baseline", "Market1501 rank-1"] == [(0, 50.0, True), (1, 60.0, True)]
    (name,) = find_results("runs")
    assert [result["metrics"]["rank1"] for result in results("runs", name, table.results)] == [0.5, 0.9, 0.7]


def made_at(run: Run, day: int, device: str, **metrics: float) -> Run:
    run.write_result({"metrics": metrics, "device": device, "finished_at": f"2026-11-{day:02}T10:00:00+00:00"})
    return run


@pytest.mark.parametrize("day", [19, 21])
def test_a_run_that_was_made_with_other_metrics_is_a_conflict(
    record: Recorder, table: Table, small_conf: Path, day: int
) -> None:
    run = made_at(record("attention=none"), 20, "H100", rank1=0.5, map=0.25)
    before = take(table, small_conf)
    made_at(run, day, "A100", rank1=0.625, map=0.25)
    record("attention=rga_s", rank1=0.75, map=0.5)
    with pytest.warns(UserWarning, match="commit"):
        recorded = record_table(table, [], small_conf)
    (conflict,) = recorded.conflicts
    assert f"run {run.fingerprint}/0 is recorded already, with other metrics: rank1 0.625 instead of 0.5. " in conflict
    assert f"on A100, commit unknown, 2026-11-{day}" in conflict
    assert re.search(r"the recorded one on H100, .* 2026-11-20.*table7\.jsonl:1\).*rga record 7 --replace", conflict)
    assert [line["metrics"]["rank1"] for line in take(table, small_conf)] == [0.5, 0.75], "the others are recorded"
    assert take(table, small_conf)[0] == before[0]
    with pytest.warns(UserWarning, match="commit"):
        assert not record_table(table, [], small_conf, replace=True).conflicts
    assert [line["metrics"]["rank1"] for line in take(table, small_conf)] == [0.625, 0.75]


def test_a_result_that_lacks_something_is_a_conflict(record: Recorder, table: Table, small_conf: Path) -> None:
    run = record("attention=none")
    run.write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "curve": [{"epoch": 600, "loss": 1.0}]})
    before = take(table, small_conf)
    for less in ({"metrics": {"rank1": 0.5}, "curve": [{"epoch": 600}]}, {"metrics": {"rank1": 0.5, "map": 0.25}}):
        run.write_result(less)
        (conflict,) = record_table(table, ["paths.runs=runs"], small_conf).conflicts
        assert "map none instead of 0.25" in conflict or "no learning curve" in conflict
        assert "rga record 7 paths.runs=runs --replace takes this one instead" in conflict
        assert take(table, small_conf) == before


@pytest.mark.parametrize("order", [(20, 21), (21, 20)])
def test_of_equal_runs_the_later_one_is_kept_whichever_comes_first(
    record: Recorder, table: Table, small_conf: Path, order: tuple[int, int]
) -> None:
    for day in order:
        made_at(record("attention=none"), day, f"machine {day}", rank1=0.5, map=0.25)
        (line,) = take(table, small_conf)
    assert line["device"] == "machine 21"


def test_the_runs_of_two_machines_are_joined(record: Recorder, table: Table, small_conf: Path, tmp_path: Path) -> None:
    """Two folders that were brought together: what only one has is recorded, what both have is compared."""
    made_at(record("attention=none", "seed=0"), 20, "first", rank1=0.5, map=0.25)
    made_at(record("attention=none", "seed=1"), 20, "first", rank1=0.75, map=0.5)
    Path("runs").rename(tmp_path / "first")
    twice = made_at(record("attention=none", "seed=1"), 21, "second", rank1=0.8125, map=0.5)
    made_at(record("attention=none", "seed=2"), 21, "second", rank1=1.0, map=0.75)
    Path("runs").rename(tmp_path / "second")
    take(table, small_conf, f"paths.runs={tmp_path / 'first'}")
    with pytest.warns(UserWarning, match="commit"):
        (conflict,) = record_table(table, [f"paths.runs={tmp_path / 'second'}"], small_conf).conflicts
    assert f"run {twice.fingerprint}/1 " in conflict
    lines = take(table, small_conf, f"paths.runs={tmp_path / 'first'}")
    assert [(line["seed"], line["device"], line["overrides"]) for line in lines] == [
        (0, "first", []),
        (1, "first", []),
        (2, "second", []),
    ]


def test_a_run_of_other_data_replaces_no_record(record: Recorder, table: Table, small_conf: Path) -> None:
    def made_of(images: int) -> None:
        summary = {"data": {"train": {"images": images, "digest": f"sha256:{images}"}}}
        record("attention=none").write_result({"metrics": {"rank1": 0.5, "map": images / 10}, "inputs": summary})

    made_of(7)
    before = take(table, small_conf)
    made_of(8)
    (conflict,) = record_table(table, [], small_conf, replace=True).conflicts
    assert re.search(r"train has 8 images, it had 7.*table7\.jsonl:1", conflict)
    assert take(table, small_conf, "seed=1") == before
    made_of(7)
    assert take(table, small_conf) == before


def test_a_run_recorded_for_one_table_serves_the_others(record: Recorder, table: Table, small_conf: Path) -> None:
    record("attention=none", rank1=0.5, map=0.5)
    take(table, small_conf)
    shutil.copy(table.folder / "table7.yaml", table.folder / "table8.yaml")
    other = load("8", table.folder)
    shutil.rmtree("runs")
    assert values_of(fill(other, [], small_conf))["Baseline", "Market1501 rank-1"] == [(0, 50.0, True)]
    record("attention=none", rank1=0.5, map=0.5)
    take(other, small_conf)
    assert len(read_records(table.results)) == 1, "recorded twice"
    record("attention=none", rank1=0.75, map=0.5)
    (conflict,) = record_table(other, [], small_conf, replace=True).conflicts
    assert "rga record 7 --replace" in conflict, "it is the other table's record"


def test_a_record_that_no_row_has_is_stale(record: Recorder, table: Table, small_conf: Path) -> None:
    record("attention=none", rank1=0.5, map=0.5)
    run = record("attention=rga_s", rank1=0.9, map=0.9)
    take(table, small_conf)
    shutil.rmtree("runs")
    (small_conf / "attention" / "rga_s.yaml").write_text("block: {_target_: rga_s, more: 1}\nafter: [1, 2, 3, 4]\n")
    filled = fill(table, [], small_conf)
    assert [record.name for record in filled.stale] == [f"{run.fingerprint}/0"]
    assert {row for row, _ in values_of(filled)} == {"Baseline"}
    assert not fill(table, HOLDOUT, small_conf).stale, "recorded with other overrides"
    assert len(take(table, small_conf)) == 2, "a stale record is kept"


def test_lines_that_do_not_fit_are_named_and_left_out(record: Recorder, table: Table, small_conf: Path) -> None:
    for attention in ("none", "rga_s", "rga_c"):
        record(f"attention={attention}", rank1=0.5, map=0.5)
    good = take(table, small_conf)
    shutil.rmtree("runs")
    other_config = {**good[1], "config": {**good[1]["config"], "recipe": {"epochs": 1}}}
    no_metrics = {key: value for key, value in good[1].items() if key != "metrics"}
    bad = {
        "<<<<<<< HEAD": "Expecting value",
        '{"table": "7"': "",
        "[1]": "no record",
        json.dumps(no_metrics): "has no metrics",
        json.dumps({**good[1], "table": "6"}): "of table 6",
        json.dumps(other_config): "does not fit its config",
        json.dumps({**good[1], "seed": 5}): "does not fit its config",
        json.dumps({**good[1], "metrics": [1]}): "metrics is no dict",
        json.dumps(good[0]): "already",
    }
    lines = [json.dumps(good[0]), *bad, json.dumps(good[2])]
    path = table.results / "table7.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning) as told:  # noqa: PT030  (each message is looked at below)
        filled = fill(table, [], small_conf)
    messages = list(dict.fromkeys(str(warning.message) for warning in told))
    assert len(messages) == len(bad)
    for number, (message, reason) in enumerate(zip(messages, bad.values(), strict=True), 2):
        assert re.match(rf"{re.escape(str(path))}:{number} is left out: .*{reason}", message)
    assert [line.row.name for line in filled.lines if line.cells[1].n] == ["Baseline", "RGA-C"]


@pytest.mark.slow
def test_one_more_seed_runs_only_what_is_missing(
    record: Recorder, table: Table, small_conf: Path, fake_train: None
) -> None:
    for attention in ("none", "rga_s", "rga_c"):
        record(*HOLDOUT, f"attention={attention}", rank1=0.75, map=0.5)
    take(table, small_conf, *HOLDOUT)
    shutil.rmtree("runs")
    record(*HOLDOUT, "attention=rga_s", "seed=1", rank1=0.25, map=0.5)
    assert run_missing(fill(table, HOLDOUT, small_conf), [], lambda config: None, small_conf) == []
    assert len(find_results("runs")) == 1, "every row has a run, and no seed was asked for"
    asked = [*HOLDOUT, "seed=0,1"]
    assert run_missing(fill(table, asked, small_conf), [], lambda config: None, small_conf) == []
    made = [(result["seed"], "arguments" in result) for found in find_results("runs").values() for result in found]
    assert sorted(made) == [(1, False), (1, True), (1, True)]  # the fake tells its arguments
    filled = fill(table, asked, small_conf)
    assert not filled.missing()
    assert [cell.values for cell in filled.cells if cell.n and cell.metric == "rank-1"] == [
        [(0, 75.0), (1, 50.0)],
        [(0, 75.0), (1, 25.0)],
        [(0, 75.0), (1, 50.0)],
    ]
    GlobalHydra.instance().clear()


def test_synthetic_data_are_not_recorded(record: Recorder, table: Table, small_conf: Path) -> None:
    record("attention=none", "scale=demo", rank1=0.9, map=0.9)
    with pytest.raises(ConfigError, match="synthetic data"):
        record_table(table, ["scale=demo"], small_conf)
    assert not table.results.exists()


def test_the_command_needs_a_table_for_overrides_that_choose_runs() -> None:
    with pytest.raises(ConfigError, match=r"of which table. rga record N data=camvid"):
        record_words(["data=camvid"])
    with pytest.raises(ConfigError, match="there is no table 99"):
        record_words(["99", f"paths.runs={Path()}"])
    with pytest.raises(ConfigError, match=r"there is no folder of runs at .*nosuch"):
        record_words(["1", "paths.runs=nosuch"])


def test_seeds_of_different_data_leave_the_other_tables_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(table: Table, overrides: Sequence[str], **_: Any) -> Any:
        if table.name == "2":
            raise InputsError("runs were made of different inputs")
        return f"{table.name} is recorded", ()

    monkeypatch.setattr(rga.tables.recording, "record_table", lambda *words, **options: _Done(refuse(*words)))
    lines, conflicts = record_words(["1", "2", "3", f"paths.runs={tmp_path}"])
    assert lines == ["1 is recorded", "3 is recorded"]
    assert conflicts == [f"rga table 2 paths.runs={tmp_path}: nothing is recorded: runs were made of different inputs"]


def test_runs_that_lie_too_deep_are_a_conflict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rga.tables.recording, "record_table", lambda *words, **options: _Done(("nothing", ())))
    for number in range(2):
        folder = tmp_path / "machine1" / "runs" / "0123456789ab" / str(number)
        folder.mkdir(parents=True)
        (folder / "result.json").touch()
    torn = tmp_path / "0123456789ab" / "7" / "result.json"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"metrics": {"ra')
    with pytest.warns(UserWarning, match="is left out"):
        _, (conflict, of_torn) = record_words(["1", f"paths.runs={tmp_path}"])
    assert of_torn == f"{torn} is damaged or no result, so nothing is recorded of it"
    assert conflict.startswith(f"2 finished runs in {tmp_path / 'machine1' / 'runs'} are not recorded")
    assert conflict.endswith(f"paths.runs={tmp_path / 'machine1' / 'runs'} records them")


class _Done:
    def __init__(self, done: tuple[str, tuple[str, ...]]) -> None:
        self.line, self.conflicts = done

    def __str__(self) -> str:
        return self.line


@pytest.mark.parametrize(("commit", "message"), [(None, "not known"), ("0c030e0-dirty", "not committed")])
def test_an_unclean_commit_is_told(
    runs: Path, table: Table, small_conf: Path, commit: str | None, message: str
) -> None:
    from rga.runs.compose import compose

    run = Run(runs, compose(["attention=none"], conf=small_conf))
    run.write_result({"metrics": {"rank1": 0.5, "map": 0.5}, "commit": commit})
    with pytest.warns(UserWarning, match=f"{run.fingerprint}/0 is recorded, but .*{message}"):
        record_table(table, [], small_conf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record_table(table, [], small_conf)  # told once, when it is new
    assert read_records(table.results)[0].result["commit"] == commit


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("overrides", ["hydra.searchpath=[pkg://theirs]"], "is no override of a table"),
        ("overrides", ["+hydra/launcher=theirs"], "is no override of a table"),
        ("overrides", ["data.name=${oc.env:HOME}"], "is no override of a table"),
        ("overrides", ["attention.block._target_=os.system"], "is no override of a table"),
        ("overrides", ["data=../../theirs"], "is no override of a table"),
        ("overrides", ["scale=small`<img src=x>"], "is no override of a table"),
        ("overrides", [7], "is no override of a table"),
        ("device", "\x1b[2J", "characters that are not seen"),
        ("metrics", {"map": "much"}, "something else than finite numbers"),
        ("metrics", {"map": 57.3}, "its map is 57.3: metrics are fractions"),
        ("metrics", {"rank1": -0.5}, "its rank1 is -0.5: metrics are fractions"),
        ("config", {"attention": {"block": {"_target_": "x"}, "after": 5}}, ""),
    ],
)
def test_what_somebody_sent_is_left_out(
    table: Table, record: Recorder, small_conf: Path, key: str, value: Any, said: str
) -> None:
    record("task=reid", "attention=rga_s", "data=market1501_holdout", "scale=small", rank1=0.5, map=0.25)
    take(table, small_conf, *HOLDOUT)
    path = table.results / "table7.jsonl"
    (line,) = map(json.loads, path.read_text().splitlines())
    assert len(read_records(table.results)) == 1
    path.write_text(json.dumps({**line, key: value}) + "\n")
    with pytest.warns(UserWarning, match=f"table7.jsonl:1 is left out: .*{said}"):
        assert read_records(table.results) == ()


def test_few_points_of_a_curve_keep_the_gates() -> None:
    """Ten times as many numbers as the rest: of 600 epochs 200 points are kept, and of these 21 have the gates."""
    curve = [{"epoch": epoch, "loss": 1.0, "gates/layer1/spatial/mean": 0.5} for epoch in range(1, 601)]
    kept = thinned(curve)
    assert len(kept) == 200
    assert all("loss" in entry for entry in kept)
    gates = [entry["epoch"] for entry in kept if "gates/layer1/spatial/mean" in entry]
    assert len(gates) == 21
    assert (gates[0], gates[-1]) == (1, 600)


def test_a_file_is_no_folder_of_runs(table: Table, small_conf: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(ConfigError, match="notes is a file"):
        fill(table, [f"paths.runs={tmp_path / 'notes'}"], small_conf)
