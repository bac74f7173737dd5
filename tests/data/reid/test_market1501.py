import shutil
from pathlib import Path

import pytest
from PIL import Image

from rga.data import ReIDData, check, matches
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


def test_junk_is_neither_trained_on_nor_asked_for(root: Path) -> None:
    for part in ("bounding_box_train", "query"):
        shutil.copy(root / "query" / NAMES["query"][0], root / part / "-1_c1s1_000401_03.jpg")
    split = market1501.read(root)
    assert (len(split.train), len(split.query), len(split.ignored)) == (3, 1, 3)


def test_identities_from_0(root: Path) -> None:
    """Who is trained on or asked for is somebody; else the gallery's images of identity 0 are distractors."""
    assert [len(part) for part in market1501.parts(market1501.read(root)).values()] == [3, 1, 2, 1, 1]
    shutil.copy(root / "query" / NAMES["query"][0], root / "bounding_box_train" / "0000_c4s1_000151_01.jpg")
    assert [sample.identity for sample in market1501.read(root).train] == [0, 2, 2, 7]
    shutil.copy(root / "query" / NAMES["query"][0], root / "query" / "0000_c2s1_000151_01.jpg")
    split = market1501.read(root)
    assert [sample.identity for sample in split.query] == [0, 1]
    assert matches.unmatched(split.query, split.gallery) == []  # 0000_c1 is a match
    assert [len(part) for part in market1501.parts(split).values()] == [4, 2, 3, 0, 1]
    assert "1 identities are in the training and the test split: 0" in str(check("market1501_holdout", root))


def test_more_than_four_digits(root: Path) -> None:
    shutil.copy(root / "query" / NAMES["query"][0], root / "bounding_box_train" / "12345_c1s1_000451_03.jpg")
    assert 12345 in [sample.identity for sample in market1501.read(root).train]


def test_without_a_training_part(root: Path) -> None:
    """To test somebody else's network on: nothing but a training needs it."""
    whole = market1501.read(root)
    shutil.rmtree(root / "bounding_box_train")
    split = market1501.read(root)
    assert (split.train, split.query, split.gallery) == ([], whole.query, whole.gallery)
    report = check("market1501_holdout", root)
    assert report.ok
    assert "there is no training split: the set can be tested on, not trained on" in str(report)
    module = ReIDData(market1501.read, root, (8, 4), workers=0)
    module.setup("test")
    assert len(next(iter(module.test_dataloader()))["image"]) == 4
    with pytest.raises(DataError, match=r"has no training split: it can be tested on \(rga test\), not trained on"):
        module.prepare_data()
    (root / "bounding_box_train").mkdir()
    with pytest.raises(DataError, match="no images in bounding_box_train"):
        market1501.read(root)


@pytest.mark.parametrize(
    "folder", [*market1501.FOLDERS, *(f"reid-data/{folder}" for folder in market1501.FOLDERS), "reid-data"]
)
def test_the_parent_folder_will_do(root: Path, folder: str) -> None:
    (root.parent / folder).parent.mkdir(parents=True, exist_ok=True)
    root.rename(root.parent / folder)
    assert len(market1501.read(root.parent).train) == 3


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bounding_box_train, query, bounding_box_test.*does not exist"):
        market1501.read(tmp_path / "nowhere")
    deeper = tmp_path / "unpacked" / "once more"
    for name in ("bounding_box_train", "bounding_box_test", "query"):
        (deeper / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"but in once more in it: data\.root=.*unpacked/once more"):
        market1501.read(tmp_path / "unpacked")


def test_half_unpacked(root: Path) -> None:
    for path in (root / "query").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no images in query of .*unpacked completely"):
        market1501.read(root)
    (root / "query").rmdir()
    with pytest.raises(DataError, match=r"half of Market-1501: .* lacks query"):
        market1501.read(root)
    root.rename(root.parent / "market1501")
    with pytest.raises(DataError, match="lacks query"):
        market1501.read(root.parent)


def test_strange_names_are_listed(root: Path) -> None:
    (root / "query" / "someone.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 images .* query/someone\.jpg"):
        market1501.read(root)


def test_people_who_are_trained_and_tested_on_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    market1501.read(root)
    assert not caplog.text
    shutil.copy(root / "query" / NAMES["query"][0], root / "bounding_box_train")
    market1501.read(root)
    assert "1 identities are numbered alike in the training and the test split" in caplog.text
