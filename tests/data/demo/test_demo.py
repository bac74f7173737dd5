from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rga.data.base import cameras, identities
from rga.data.demo import writers
from rga.data.reid import market1501
from rga.errors import DataError

SMALL = {"identities": 3, "test_identities": 2, "images": 2, "distractors": 2, "junk": 1}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_real_reader_reads_it(market: Path) -> None:
    split = market1501.read(market)
    assert identities(split.train) == list(range(1, 10))
    assert identities(split.query) == list(range(10, 14))
    assert identities(split.gallery) == [0, *range(10, 14)]
    assert cameras(split.train) == [1, 2, 3, 4, 5, 6]
    assert {Image.open(sample.path).size for sample in split.train} == {(64, 128)}
    # every query has an answer in another camera
    for query in split.query:
        assert any(s.identity == query.identity and s.camera != query.camera for s in split.gallery + split.query)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    one, two, other = (writers.write_market1501(tmp_path / str(n), seed=n // 2, **SMALL) for n in range(3))
    assert contents(one) == contents(two)
    assert contents(one) != contents(other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]  # nothing is left behind


def test_pictures_differ(market: Path) -> None:
    images = [np.asarray(Image.open(s.path), float) for s in market1501.read(market).train[:20]]
    assert min(abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]) > 3


def test_a_finished_set_is_left_alone_and_another_is_replaced(tmp_path: Path) -> None:
    root = writers.write_market1501(tmp_path / "set", **SMALL)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    writers.write_market1501(root, **SMALL)
    assert times == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    writers.write_market1501(root, **(SMALL | {"identities": 4}))
    assert identities(market1501.read(root).train) == [1, 2, 3, 4]


def test_an_interrupted_set_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rga.data.demo.pedestrians.picture", stop)
        with pytest.raises(KeyboardInterrupt):
            writers.write_market1501(tmp_path / "set", **SMALL)
    assert not (tmp_path / "set").exists()
    assert market1501.read(writers.write_market1501(tmp_path / "set", **SMALL)).train


def test_foreign_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something else than demo data"):
        writers.write_market1501(tmp_path, **SMALL)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_wrong_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        writers.write_market1501(tmp_path / "set", identities=0)
