import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rga.data import ReIDData, check
from rga.data.base import cameras, identities
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.reid import msmt17
from rga.errors import DataError

# As in the data set: lists out of order, names that end in `_ex`, the validation list with the training's numbers.
LISTS = {
    "list_train.txt": ("0001/0001_003_14_0303morning_0008_0.jpg 1", "0000/0000_001_04_0303noon_0008_0_ex.jpg 0"),
    "list_val.txt": ("0000/0000_000_01_0303morning_0008_0.jpg 0",),
    "list_query.txt": ("0000/0000_000_15_0114afternoon_0001_2.jpg 0",),
    "list_gallery.txt": ("0001/0001_000_02_0303morning_0000_1.jpg 1", "0000/0000_001_07_0302noon_0003_0_ex.jpg 0"),
}
FOLDERS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
VERSIONS = pytest.mark.parametrize("version", [msmt17.V1, msmt17.V2], ids=["v1", "v2"])


def lay_out(folder: Path) -> Path:
    """A set in the layout of the version after which its folder is named."""
    train, test = FOLDERS[folder.name]
    folder.mkdir(parents=True)
    for name, lines in LISTS.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            path = folder / (train if name in ("list_train.txt", "list_val.txt") else test) / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 8)).save(path)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "msmt17" / "MSMT17_V1")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo set, not to be changed."""
    return writers.write_msmt17_v2(tmp_path_factory.mktemp("demo") / "set", identities=6, test_identities=4, images=2)


@VERSIONS
def test_reads_the_lists(tmp_path: Path, version: msmt17.MSMT17) -> None:
    folder = lay_out(tmp_path / version.title)
    train, test = FOLDERS[version.title]
    split = version.read(folder)
    assert version.read(tmp_path) == split  # the parent will do
    assert [(s.path.relative_to(folder).as_posix(), s.identity, s.camera) for s in split.train] == [
        (f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", 0, 1),
        (f"{train}/0000/0000_001_04_0303noon_0008_0_ex.jpg", 0, 4),
        (f"{train}/0001/0001_003_14_0303morning_0008_0.jpg", 1, 14),
    ]
    assert [(s.path.relative_to(folder).as_posix(), s.identity, s.camera) for s in split.query] == [
        (f"{test}/0000/0000_000_15_0114afternoon_0001_2.jpg", 0, 15),
    ]
    assert [(s.identity, s.camera) for s in split.gallery] == [(0, 7), (1, 2)]
    assert split.ignored == []


def test_the_order_of_a_list_does_not_matter(root: Path) -> None:
    before = msmt17.V1.read(root)
    for path in root.glob("*.txt"):
        lines = path.read_text().splitlines()
        random.Random(0).shuffle(lines)
        path.write_text("\r\n".join(reversed(lines)) + "\r\n\r\n")  # as an editor on Windows leaves it
    assert msmt17.V1.read(root) == before


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no MSMT17_V1 in .*list_train\.txt.*does not exist"):
        msmt17.V1.read(tmp_path / "nowhere")


def test_without_a_training_part(root: Path) -> None:
    whole = msmt17.V1.read(root)
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match=r"lacks train$"):
        msmt17.V1.read(root)
    for name in (msmt17.TRAIN, msmt17.VAL):
        (root / name).unlink()
    split = msmt17.V1.read(root)
    assert (split.train, split.query, split.gallery) == ([], whole.query, whole.gallery)
    (root.parent / "reid-data" / "msmt17").mkdir(parents=True)
    root.rename(root.parent / "reid-data" / "msmt17" / "MSMT17_V1")
    assert len(msmt17.V1.read(root.parent).query) == len(whole.query)


def test_half_unpacked(root: Path) -> None:
    (root / "list_val.txt").rename(root / "list_val")
    with pytest.raises(DataError, match=r"half of MSMT17_V1: .* lacks list_val\.txt$"):
        msmt17.V1.read(root.parent)
    (root / "list_val").rename(root / "list_val.txt")
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match=r"half of MSMT17_V1: .* lacks test$"):
        msmt17.V1.read(root)


def test_the_other_version(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds MSMT17_V1 .*, not MSMT17_V2 .*: this is data=msmt17_v1"):
        msmt17.V2.read(root.parent)
    with pytest.raises(DataError, match=r"holds MSMT17_V1 \(the folder train\), not MSMT17_V2 .* data=msmt17_v1"):
        msmt17.V2.read(root)
    lay_out(tmp_path / "MSMT17_V2").rename(tmp_path / "MSMT17_V1")  # version 2 in a folder of the name of version 1
    with pytest.raises(DataError, match=r"holds MSMT17_V2 \(the folder mask_train_v2\), not MSMT17_V1"):
        msmt17.V1.read(tmp_path)
    assert len(msmt17.V1.read(lay_out(root.parent / "MSMT17_V2").parent).train) == 3  # both side by side


@pytest.mark.parametrize(
    "line",
    [
        "0000/0000_000_01_0303morning_0008_0.jpg",
        "0000/0000_000_01_0303morning_0008_0.jpg zero",
        "0000_000_01_0303morning_0008_0.jpg 0",
        "0000/0000_000.jpg 0",
        "0000/0000_000_c1_0303morning_0008_0.jpg 0",
        "../0000/0000_000_01_0303morning_0008_0.jpg 0",
    ],
)
def test_a_malformed_line(root: Path, line: str) -> None:
    with (root / "list_query.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=r"list_query\.txt, line 2: .* is not like '0000/0000_000_01_0303morning"):
        msmt17.V1.read(root)


def test_a_list_that_names_nothing_or_is_no_text(root: Path) -> None:
    (root / "list_gallery.txt").write_text("\n")
    with pytest.raises(DataError, match=r"list_gallery\.txt names no image"):
        msmt17.V1.read(root)
    (root / "list_gallery.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read .*list_gallery\.txt"):
        msmt17.V1.read(root)


def test_a_picture_that_is_not_there(root: Path) -> None:
    (root / "train" / "0000" / "0000_000_01_0303morning_0008_0.jpg").unlink()
    with pytest.raises(DataError, match=r"list_val\.txt names 1 images that are not in .*train: 0000/0000_000_01"):
        msmt17.V1.read(root)
    shutil.rmtree(root / "train" / "0001")
    with pytest.raises(DataError, match=r"list_train\.txt names 1 images that are not in .*train: 0001/0001_003"):
        msmt17.V1.read(root)


def test_no_picture_is_asked_for_by_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """126,441 images: asked for one by one, on a network drive, they would take minutes."""
    asked: list[str] = []
    real = os.stat

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        asked.append(str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        msmt17.V1.read(root)
    assert not [path for path in asked if path.endswith(".jpg")]


def test_published_counts() -> None:
    """126,441 images of 4,101 people, the data set's page says."""
    images, people, seen_by = zip(*msmt17.PUBLISHED.values(), strict=True)
    assert sum(images) == 126_441
    assert people[0] + people[1] == 4_101
    assert people[1] == people[2]
    assert set(seen_by) == {15}


def test_check(synthetic: Path, tmp_path: Path) -> None:
    report = check("msmt17_v2", synthetic)
    assert report.ok, str(report)
    copy = shutil.copytree(synthetic, tmp_path / "copy")
    (copy / MARKER).unlink()
    broken = min((copy / "mask_test_v2" / "0000").iterdir())
    broken.write_bytes(broken.read_bytes()[:300])
    (copy / "list_val.txt").write_text((copy / "list_val.txt").read_text() * 2)
    text = str(check("msmt17_v2", copy))
    assert "!= 32,621" in text
    assert "!= 82,161" in text
    assert f"cannot read the image {broken}" in text
    assert "train: 6 images are named more than once: 0000/0000_" in text
    assert "not all is well" in text
    assert "the folder mask_train_v2" in str(check("msmt17_v1", copy))


def test_the_demo_is_like_the_real_one(synthetic: Path, tmp_path: Path) -> None:
    split = msmt17.V2.read(synthetic)
    assert identities(split.train) == list(range(6))
    assert identities(split.query) == identities(split.gallery) == list(range(4))
    assert max(cameras(split.train)) > 8
    validation = (synthetic / "list_val.txt").read_text().splitlines()
    assert [int(line.split()[1]) for line in validation] == list(range(6))
    assert len(split.train) == len((synthetic / "list_train.txt").read_text().splitlines()) + len(validation)
    for query in split.query:
        assert any(s.identity == query.identity and s.camera != query.camera for s in split.gallery)
    other = writers.write_msmt17_v1(tmp_path / "set", identities=6, test_identities=4, images=2)
    names = [[s.path.name for part in (one.train, one.query, one.gallery) for s in part] for one in
             (split, msmt17.V1.read(other))]  # fmt: skip
    assert names[0] == names[1]
    with pytest.raises(DataError, match="data=msmt17_v2"):
        msmt17.V1.read(synthetic)


def test_wrong_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are at least 1: "):
        writers.write_msmt17_v1(tmp_path / "set", images=0)


def test_an_image_that_is_listed_twice(root: Path) -> None:
    """It would count twice in every metric, or have two identities."""
    line = LISTS["list_gallery.txt"][0]
    with (root / "list_gallery.txt").open("a") as file:
        file.write(f"{line.split()[0]} 0\n")
    with pytest.raises(DataError, match=r"gallery: images that are named twice: .*0001/0001_000_02"):
        ReIDData(msmt17.V1.read, root, (8, 4)).prepare_data()
