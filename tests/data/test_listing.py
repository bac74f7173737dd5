"""What a folder holds is read, or it is counted and named: for any names, in every reader."""

import codecs
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rga.data import ReIDData, check, decoding
from rga.data.demo import writers
from rga.data.listing import left_out, listing
from rga.data.reid import market1501, msmt17
from rga.data.scenes import camvid, cityscapes
from rga.errors import DataError
from rga.runs.index import Index

several = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
words = st.text("abéß ()=',#$&%[]{}+~._-", min_size=1, max_size=6).filter(lambda word: set(word) != {"."})
suffixes = st.sampled_from([*decoding.SUFFIXES, ".JPG", ".Png", ".TIFF", ".txt", ".json", ".heic", "", ".jpg.part"])
folders = st.lists(st.sampled_from(["sub", "in here", "é=1"]), max_size=2)


@several
@given(files=st.sets(st.tuples(folders.map(tuple), words, suffixes), max_size=8))
def test_every_file_is_an_image_or_another(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[tuple[str, ...], str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("listing")
    images, others = set(), set()
    for below, word, suffix in files:
        path = folder.joinpath(*below, word + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            continue
        path.touch()
        name = path.relative_to(folder).as_posix()
        if word.startswith("."):
            if not (word + suffix).startswith("._"):
                others.add(name)
        elif suffix.lower() in decoding.SUFFIXES or (word + suffix).lower().endswith(decoding.SUFFIXES):
            images.add(name)
        else:
            others.add(name)
    assert listing(folder) == (sorted(images), sorted(others))


def test_links_are_followed_and_hidden_folders_are_named(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / ".thumbnails", root / "@eaDir", root / "__MACOSX", root / "deep", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    for name in ("Thumbs.db", "._b.jpg", ".hidden.jpg", "notes.txt"):
        (root / name).touch()
    (root / "linked").symlink_to(elsewhere)
    (root / "deep" / "again").symlink_to(root)  # would never end
    (root / "b.jpg").symlink_to(elsewhere / "a.jpg")
    images, others = listing(root)
    assert images == ["b.jpg", "deep/a.jpg", "linked/a.jpg"]
    assert others == sorted([".hidden.jpg", ".thumbnails/", "@eaDir/", "__MACOSX/", "deep/again/", "notes.txt"])
    assert left_out(root, others) == [
        f"in {root} 6 are left out (no images by their names): .hidden.jpg, .thumbnails/, @eaDir/, __MACOSX/, "
        "deep/again/ and 1 more"
    ]
    assert listing(tmp_path / "nowhere") == ([], [])
    (root / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg is a link to a file that is not there"):
        listing(root)


def as_png(path: Path, name: str) -> None:
    with Image.open(path) as image:
        image.save(path.with_name(name))
    path.unlink()


def test_other_suffixes_and_folders_are_read(market: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same people whatever the files are called; what is no image is named, by the check and before training."""
    plain, root = market1501.read(market), tmp_path / "set"
    shutil.copytree(market, root)
    for number, path in enumerate(sorted(root.glob("*/*.jpg"))):
        if number % 4 == 1:
            path.rename(path.with_suffix(".JPG"))
        elif number % 4 == 2:
            as_png(path, f"{path.stem}.png")
        elif number % 4 == 3:
            (path.parent / "more").mkdir(exist_ok=True)
            path.rename(path.parent / "more" / f"{path.stem}.jpeg")
    shutil.move(root / "query" / "more", tmp_path / "more")
    (root / "query" / "more").symlink_to(tmp_path / "more")
    (root / "query" / "list.txt").touch()
    (root / "query" / "Thumbs.db").touch()
    found = market1501.read(root)
    for part in ("train", "query", "gallery", "ignored"):
        named = [(s.path.stem, s.identity, s.camera) for s in getattr(found, part)]
        assert named == [(s.path.stem, s.identity, s.camera) for s in getattr(plain, part)]
    assert found.others == [root / "query" / "list.txt"]
    report = check("market1501", root)
    said = "1 is left out (no images by their names): query/list.txt"
    assert report.ok
    assert said in str(report)
    logging.getLogger("rga").propagate = True
    ReIDData(market1501.read, root, (64, 32)).setup("test")
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [f"in {root} {said}"]


@pytest.mark.parametrize("copy", ["copy/{stem}.jpg", "{stem}.png"])
def test_one_name_twice(market: Path, tmp_path: Path, copy: str) -> None:
    root = tmp_path / "set"
    shutil.copytree(market, root)
    first = sorted((root / "query").iterdir())[0]
    second = root / "query" / copy.format(stem=first.stem)
    second.parent.mkdir(exist_ok=True)
    shutil.copy(first, second)
    with pytest.raises(DataError, match="have one name: keep one of them"):
        market1501.read(root)


def test_the_index_of_an_ordinary_set_stays(tmp_path: Path) -> None:
    """What runs were recorded with: split, name, bytes and label of each file, nothing else."""
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c6s4_000001_00.jpg"],
        "query": ["0001_c1s1_001051_00.jpg"],
        "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0001_c3s1_001051_03.jpg"],
    }
    for part, inside in names.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "Thumbs.db").write_bytes(b"")
        for number, name in enumerate(inside):
            (tmp_path / part / name).write_bytes(bytes(number + 1))
    assert ReIDData(market1501.read, tmp_path, (64, 32)).index() == Index(
        (
            "gallery\t0000_c1s1_000151_01.jpg\t2\t0 1",
            "gallery\t0001_c3s1_001051_03.jpg\t3\t1 3",
            "query\t0001_c1s1_001051_00.jpg\t1\t1 1",
            "train\t0002_c1s1_000451_03.jpg\t1\t2 1",
            "train\t0007_c6s4_000001_00.jpg\t2\t7 6",
        )
    )


ENDS: dict[str, tuple[str, bytes]] = {
    "\r\n": ("utf-8", codecs.BOM_UTF8),
    "\r": ("utf-8", b""),
    "\n\n": ("utf-16-le", codecs.BOM_UTF16_LE),
}


@pytest.mark.parametrize("end", ENDS)
def test_lists_of_other_systems(tmp_path: Path, end: str) -> None:
    root = writers.write_msmt17_v1(tmp_path / "msmt", identities=3, test_identities=2, images=2)
    plain, (encoding, mark) = msmt17.V1.read(root), ENDS[end]
    for name in msmt17.LISTS:
        text = (root / name).read_text().replace("/", "\\").replace("\n", f" {end}").replace(" ", "\t")
        (root / name).write_bytes(mark + text.encode(encoding))
    assert msmt17.V1.read(root) == plain
    (root / msmt17.QUERY).write_bytes(b"\xff\x00\xff")
    with pytest.raises(DataError, match=r"cannot read .*list_query\.txt"):
        msmt17.V1.read(root)


def test_images_that_no_list_names(tmp_path: Path) -> None:
    root = writers.write_msmt17_v1(tmp_path / "msmt", identities=3, test_identities=2, images=2)
    lines = (root / msmt17.VAL).read_text().splitlines(keepends=True)
    (root / msmt17.VAL).write_text("".join(lines[1:]))
    assert f"1 is left out (named by no list): train/{lines[0].split()[0]}" in str(check("msmt17_v1", root))


def test_scenes(tmp_path: Path) -> None:
    root = writers.write_cityscapes(tmp_path / "streets", train=2, val=1, size=32)
    plain = cityscapes.read(root)
    for path in sorted(root.glob("leftImg8bit/*/*/*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".WEBP"), lossless=True)
        path.unlink()
    (root / "gtFine/train/demo/demo_000000_000019_gtFine_color.png").touch()
    (root / "gtFine/train/demo/demo_000000_000019_gtFine_polygons.json").touch()
    (root / "gtFine/train/demo/mine.png").touch()
    (root / "leftImg8bit/val/demo/mine.png").touch()
    (root / "leftImg8bit/train").rename(tmp_path / "train")
    (root / "leftImg8bit/train").symlink_to(tmp_path / "train")
    found = cityscapes.read(root)
    assert {part: [s.name for s in scenes] for part, scenes in found.parts.items()} == {
        part: [s.name for s in scenes] for part, scenes in plain.parts.items()
    }
    report = str(check("cityscapes", root))
    assert "2 are left out (no images by their names): gtFine/train/demo/mine.png, leftImg8bit/val/demo/mine.png" in (
        report.replace("leftImg8bit/val/demo/mine.png, gtFine/train/demo/mine.png",
                       "gtFine/train/demo/mine.png, leftImg8bit/val/demo/mine.png")
    )  # fmt: skip

    root = tmp_path / "camvid"
    for part in ("train", "val"):
        for kind, ending in (("", ".TIF"), ("annot", ".png")):
            (root / f"{part}{kind}").mkdir(parents=True)
            mode = "RGB" if kind == "" else "L"
            Image.fromarray(np.zeros((4, 4), np.uint8)).convert(mode).save(root / f"{part}{kind}" / f"a{ending}")
    (root / "val" / "readme.md").touch()
    assert [len(scenes) for scenes in camvid.read(root).parts.values()] == [1, 1]
    assert "1 is left out (no images by their names): val/readme.md" in str(check("camvid", root))
