import shutil
from pathlib import Path

import pytest

from rga.data import check
from rga.data.reid import market1501
from rga.errors import DataError


@pytest.fixture
def copy(market: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(market, tmp_path / "copy"))


def test_a_sound_set(market: Path) -> None:
    report = check("market1501", market)
    assert report.ok, str(report)
    assert [row.part for row in report.rows] == list(market1501.PUBLISHED)
    assert "all is well" in str(report)


def test_published_counts() -> None:
    """12,936 + 3,368 + 19,732 images, as the data set's page says; 15,913 of the last are evaluated."""
    images = {part: counts[0] for part, counts in market1501.PUBLISHED.items()}
    assert images["gallery"] + images["distractors"] + images["junk"] == 19_732
    assert images["gallery"] + images["distractors"] == 15_913


def test_counts_are_compared_with_the_published_ones(copy: Path) -> None:
    (copy / "demo.json").unlink()
    report = check("market1501", copy)
    assert not report.ok
    assert "!= 12,936" in str(report)
    assert "published" in str(report)


def test_finds_what_is_wrong(copy: Path) -> None:
    victims = sorted((copy / "bounding_box_test").glob("00*.jpg"))
    victims[0].write_bytes(victims[0].read_bytes()[:500])
    victims[1].write_bytes(b"")
    victims[2].rename(victims[2].with_name("renamed.jpg"))
    report = check("market1501", copy)
    text = str(report)
    assert not report.ok
    assert victims[0].name in text
    assert victims[1].name in text
    assert "renamed.jpg" in text
    assert "not all is well" in text


def test_a_missing_set_is_reported(tmp_path: Path) -> None:
    report = check("market1501", tmp_path)
    assert not report.ok
    assert "bounding_box_train" in str(report)


@pytest.mark.parametrize("name", ["market", "store", "os.path"])
def test_an_unknown_reader(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no reader"):
        check(name, tmp_path)
