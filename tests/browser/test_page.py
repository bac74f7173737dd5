"""The page of `rga report --html` in a real browser."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rga.bench.flops_of_rows import flops_of_rows
from rga.errors import ConfigError
from rga.tables import FilledTable, fill, load
from rga.tables.formats import as_json
from rga.tables.html_page import tables_of, write_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LOCAL = ("file:", "data:")


RUN = "document.title='run'"
HOSTILE = f'</script><script>{RUN}</script><img src=x onerror="{RUN}"> & \\u003c {{{{data}}}} \u202e'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: make browser")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, page: Path, width: int = 1280) -> Iterator[Any]:
    """The page, which has to say nothing on the console and to ask for nothing."""
    tab = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    tab.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if not request.url.startswith(LOCAL) else None)
    tab.goto(page.as_uri())
    yield tab
    tab.close()
    assert problems == []


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    tables = tables_of([])
    out = write_page(tmp_path_factory.mktemp("page") / "report.html", tables, flops_of_rows(tables))
    assert out.stat().st_size < 3_000_000
    with opened(browser, out) as tab:
        yield tab


def test_its_numbers_are_those_of_the_table(page: Any) -> None:
    told = json.loads(page.locator("#data").text_content())
    (zoo,) = (table for table in told["tables"] if table["table"] == "zoo" and "small" in table["heading"])
    filled = fill(load("zoo"), ("scale=small", "scale.zero_init_last=false"))
    for row, own in zip(zoo["rows"], json.loads(as_json(filled))["rows"], strict=True):
        assert row["name"] == own["name"]
        for cell, theirs in zip(row["cells"], own["cells"], strict=True):
            assert {key: cell[key] for key in theirs} == theirs


def test_a_column_sorts_both_ways(page: Any) -> None:
    (place,) = page.locator("section", has_text="Gate initialisation").all()
    for order in (1, -1):
        place.locator("thead button").nth(1).click()
        numbers = [
            float(text.split()[0].rstrip("†")) for text in place.locator("td:nth-child(2) button").all_inner_texts()
        ]
        assert len(numbers) == 10
        assert numbers == sorted(numbers)[::order]


def test_a_cell_opens_its_runs_and_escape_closes_it(page: Any) -> None:
    (place,) = page.locator("section", has_text="Gate initialisation").all()
    place.locator("td button").first.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert "rga train" in dialog.inner_text()
    assert dialog.locator(".js-plotly-plot").count() >= 2
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def gate_init(page: Any) -> Any:
    (place,) = page.locator("section", has_text="Gate initialisation").all()
    return place


def row_of(page: Any, name: str) -> Any:
    return gate_init(page).locator("tr").filter(has=page.get_by_role("cell", name=name, exact=True))


def test_a_cell_says_what_is_set_otherwise_than_in_the_baseline(page: Any) -> None:
    row_of(page, "RGA-SC, zero-init gate, lr x 10").locator("button").first.click()
    told = page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    assert "Set otherwise than in Baseline" in told
    assert "\ntask.attention_lr\t10\tnot set\n" in told
    assert "against Baseline: " in told
    assert "paths." not in told


def test_differences_to_the_baseline_stand_in_the_cells(page: Any) -> None:
    filled = next(table for table in tables_of(["gate_init"]) if table.table.name == "gate_init")
    assert filled.against is not None
    difference = filled.against.differences["RGA-SC, zero-init gate", "Market-1501 holdout", "rank-1"]
    assert f"{difference.value:+.1f} [" in row_of(page, "RGA-SC, zero-init gate").inner_text()


def test_cost_has_two_axes(page: Any) -> None:
    (place,) = page.locator("section", has_text="Accuracy against cost").all()
    for name in ("GFLOP of a forward", "parameters (M)"):
        place.get_by_role("button", name=name).click()
        assert place.locator(".xtitle").text_content() == name
    told = json.loads(page.locator("#data").text_content())
    rows = [row for table in told["tables"] if table["table"] == "zoo" for row in table["rows"] if row["flops"]]
    assert rows
    assert all(row["flops"] > 1e7 for row in rows)


def test_what_is_missing_says_what_it_would_cost(page: Any) -> None:
    told = json.loads(page.locator("#data").text_content())
    times = [cells[3] for table in told["tables"] for cells in table["missing"]]
    assert any(text.startswith("about ") for text in times)
    assert "unknown" in times, "of Table 1 with the paper's recipe nothing has run"


def test_a_phone_scrolls_tables_and_not_the_page(browser: Any, tmp_path: Path) -> None:
    tables = tables_of(["gate_init", "zoo"])
    with opened(browser, write_page(tmp_path / "report.html", tables), width=375) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 375
        assert tab.locator(".wide").first.evaluate("place => place.scrollWidth > place.clientWidth")


def test_texts_of_anybodys_are_texts(browser: Any, tmp_path: Path) -> None:
    out = write_page(tmp_path / "report.html", [hostile(tables_of(["gate_init"])[0])])
    with opened(browser, out) as tab:
        assert tab.title() == "rga: results"
        tab.locator("td button").first.click()
        assert tab.title() == "rga: results"
        told = tab.locator("dialog").inner_text()
        assert "onerror" in told
        assert "<script>" in told
        assert tab.locator("img").count() == 0
        assert tab.locator("script").count() == 3


def test_no_other_script_would_run(browser: Any, tmp_path: Path) -> None:
    out = write_page(tmp_path / "report.html", tables_of(["gate_init"])[:1])
    tab = browser.new_page()
    refused: list[str] = []
    tab.on("console", lambda said: refused.append(said.text))
    tab.goto(out.as_uri())
    tab.evaluate(
        """() => { const script = document.createElement("script"); script.textContent = "window.ran = true";
        document.body.append(script); }"""
    )
    assert tab.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in refused)
    tab.close()


def test_figure_3_is_embedded(browser: Any, tmp_path: Path) -> None:
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    (tmp_path / "figure3.png").write_bytes(base64.b64decode(dot))
    tables = tables_of(["gate_init"])[:1]
    out = write_page(tmp_path / "report.html", tables, figure3=tmp_path / "figure3.png")
    with opened(browser, out) as tab:
        assert tab.locator("#figure3 img").evaluate("image => image.naturalWidth") == 1
    with opened(browser, write_page(out, tables)) as tab:
        assert "rga figure 3 --out figure3.png" in tab.locator("#figure3").inner_text()
    with pytest.raises(ConfigError, match="expected a file that rga figure 3"):
        write_page(out, tables, figure3=tmp_path / "none.png")


def hostile(filled: FilledTable) -> FilledTable:
    """A table all of whose texts are somebody's attack."""
    lines = []
    for line in filled.lines:
        cells = []
        for cell in line.cells:
            assert cell.entry is not None
            results = tuple({**found, "device": HOSTILE, "commit": HOSTILE} for found in cell.entry.results)
            cells.append(replace(cell, entry=replace(cell.entry, results=results, overrides=(HOSTILE,))))
        row = replace(line.row, name=HOSTILE + line.row.name, note=HOSTILE, group=HOSTILE)
        lines.append(replace(line, row=row, cells=tuple(cells)))
    table = replace(filled.table, title=HOSTILE, baseline=HOSTILE + "Baseline")
    return replace(filled, table=table, lines=tuple(lines), against=None)
