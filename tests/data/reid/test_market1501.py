import shutil
from pathlib import Path

import pytest
from PIL import Image

from rga.data.reid import market1501
from rga.errors import DataError

NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000451_01.jpg", "0007_c6s4_000001_00.jpg"],
    "query": ["0001_c1s1_001051_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c1s1_001051_03.jpg",
        "0001_c3s1_001051_03.jpg",
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, names in NAMES.items():
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in reversed(names):  # not in the order in which they are read
            Image.new("RGB", (4, 8)).save(tmp_path / "set" / part / name)
        (tmp_path / "set" / part / "Thumbs.db").write_bytes(b"")
    return tmp_path / "set"


def test_reads_names_in_order_and_follows_the_protocol(root: Path) -> None:
    split = market1501.read(root)
    assert [(s.path.name, s.identity, s.camera) for s in split.train] == [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c2s1_000451_01.jpg", 2, 2),
        ("0007_c6s4_000001_00.jpg", 7, 6),
    ]
    assert [(s.identity, s.camera) for s in split.query] == [(1, 1)]
    assert [(s.identity, s.camera) for s in split.gallery] == [(0, 1), (1, 1), (1, 3)]  # distractor kept, junk dropped
    assert [(s.identity, s.camera) for s in split.ignored] == [(-1, 1)]


def test_nothing_of_distractors_and_junk_is_trained_on(root: Path) -> None:
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg"):
        shutil.copy(root / "query" / NAMES["query"][0], root / "bounding_box_train" / name)
    assert market1501.read(root).train == [s for s in market1501.read(root).train if s.identity > 0]
    assert len(market1501.read(root).train) == 3


@pytest.mark.parametrize("folder", market1501.FOLDERS)
def test_the_parent_folder_will_do(root: Path, folder: str) -> None:
    root.rename(root.parent / folder)
    assert len(market1501.read(root.parent).train) == 3


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bounding_box_train, query and bounding_box_test.*does not exist"):
        market1501.read(tmp_path / "nowhere")


def test_half_unpacked(root: Path) -> None:
    for path in (root / "query").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no \.jpg in query of .*unpacked completely"):
        market1501.read(root)
    (root / "query").rmdir()
    with pytest.raises(DataError, match=r"half of Market-1501: .* lacks query"):
        market1501.read(root)
    root.rename(root.parent / "market1501")
    with pytest.raises(DataError, match="lacks query"):
        market1501.read(root.parent)


def test_strange_names_are_listed(root: Path) -> None:
    (root / "query" / "someone.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 pictures .* query/someone\.jpg"):
        market1501.read(root)
