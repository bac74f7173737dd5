"""RESULTS.md, its images and the README's table: what is committed is what the recorded runs say."""

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from rga.errors import ConfigError
from rga.paths import EXPERIMENTS
from rga.runs import Run
from rga.tables import load
from rga.tables.curves import Curve, digest, draw
from rga.tables.html_page import _columns, _spread
from rga.tables.pages import BEGIN, CURVES, END, SHOWN, images, page, recorded_tables, report, with_summary
from rga.tables.recorded import RESULTS
from rga.tables.recording import record_table

ROOT = EXPERIMENTS.parent
SEVEN = BEGIN.format("7")
HOLDOUT = ("data=market1501_holdout", "backbone=tiny")
AGAIN = "run `rga report` and commit what it writes"
Recorder = Callable[..., Run]


@pytest.mark.slow
def test_what_is_committed_is_what_the_command_writes(cache: Path) -> None:
    tables = recorded_tables(EXPERIMENTS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == page(tables, ROOT / SHOWN), AGAIN
    assert readme == with_summary(readme, tables), AGAIN
    # Another version of matplotlib draws other bytes; what is drawn is named in the image.
    committed = {
        path.name: re.findall("<dc:identifier>(.*)</dc:identifier>", path.read_text(encoding="utf-8"))
        for path in (ROOT / CURVES).glob("*.svg")
    }
    assert committed == {name: [digest(panels)] for name, (panels, _) in images(tables).items()}, AGAIN


def test_what_is_committed_tells_of_no_machines_folders() -> None:
    for path in RESULTS.glob("*.jsonl"):
        text = re.sub(r'"queries": \{[^}]*\}', "", path.read_text(encoding="utf-8"))  # base64 may begin with a slash
        assert not re.findall(r'"(?:/|~|[A-Za-z]:\\\\)[^"]*"', text), path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with Table 7 (tests/tables/table7.yaml) and nothing recorded."""
    root = tmp_path / "checkout"
    (root / "experiments").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "table7.yaml", root / "experiments")
    (root / "README.md").write_text(f"before\n{SEVEN}\nold\n{END}\nafter\n")
    return root


def record_all(checkout: Path, conf: Path, *overrides: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*commit")
        record_table(load("7", checkout / "experiments"), overrides, conf)


def texts(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_without_records_the_page_says_so(checkout: Path, small_conf: Path) -> None:
    assert {path.name for path in report(checkout, small_conf)} == {"RESULTS.md", "README.md"}
    assert "No runs are recorded yet." in (checkout / "RESULTS.md").read_text()
    assert (checkout / "README.md").read_text() == f"before\n{SEVEN}\n\nNo runs are recorded yet.\n\n{END}\nafter\n"


@pytest.fixture
def reported(runs: Path, record: Recorder, checkout: Path, small_conf: Path) -> Path:
    """Two settings of Table 7 recorded, and a run that is not; the page is written."""
    curve = [{"epoch": 1.0, "loss": 2.0, "val/map": 0.25}, {"epoch": 600.0, "loss": 1.5, "val/map": 0.5}]
    rest = {"curve": curve, "parameters": 2_500_000, "duration_s": 1800.0, "device": "1 x Abacus"}
    rest |= {"data": {"name": "mine", "train": {"identities": 7, "images": 90}}, "versions": {"torch": "2.15.0"}}
    for asked in ((), HOLDOUT):
        for attention, seed, rank1 in (("none", 0, 0.7), ("none", 1, 0.8), ("rga_s", 0, 0.9)):
            run = record(*asked, f"attention={attention}", f"seed={seed}")
            commit = f"{'0123456789' * 4}{'-dirty' if seed else ''}"
            run.write_result({"metrics": {"rank1": rank1, "map": rank1 / 2}, "commit": commit, **rest})
        record_all(checkout, small_conf, *asked)
    record("attention=rga_c", rank1=0.123, map=0.123)
    report(checkout, small_conf)
    return checkout


def test_the_page_has_what_is_recorded_with_its_origin(reported: Path) -> None:
    first, second = (reported / "RESULTS.md").read_text().split("\n## ")[1:]
    assert first.startswith("Table 7: a made-up table, 100 % test & no result\n")
    assert second.startswith("Table 7: a made-up table, 100 % test & no result (here: market1501_holdout, tiny)\n")
    assert "- ours: data market1501, network resnet50, scale paper\n" in first
    assert "- ours: data market1501_holdout, network tiny, 600 epochs at 256 x 128, from scratch\n" in second
    assert "| Ours | Baseline | – | – | 70.0 | 75.0 ± 7.1 (2) | +5.0 | 50.0 | 37.5 ± 3.5 (2) | -12.5 |" in first  # noqa: RUF001
    assert "| Ours | Baseline | – | – | 70.0 | – | 50.0 | – | 75.0 ± 7.1 (2) | 37.5 ± 3.5 (2) |" in second  # noqa: RUF001
    for section in (first, second):
        assert "- data: mine (train: 7 identities, 90 images)\n- " in section
        assert "- software: torch 2.15.0\n- runs: 3, 1 h 30 min\n" in section
        where = "| 0, 1 | 2.500 | 1 h 00 min | 1 x Abacus | 0123456789; 0123456789 with changes |"
        assert re.search(r"\| Baseline \| [0-9a-f]{12} " + re.escape(where), section)
        assert "12.3" not in section, "that run is not recorded"


def test_the_page_shows_pictures_that_exist(reported: Path) -> None:
    linked = re.findall(r"!\[.*\]\((.*)\)", (reported / "RESULTS.md").read_text())
    assert linked == [
        "experiments/results/curves/table7-market1501.svg",
        "experiments/results/curves/table7-market1501_holdout-tiny.svg",
    ]
    for name in linked:
        svg = (reported / name).read_text()
        for text in ("training loss", "mAP (%) while training", "Baseline", "RGA-S"):
            assert f">{text}</text>" in svg
        assert svg.count("RGA-S<") == 1
        assert ">rank-1 (%) while training<" not in svg


def test_the_readme_has_the_columns_with_numbers(reported: Path) -> None:
    readme = (reported / "README.md").read_text()
    assert readme.startswith(f"before\n{SEVEN}\n\n|  |  | ")
    assert readme.endswith(f"\n{END}\nafter\n")
    assert "| Ours | Baseline | 75.0 ± 7.1 (2) | 37.5 ± 3.5 (2) |" in readme
    assert "\n\nTable 7: a made-up table, 100 % test & no result (here: market1501_holdout, tiny). ours: data" in readme
    assert "CUHK03" not in readme


def test_the_readme_has_the_table_that_it_names(reported: Path, small_conf: Path) -> None:
    readme = reported / "README.md"
    readme.write_text(readme.read_text().replace(SEVEN, BEGIN.format("other")))
    report(reported, small_conf)
    assert readme.read_text() == f"before\n{BEGIN.format('other')}\n\nNo runs are recorded yet.\n\n{END}\nafter\n"


def test_writing_again_changes_nothing_and_old_pictures_go(reported: Path, small_conf: Path) -> None:
    before = texts(reported)
    (reported / CURVES / "table9.svg").write_text("of runs that are not recorded any more")
    shutil.rmtree("runs")
    report(reported, small_conf)
    assert texts(reported) == before


def test_what_is_stale_is_listed_and_not_shown(reported: Path, small_conf: Path) -> None:
    (small_conf / "attention" / "rga_s.yaml").write_text("block: {_target_: rga_s, more: 1}\nafter: [1, 2, 3, 4]\n")
    report(reported, small_conf)
    written = (reported / "RESULTS.md").read_text()
    assert written.count("stale: 1 recorded run is of no row any more and not shown: ") == 2
    assert "90.0" not in written


def test_a_picture_is_the_same_each_time_and_named_by_its_points() -> None:
    panels = {"training loss": [Curve("a", 0, ((1.0, 2.0), (2.0, 1.0))), Curve("b", 0, ((1.0, 3.0),))]}
    other = {"training loss": [Curve("a", 0, ((1.0, 2.0), (2.0, 1.5))), panels["training loss"][1]]}
    svg = draw(panels, ["a", "b"])
    assert svg == draw(panels, ["a", "b"])
    assert digest(panels) in svg
    assert digest(panels) != digest(other)


def test_no_checkout_and_no_place_in_the_readme_are_told(checkout: Path, small_conf: Path) -> None:
    (checkout / "README.md").write_text("nothing")
    with pytest.raises(ConfigError, match="README lacks the lines"):
        report(checkout, small_conf)
    (checkout / "README.md").unlink()
    with pytest.raises(ConfigError, match="checkout of the sources"):
        report(checkout, small_conf)
    assert not (checkout / "RESULTS.md").exists()


def test_what_somebody_sent_is_no_markup(runs: Path, record: Recorder, checkout: Path, small_conf: Path) -> None:
    run = record("attention=none")
    theirs = {
        "device": "<script>alert(1)</script> | [here](https://example.org)",
        "commit": "`rm -rf`",
        "data": {"name": "<img src=x>", "![x](y)": {"&lt;images": 90}},
        "versions": {"torch": "![x](y)"},
        "finished_at": "<b>2026",
    }
    run.write_result({"metrics": {"rank1": 0.5, "map": 0.5}, **theirs})
    record_all(checkout, small_conf)
    report(checkout, small_conf)
    told = (checkout / "RESULTS.md").read_text()
    assert "1 x &lt;script>" not in told
    assert r"&lt;script>alert(1)&lt;/script> \| [here]&#40;https" in told
    assert not re.search(r"<(script|img|b)\b", told)
    assert "![x]&#40;y)" in told
    assert "![x](" not in told
    assert "&amp;lt;images" in told
    assert "`rm" not in told


@pytest.mark.slow
def test_columns_of_one_data_set_have_images_of_their_own(cache: Path) -> None:
    (filled,) = (table for table in recorded_tables(EXPERIMENTS) if table.table.name == "identities")
    with_runs = {cell.column.name for cell in filled.cells if cell.n}
    assert len(images([filled])) == len(with_runs) > 1


@pytest.mark.parametrize("epochs", [0, 1, 120, 121, 600])
def test_the_page_plots_a_curve_to_its_end(epochs: int) -> None:
    curve = [{"epoch": float(epoch + 1), "lr": 0.1, "val/map": 0.123456789} for epoch in range(epochs)]
    plotted = _columns(_spread(curve))
    assert len(plotted["rows"]) <= 120
    assert plotted["names"] == (["epoch", "val/map"] if epochs else [])
    assert plotted["rows"][-1:] == ([[float(epochs), 0.12346]] if epochs else [])
