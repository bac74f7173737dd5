"""Views of tables: wandb-workspaces takes what is specified, and a service is sent just that."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rga.tables.dashboard
from rga.tables import fill, load
from rga.tables.dashboard import report_of, run_of_table, send, specification, title_of, workspace_of
from rga.tables.log_table import COLUMNS, rows_of
from tables.wandb_stub import service
from training.wandb_file import read


@pytest.fixture(scope="module")
def specified() -> dict[str, Any]:
    return specification(fill(load("1")), "me", "rga")


def test_the_library_reads_what_is_specified() -> None:
    """From the models that are sent back to the objects: nothing is lost."""
    from wandb_workspaces.reports import v2
    from wandb_workspaces.workspaces import Workspace

    filled = fill(load("1"))
    workspace, report = workspace_of(filled, "me", "rga"), report_of(filled, "me", "rga")
    again = Workspace._from_model(workspace._to_model())
    assert [section.name for section in again.sections] == [section.name for section in workspace.sections]
    assert [len(section.panels) for section in again.sections] == [
        len(section.panels) for section in workspace.sections
    ]
    blocks = v2.Report._from_model(report._to_model()).blocks
    assert [type(block) for block in blocks] == [type(block) for block in report.blocks]


def test_what_it_shows(specified: dict[str, Any]) -> None:
    text = json.dumps(specified["workspace"])
    for wanted in ("rank1", "epoch/loss", "gates/.*/spatial/mean", "parameters", "flops", "stddev", "fingerprint"):
        assert wanted in text
    report = json.dumps(specified["report"])
    assert "market1501" in report
    assert "RGA-SC" in report


def names_in(part: Any) -> set[str]:
    """The fingerprints by which runs are chosen in a part of a specification."""
    return set(re.findall(r"[0-9a-f]{12}", json.dumps(part)))


@pytest.mark.parametrize(("name", "overrides"), [("1", []), ("1", ["scale=demo"]), ("identities", [])])
def test_each_view_is_of_the_runs_that_fill_it(name: str, overrides: list[str]) -> None:
    """Neither other scales, nor other columns of the same data, come into a view."""
    filled = fill(load(name), overrides)
    found = specification(filled, "me", "rga")
    assert names_in(found["workspace"]["spec"]) == {entry.fingerprint for entry in filled.entries}
    grids = [block for block in found["report"]["blocks"] if block["type"] == "panel-grid"]
    columns = [column for column in filled.columns if column.data is not None]
    for column, grid in zip(columns, grids[1:], strict=True):
        own = {cell.entry.fingerprint for cell in filled.cells if cell.entry and cell.column == column}
        assert names_in(grid["metadata"]["runSets"]) == own
    assert len(grids) == 1 + len(columns)


def test_each_setting_has_views_and_a_run_of_its_own() -> None:
    paper, demo = fill(load("1")), fill(load("1"), ["scale=demo", "paths.runs=mine"])
    assert [run_of_table(filled) for filled in (paper, demo)] == ["table-1", "table-1-scale-demo"]
    assert title_of(demo).endswith(" (here: demo)")
    assert len(title_of(demo)) <= 128
    assert run_of_table(demo) in json.dumps(specification(demo, "me", "rga")["report"])


def test_panels_of_the_report_do_not_cover_each_other(specified: dict[str, Any]) -> None:
    grids = [block for block in specified["report"]["blocks"] if block["type"] == "panel-grid"]
    for grid in grids:
        panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels]
        assert len(set(places)) == len(places)


def test_rows_are_those_of_the_table() -> None:
    filled = fill(load("1"))
    rows = rows_of(filled)
    assert len(rows) == len(filled.cells)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert [row[COLUMNS.index("paper")] for row in rows] == [cell.paper for cell in filled.cells]


def command(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "WANDB_MODE": "offline", "NETRC": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    env.pop("WANDB_API_KEY", None)
    env |= environment
    line = [sys.executable, "-m", "rga", *words]
    return subprocess.run(line, capture_output=True, text=True, env=env, cwd=tmp_path)


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    done = command(tmp_path, "dashboard", "1", "--dry-run")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["table"] == "1"
    done = command(tmp_path, "dashboard", "1", "2")
    assert done.returncode == 0, done.stderr
    assert "wandb login" in done.stdout
    assert [each["table"] for each in json.loads((tmp_path / "dashboard.json").read_text())] == ["1", "2"]

    done = command(tmp_path, "table", "1", "--log", "wandb")
    assert done.returncode == 0, done.stderr
    assert "wandb sync" in done.stderr
    (file,) = tmp_path.glob("runs/tables/wandb/offline-run-*/*.wandb")
    run = read(file)
    assert run.run.run_id == "table-1"
    (logged,) = tmp_path.glob("runs/tables/wandb/offline-run-*/files/media/table/*.table.json")
    assert json.loads(logged.read_text())["columns"] == list(COLUMNS)


@pytest.mark.slow
def test_renewed_not_made_twice(tmp_path: Path) -> None:
    """A stub of the service holds one workspace and one report of each table, however often they are sent."""
    with service() as stub:
        account = {"WANDB_BASE_URL": stub.address, "WANDB_API_KEY": 40 * "0", "WANDB_MODE": "online"}
        for times in (1, 2):
            done = command(tmp_path, "dashboard", "1", "zoo", "paths.runs=mine", "--entity", "me", **account)
            assert done.returncode == 0, done.stderr
            assert len(stub.views) == 4
            assert stub.saved == 4 * times
    assert (tmp_path / "mine/dashboards.json").exists()
    assert not (tmp_path / "runs").exists()
    kinds = [view["type"] for view in stub.views.values()]
    assert sorted(kinds) == ["project-view", "project-view", "runs", "runs"]
    names = {view["displayName"].partition(":")[0] for view in stub.views.values()}
    assert names == {"Table 1", "Zoo"}
    assert all("rank1" in view["spec"] for view in stub.views.values())


def test_a_workspace_is_remembered_when_the_report_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class View:
        def __init__(self, url: str, works: bool) -> None:
            self.url, self.works = url, works

        def save(self) -> None:
            if not self.works:
                raise ConnectionError("the service is gone")

    monkeypatch.setattr(rga.tables.dashboard, "workspace_of", lambda *_: View("https://wandb.ai/me/rga/w", works=True))
    monkeypatch.setattr(rga.tables.dashboard, "report_of", lambda *_: View("https://wandb.ai/me/rga/r", works=False))
    with pytest.raises(ConnectionError):
        send(fill(load("1")), "me", "rga", tmp_path)
    kept = json.loads((tmp_path / "dashboards.json").read_text())
    assert kept == {"me/rga/table 1": {"workspace": "https://wandb.ai/me/rga/w"}}
