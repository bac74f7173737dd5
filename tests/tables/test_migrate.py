"""Runs with names of older rules get the present ones: the same numbers, none lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from rga.paths import EXPERIMENTS
from rga.runs import RESULT, fingerprint
from rga.runs.compose import compose
from rga.runs.identity import VERSION
from rga.tables.migrate import migrate
from rga.tables.recorded import read_records


def old(seed: int = 0) -> dict[str, Any]:
    """A result of version 1: statistics of each process, on all the devices there were, which was one."""
    config = compose(["experiment=reid", "scale=small", "attention=none", f"seed={seed}"])
    config["trainer"] |= {"devices": "auto", "sync_batchnorm": False}
    config["scale"] = {"name": "paper"}
    return {
        "fingerprint": "0123456789ab",
        "seed": seed,
        "metrics": {"rank1": 0.5, "map": 0.4},
        "config": config,
        "device": "1 x CPU",
    }


def test_local_runs_are_moved(cache: Path, tmp_path: Path) -> None:
    before = old()
    path = tmp_path / "0123456789ab" / "0" / RESULT
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(before))
    (path.parent / "last.ckpt").write_text("weights")
    expected = fingerprint(compose(["experiment=reid", "scale=small", "attention=none"]))
    for _ in range(2):  # the second time there is nothing to do
        migrate(tmp_path / "none", tmp_path)
        folder = tmp_path / expected / "0"
        assert (folder / "last.ckpt").read_text() == "weights"
        after = json.loads((folder / RESULT).read_text())
        assert (after["version"], after["fingerprint"], after["metrics"]) == (VERSION, expected, before["metrics"])
        assert not (tmp_path / "0123456789ab").exists()


@pytest.mark.slow
def test_records_are_renamed_and_shown_by_the_present_overrides(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "table1.yaml").write_text((EXPERIMENTS / "table1.yaml").read_text())
    results = tmp_path / "results"
    results.mkdir()
    rest: dict[str, Any] = {
        "data": None,
        "parameters": 1,
        "duration_s": 1.0,
        "commit": None,
        "finished_at": "",
        "versions": {},
        "curve": [],
    }
    line = {
        "table": "1",
        "overrides": ["data=market1501_holdout", "backbone=mobilenetv2"],
        **old(),
        **rest,
        "curve": [],
    }
    (results / "table1.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.warns(UserWarning, match="rga record --migrate"):
        assert read_records(results) == ()
    migrate(results, tmp_path / "runs")
    (record,) = read_records(results)
    assert record.overrides == ("scale=small", "scale.zero_init_last=false")
    assert record.result["metrics"] == {"rank1": 0.5, "map": 0.4}
    assert record.run == (fingerprint(compose(["experiment=reid", "scale=small", "attention=none"])), 0)


def test_a_seed_leads_nowhere_else(cache: Path, tmp_path: Path) -> None:
    """A run that somebody sent is not moved to where its seed says."""
    path = tmp_path / "runs" / "0123456789ab" / "0" / RESULT
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**old(), "seed": "../../../elsewhere"}))
    (line,) = migrate(tmp_path / "none", tmp_path / "runs")
    assert "left as it is: its seed is '../../../elsewhere'" in line
    assert path.exists()
    assert not (tmp_path / "elsewhere").exists()
