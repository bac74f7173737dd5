"""The tables hold the paper's rows and numbers, all of them and nothing else: against a copy of its seven tables."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from rga.cli.app import app

pytestmark = pytest.mark.slow

PAPER: dict[str, dict[str, list[Any]]] = yaml.safe_load(
    (Path(__file__).parents[1] / "fixtures" / "paper_tables.yaml").read_text(encoding="utf-8")
)
REID = ("rank-1", "mAP")
COLUMNS = {
    **{name: [(data, metric) for data in ("CUHK03 (L)", "Market1501") for metric in REID] for name in "123"},
    "4": [(data, metric) for data in ("CUHK03 (L)", "CUHK03 (D)", "Market1501", "DukeMTMC-reID") for metric in REID],
    "5": [("MSMT17", metric) for metric in REID],
    "6": [("Cityscapes", "mIoU (train)"), ("Cityscapes", "mIoU (val)")],
    "7": [("CIFAR-10", "error"), ("CIFAR-100", "error")],
}
COUNTS = {"1": 10, "2": 11, "3": 4, "4": 15, "5": 5, "6": 6, "7": 9}
GROUPS = {
    "1": [("Baseline", 1), ("Spatial", 3), ("Channel", 3), ("Both", 3)],
    "2": [("Baseline", 1), ("Spatial", 3), ("Channel", 4), ("Both", 3)],
    "4": [("Basic-CNN (ResNet-50)", 2), ("Attention-based", 7), ("Others", 4), ("Ours", 2)],
}
LITERATURE = {"4": 13, "5": 3}  # rows; they come first


@pytest.fixture(params=COUNTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows that `rga table N --format json` prints where there are no runs."""
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(app, ["table", name, "--format", "json"])
    assert printed.exit_code == 0, printed.output
    content = json.loads(printed.stdout)
    assert content.keys() == {"table", "rows"}
    assert content["table"] == int(name)
    return list(content["rows"])


def test_every_cell_is_the_papers_and_there_is_nothing_else(name: str, table: list[dict[str, Any]]) -> None:
    paper = PAPER[f"table{name}"]
    assert len(paper) == COUNTS[name]
    assert [row["name"] for row in table] == list(paper)
    for row, printed in zip(table, paper.values(), strict=True):
        assert [(cell["column"], cell["metric"]) for cell in row["cells"]] == COLUMNS[name]
        about = [row["about"]["depth"], row["about"]["params (paper)"]] if name == "7" else []
        assert [*about, *(cell["paper"] for cell in row["cells"])] == [
            *map(str, printed[: len(about)]),
            *printed[len(about) :],
        ]


def test_the_groups_are_the_papers(name: str, table: list[dict[str, Any]]) -> None:
    groups = [(group, len(list(rows))) for group, rows in groupby(row["group"] for row in table)]
    assert groups == GROUPS.get(name, [(None, COUNTS[name])])


def test_what_the_paper_takes_from_others_is_literature(name: str, table: list[dict[str, Any]]) -> None:
    literature = LITERATURE.get(name, 0)
    assert [row["literature"] for row in table] == literature * [True] + (COUNTS[name] - literature) * [False]


@pytest.mark.parametrize("format", ["text", "md", "latex"])
def test_numbers_are_printed_as_the_paper_prints_them(format: str, cache: Path) -> None:
    def printed(name: str) -> str:
        return CliRunner().invoke(app, ["table", name, "--format", format]).stdout

    dash = "--" if format == "latex" else "\N{EN DASH}"
    (ide,) = [line for line in printed("4").splitlines() if "IDE (ECCV18)" in line]
    assert ide.count(dash) == 2, "CUHK03 (D) has none"
    assert "Basic-CNN (ResNet-50)" in ide
    seven = printed("7")
    assert all(number in seven for number in ("110+4", "3.0M", "6.40", "20.50", "0.97M"))
    for name in COUNTS:
        assert "?" not in printed(name)
        assert f"arXiv:1904.02998v1, Table {name}" in printed(name)
