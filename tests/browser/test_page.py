"""The page of `rga report --html` in a real browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rga.tables import fill, load
from rga.tables.formats import as_json
from rga.tables.html_page import write_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: make browser")
    out = write_page(tmp_path_factory.mktemp("page") / "report.html")
    assert out.stat().st_size < 3_000_000
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
        problems: list[str] = []
        opened.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.goto(Path(out).as_uri())
        yield opened
        browser.close()
        assert problems == []


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
