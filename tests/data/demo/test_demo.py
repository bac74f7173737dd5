import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rga.data import check
from rga.data.base import cameras, identities
from rga.data.demo import cuhk03_mat, writers
from rga.data.marker import MARKER, is_synthetic
from rga.data.reid import cuhk03, market1501
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
        patch.setattr("rga.data.demo.pedestrians.image", stop)
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


def test_what_was_not_drawn_is_not_replaced(tmp_path: Path) -> None:
    """Somebody's own files in a folder of demo data, new ones or in the place of synthetic ones, however deep."""
    root, other = tmp_path / "set", SMALL | {"identities": 4}
    for name in ("notes.txt", "query/0001_c1s1_000001_00.jpg", "mine/deep/a.jpg"):
        writers.write_market1501(root, **SMALL)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"mine")
        before = contents(root)
        with pytest.raises(DataError, match=rf"1 files that are not of it, or have changed since: {name}\."):
            writers.write_market1501(root, **other)
        assert contents(root) == before
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        shutil.rmtree(root)
    synthetic = writers.write_market1501(root, **SMALL)
    first = next((synthetic / "query").iterdir())
    first.write_bytes(first.read_bytes() + b"!")
    with pytest.raises(DataError, match=f"have changed since: query/{first.name}"):
        writers.write_market1501(root, **other)
    first.unlink()  # nothing of anybody's is lost
    (root / ".DS_Store").touch()
    writers.write_market1501(root, **other)
    assert identities(market1501.read(root).train) == [1, 2, 3, 4]


def test_a_link_and_an_earlier_version(tmp_path: Path) -> None:
    root = writers.write_market1501(tmp_path / "set", **SMALL)
    (tmp_path / "elsewhere").mkdir()
    (root / "mine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="files that are not of it, or have changed since: mine"):
        writers.write_market1501(root, **(SMALL | {"identities": 4}))
    (root / "mine").unlink()
    marker = json.loads((root / MARKER).read_text())
    del marker["files"]
    (root / MARKER).write_text(json.dumps(marker))
    assert writers.write_market1501(root, **SMALL) == root
    with pytest.raises(DataError, match="of an earlier version"):
        writers.write_market1501(root, **(SMALL | {"identities": 4}))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="something else than demo data"):
        writers.write_market1501(tmp_path / "file", **SMALL)


def test_what_a_reader_extracts_is_of_the_set(tmp_path: Path) -> None:
    options = {"identities": 3, "test_identities": 2, "images": 2}
    root = cuhk03_mat.write(tmp_path / "cuhk03", **options)
    cuhk03.read(root, "labeled")
    cuhk03_mat.write(root, **options, seed=1)
    assert not (root / "images_labeled").exists()
    cuhk03.read(root, "labeled")
    (root / "images_labeled" / "mine.png").touch()
    said = "1 is left out (not named by cuhk03_new_protocol_config_labeled.mat): mine.png"
    assert said in str(check("cuhk03_labeled", root))
    with pytest.raises(DataError, match=r"have changed since: images_labeled/mine.png"):
        cuhk03_mat.write(root, **options)


def test_a_set_that_was_changed_is_not_trained_on_as_the_demo(tmp_path: Path) -> None:
    """Its runs are named by what it is made from."""
    for change in (Path.unlink, lambda path: path.write_bytes(b"other")):
        root = writers.write_market1501(tmp_path / "set", **SMALL)
        first = sorted((root / "query").iterdir())[0]
        change(first)
        with pytest.raises(DataError, match=f"1 files are gone, have changed or are new: query/{first.name}"):
            writers.write_market1501(root, **SMALL)
        shutil.rmtree(root)


def test_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the folder that one is in"):
        writers.write_market1501(".", **SMALL)


def test_links_to_synthetic_data_are_synthetic(tmp_path: Path) -> None:
    root = writers.write_market1501(tmp_path / "set", **SMALL)
    (tmp_path / "links").mkdir()
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "links" / part).symlink_to(root / part)
    assert is_synthetic(tmp_path / "links" / "query", tmp_path / "links")
    assert not is_synthetic(tmp_path, tmp_path)
