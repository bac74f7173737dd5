import shutil
from pathlib import Path

import pytest
from PIL import Image

from rga.data import check
from rga.data.base import cameras, identities
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.reid import dukemtmc
from rga.errors import DataError

NAMES = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c8_f0046302.jpg", "7140_c1_f0000009.jpg"],
    "query": ["0005_c2_f0046985.jpg"],
    "bounding_box_test": ["0003_c1_f0044158.jpg", "0005_c2_f0046985.jpg", "0005_c5_f0050000.jpg"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, names in NAMES.items():
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in reversed(names):  # not in the order in which they are read
            Image.new("RGB", (4, 8)).save(tmp_path / "set" / part / name)
        (tmp_path / "set" / part / "Thumbs.db").write_bytes(b"")
    return tmp_path / "set"


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo set, not to be changed."""
    root = tmp_path_factory.mktemp("demo") / "dukemtmc"
    return writers.write_dukemtmc(root, identities=4, test_identities=3, images=2, distractors=9)


def test_reads_names_in_order(root: Path) -> None:
    split = dukemtmc.read(root)
    assert [(s.path.name, s.identity, s.camera) for s in split.train] == [
        ("0001_c2_f0046182.jpg", 1, 2),
        ("0001_c8_f0046302.jpg", 1, 8),
        ("7140_c1_f0000009.jpg", 7140, 1),
    ]
    assert [(s.identity, s.camera) for s in split.query] == [(5, 2)]
    assert [(s.identity, s.camera) for s in split.gallery] == [(3, 1), (5, 2), (5, 5)]  # the distractor has an identity
    assert split.ignored == []


@pytest.mark.parametrize("folder", ["DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID"])
def test_the_parent_folder_will_do(root: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "data" / folder).parent.mkdir(parents=True)
    root.rename(tmp_path / "data" / folder)
    assert len(dukemtmc.read(tmp_path / "data").train) == 3


def test_missing_says_that_it_is_withdrawn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no DukeMTMC-reID in .*bounding_box_train.*does not exist.*withdrawn"):
        dukemtmc.read(tmp_path / "nowhere")


def test_half_unpacked(root: Path) -> None:
    shutil.rmtree(root / "query")
    with pytest.raises(DataError, match=r"half of DukeMTMC-reID: .* lacks query"):
        dukemtmc.read(root)
    (root / "query").mkdir()
    with pytest.raises(DataError, match=r"no images in query of .*unpacked completely"):
        dukemtmc.read(root)


def test_the_names_are_not_those_of_market1501(root: Path) -> None:
    (root / "query" / "0002_c1s1_000451_03.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 images in .*set have names that are not like 0001_c2_f0046182\.jpg"):
        dukemtmc.read(root)


def test_published_counts() -> None:
    """36,411 images of 1,404 people whom two cameras saw or more, and of 408 whom one saw."""
    images, people, seen_by = zip(*dukemtmc.PUBLISHED.values(), strict=True)
    assert sum(images) == 36_411
    assert people[0] + people[1] == 1_404
    assert people[2] - people[1] == 408
    assert set(seen_by) == {8}


def test_check(synthetic: Path, tmp_path: Path) -> None:
    report = check("dukemtmc", synthetic)
    assert report.ok, str(report)
    assert "withdrawn" in str(report)
    copy = shutil.copytree(synthetic, tmp_path / "copy")
    (copy / MARKER).unlink()
    query = sorted((copy / "query").iterdir())
    query[0].write_bytes(query[0].read_bytes()[:300])
    query[1].rename(query[1].with_name("0001_c1_f9999999.jpg"))
    (copy / "query" / "someone.jpg").write_bytes(b"")
    text = str(check("dukemtmc", copy))
    assert "!= 16,522" in text
    assert f"cannot read the image {query[0]}" in text
    assert "1 identities are in the training and the test split: 1" in text
    assert "1 names that do not parse" in text
    assert "not all is well" in text


def test_the_demo_is_like_the_real_one(synthetic: Path) -> None:
    split = dukemtmc.read(synthetic)
    assert identities(split.train) == [1, 2, 3, 4]
    assert identities(split.query) == [5, 6, 7]
    assert identities(split.gallery) == list(range(5, 17))
    for distractor in range(8, 17):  # seen by one camera
        assert len({sample.camera for sample in split.gallery if sample.identity == distractor}) == 1
    assert cameras(split.gallery) == list(range(1, 9))
    for query in split.query:
        assert any(s.identity == query.identity and s.camera != query.camera for s in split.gallery)


def test_wrong_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="distractors at least 0"):
        writers.write_dukemtmc(tmp_path / "set", distractors=-1)
