"""CUHK03: the published lists, both protocols, what is extracted when, and what is said of bad files.

tests/data/cuhk03_lists.npz holds the published lists of the new protocol as numbers: of each image its camera pair,
identity and place (which are its name), label, camera and part. The .mat files are written here by MATLAB's rules, and
not by the project's own writer.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import pytest
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from scipy.io import loadmat, savemat

from rga.data import ReIDData, Sample, check
from rga.data.base import identities
from rga.data.demo import cuhk03_mat
from rga.data.reid import cuhk03, cuhk03_extract
from rga.errors import DataError
from rga.files import atomic_file
from rga.runs.compose import compose

RAW = Path("cuhk03_release") / "cuhk-03.mat"
LISTS = "cuhk03_new_protocol_config_{}.mat"
KINDS = ("labeled", "detected")
PARTS = ("train", "query", "gallery")
SMALL = {"identities": 4, "test_identities": 3, "images": 2}

Cells = Mapping[str, Mapping[tuple[int, int, int], NDArray[np.uint8]]]  # of each kind: camera pair, identity, place


def write_raw(root: Path, cells: Cells, testsets: list[list[tuple[int, int]]]) -> None:
    """cuhk-03.mat with everything where MATLAB has it; an image that several cells share is written once."""
    (root / RAW).parent.mkdir(parents=True)
    with h5py.File(root / RAW, "w", userblock_size=512) as file:
        empty = file.create_dataset("#refs#/a", data=np.zeros(2, np.uint64)).ref
        known: dict[int, Any] = {}
        for kind, images in cells.items():
            top = file.create_dataset(kind, (1, 5), h5py.ref_dtype)
            for pair in range(1, 6):
                people = max((identity for found, identity, _ in images if found == pair), default=0)
                grid = np.full((10, people), empty)
                for (found, identity, place), image in images.items():
                    if found == pair:
                        if id(image) not in known:
                            known[id(image)] = file.create_dataset(f"#refs#/p{len(known)}", data=image.T).ref
                        grid[place - 1, identity - 1] = known[id(image)]
                top[0, pair - 1] = file.create_dataset(f"#refs#/{kind}{pair}", data=grid, dtype=h5py.ref_dtype).ref
        top = file.create_dataset("testsets", (1, len(testsets)), h5py.ref_dtype)
        for number, pairs in enumerate(testsets):
            top[0, number] = file.create_dataset(f"#refs#/t{number}", data=np.array(pairs, float).T).ref
    with (root / RAW).open("r+b") as head:
        head.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Tue Jul 15 10:12:14 2014 HDF5 schema 1.00 .")


def write_lists(path: Path, names: list[str], **columns: Any) -> None:
    content = {key: np.asarray(values)[:, None] for key, values in columns.items()}
    savemat(path, {"filelist": np.array(names, object)[:, None], **content})


def relative(samples: list[Sample]) -> list[tuple[str, int, int]]:
    return [(sample.path.name, sample.identity, sample.camera) for sample in samples]


@pytest.fixture(scope="module")
def published() -> dict[str, NDArray[Any]]:
    with np.load(Path(__file__).parents[2] / "fixtures" / "cuhk03_lists.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, published: dict[str, NDArray[Any]]) -> Path:
    """The published lists, and a cuhk-03.mat that has an image of 4 x 2 pixels wherever they name one."""
    root = tmp_path_factory.mktemp("whole") / "cuhk03"
    synthetic = np.random.default_rng(0).integers(0, 256, (2, 97, 4, 2, 3), np.uint8)
    cells = {}
    for kind, images in zip(KINDS, map(list, synthetic), strict=True):
        columns = (published[f"{kind}_{column}"].tolist() for column in ("pair", "identity", "place"))
        places = list(zip(*columns, strict=True))
        cells[kind] = {place: images[number % 97] for number, place in enumerate(places)}
    write_raw(root, cells, [[(1 + (n + s) % 5, 1 + (n + s) // 5) for n in range(0, 500, 5)] for s in range(20)])
    for kind in KINDS:
        part = published[f"{kind}_part"]
        write_lists(
            root / LISTS.format(kind),
            [f"{pair}_{identity:03d}_{1 + (place > 5)}_{place:02d}.png" for pair, identity, place in cells[kind]],
            labels=published[f"{kind}_label"],
            camId=published[f"{kind}_camera"],
            **{f"{name}_idx": 1 + np.flatnonzero(part == number) for number, name in enumerate(PARTS)},
        )
    return root


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cuhk03_mat.write(tmp_path_factory.mktemp("synthetic") / "cuhk03", **SMALL)


@pytest.fixture
def root(synthetic: Path, tmp_path: Path) -> Path:
    """A small set, nothing extracted."""
    return Path(shutil.copytree(synthetic, tmp_path / "cuhk03"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "train", "gallery"), [("labeled", 7368, 5328), ("detected", 7365, 5332)])
def test_the_published_counts(
    whole: Path, kind: Any, train: int, gallery: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cuhk03._Files, "damaged", lambda files: [])  # the smaller sets show what that finds
        report = check(f"cuhk03_{kind}", whole)
    assert report.ok, str(report)
    assert "the counts are those of the published data set" in str(report)
    assert not (whole / f"images_{kind}").exists()
    split = cuhk03.read(whole, kind)
    assert [len(part) for part in (split.train, split.query, split.gallery, split.ignored)] == [train, 1400, gallery, 0]
    assert [len(identities(part)) for part in (split.train, split.query, split.gallery)] == [767, 700, 700]
    assert not {*identities(split.train)} & {*identities(split.query)}
    assert len({(sample.identity, sample.camera) for sample in split.query}) == 1400  # one in each camera
    assert {sample.camera for sample in split.train} == {1, 2}
    samples = split.train + split.query + split.gallery
    assert all(f"_{sample.camera}_" in sample.path.name for sample in samples)
    assert (
        len(list((whole / f"images_{kind}").iterdir())) == len(samples) == {"labeled": 14096, "detected": 14097}[kind]
    )
    assert split.train == sorted(split.train)


def test_the_published_lists_mixed_up(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / LISTS.format("detected"), tmp_path / LISTS.format("labeled"))
    with pytest.raises(DataError, match=r"labeled\.mat holds the lists of the detected images, not of the labeled"):
        cuhk03.read(tmp_path, "labeled")


def test_pictures_are_where_matlab_has_them(tmp_path: Path) -> None:
    """Names, cameras and pixels of a file written by hand; the labels are the lists' and nothing else's."""
    image = np.random.default_rng(1).integers(0, 256, (3, 6, 5, 3), np.uint8)
    places = [(1, 1, 1), (1, 1, 6), (4, 12, 10)]
    write_raw(tmp_path, {"labeled": dict(zip(places, image, strict=True))}, [[(4, 12)]])
    names = ["4_012_2_10.png", "1_001_2_06.png", "1_001_1_01.png"]  # not sorted
    write_lists(
        tmp_path / LISTS.format("labeled"), names, labels=[77, 5, 5], camId=[2, 2, 1], train_idx=[1], query_idx=[3],
        gallery_idx=[2],
    )  # fmt: skip
    split = cuhk03.read(tmp_path, "labeled")
    assert relative(split.train) == [("4_012_2_10.png", 77, 2)]
    assert relative(split.query) == [("1_001_1_01.png", 5, 1)]
    assert relative(split.gallery) == [("1_001_2_06.png", 5, 2)]
    for name, pixels in zip(sorted(names), image, strict=True):
        assert (np.asarray(Image.open(tmp_path / "images_labeled" / name)) == pixels).all()
    classic = cuhk03.read(tmp_path, "labeled", "classic")
    assert relative(classic.train) == [("1_001_1_01.png", 5, 1), ("1_001_2_06.png", 5, 2)]
    assert relative(classic.query) == relative(classic.gallery) == [("4_012_2_10.png", 77, 2)]


def test_the_order_is_that_of_the_names(root: Path) -> None:
    expected = cuhk03.read(root, "labeled")
    path = root / LISTS.format("labeled")
    content = loadmat(path)
    order = np.random.default_rng(0).permutation(len(content["filelist"]))
    place = np.argsort(order) + 1  # where an image of the old list is in the new one
    write_lists(
        path,
        [str(cell.item()) for cell in content["filelist"][order, 0]],
        labels=content["labels"][order, 0],
        camId=content["camId"][order, 0],
        **{f"{part}_idx": place[content[f"{part}_idx"].ravel() - 1][::-1] for part in PARTS},
    )
    assert cuhk03.read(root, "labeled") == expected


def test_demo_data(synthetic: Path, tmp_path: Path) -> None:
    assert synthetic.is_dir()
    again = cuhk03_mat.write(tmp_path / "again", **SMALL)
    other = cuhk03_mat.write(tmp_path / "other", **SMALL, seed=1)
    for file in (RAW, *map(LISTS.format, KINDS)):
        assert (again / file).read_bytes() == (synthetic / file).read_bytes()
    assert (other / RAW).read_bytes() != (synthetic / RAW).read_bytes()
    assert (again / RAW).read_bytes()[:19] == b"MATLAB 7.3 MAT-file"
    assert (again / RAW).read_bytes()[512:520] == b"\x89HDF\r\n\x1a\n"
    assert loadmat(again / LISTS.format("labeled"))["filelist"].shape[1] == 1
    for kind in KINDS:
        assert check(f"cuhk03_{kind}", again).ok
        split = cuhk03.read(again, kind)
        assert (len(identities(split.train)), len(identities(split.query))) == (4, 3)
        for query in split.query:
            assert any(query.identity == s.identity and query.camera != s.camera for s in split.gallery)
        report = check(f"cuhk03_{kind}", again)
        assert report.ok
        assert "the demo data" in str(report)
    one, two = (sorted(path.name for path in (again / f"images_{kind}").iterdir()) for kind in KINDS)
    assert one != two
    assert len({Image.open(path).size for path in (again / "images_detected").iterdir()}) > 3
    with pytest.raises(ValueError, match="images is 2 to 4"):
        cuhk03_mat.write(tmp_path / "none", images=5)


def test_the_classic_protocol(root: Path) -> None:
    splits = [cuhk03.read(root, "detected", "classic", number) for number in (0, 7)]
    everything = cuhk03.read(root, "detected")
    for split in splits:
        assert split.gallery_draws == 10
        assert split.query == split.gallery
        assert len(identities(split.query)) == 3
        assert not {*identities(split.train)} & {*identities(split.query)}
        assert sorted(split.train + split.query) == sorted(everything.train + everything.query + everything.gallery)
    assert splits[0] != splits[1]
    assert everything.gallery_draws == 0
    with pytest.raises(DataError, match=r"no split 20 .* has 0 to 19"):
        cuhk03.read(root, "detected", "classic", 20)
    with pytest.raises(DataError, match="new or classic, not 'old'"):
        cuhk03.read(root, "detected", "old")
    with pytest.raises(DataError, match="labeled or detected, not 'both'"):
        cuhk03.read(root, "both")
    (root / RAW).unlink()
    with pytest.raises(DataError, match=r"splits are in cuhk-03\.mat, and there is no"):
        cuhk03.read(root, "detected", "classic")


@pytest.mark.parametrize(("name", "draws"), [("cuhk03_labeled", 0), ("cuhk03_detected_classic", 10)])
def test_the_configs(root: Path, name: str, draws: int) -> None:
    config = compose([f"data={name}", f"data.root={root}", *(["data.reader.split=2"] if draws else [])])
    module = instantiate(OmegaConf.create(config["data"]))
    assert isinstance(module, ReIDData)
    module.identities = 3
    module.prepare_data()
    kind = "detected" if draws else "labeled"
    assert (root / f"images_{kind}" / "1_001_1_01.png").is_file()
    assert not (root / f"images_{'labeled' if draws else 'detected'}").exists()
    module.setup("test")
    assert (module.name, module.gallery_draws) == (name, draws)
    assert module.summary["query"]["identities"] == 3
    assert check(name, root).ok
    demo = compose([f"data={name}", "scale=demo"])["data"]
    assert demo["root"].endswith(f"demo/{name}")
    assert "junk" not in demo["demo"]


def test_extracted_pictures_are_used_as_they_are(root: Path) -> None:
    expected = cuhk03.read(root, "labeled")
    (root / RAW).unlink()
    (root / "images_labeled" / "Thumbs.db").write_bytes(b"")
    state = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    assert cuhk03.read(root, "labeled") == expected
    assert check("cuhk03_labeled", root).ok
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == state


@pytest.mark.parametrize("place", [Path(), Path("cuhk03_release")])
def test_lists_in_either_folder_and_the_parent(root: Path, place: Path) -> None:
    for kind in KINDS:
        if place != Path():
            (root / LISTS.format(kind)).rename(root / place / LISTS.format(kind))
    assert cuhk03.read(root.parent, "labeled").train


def test_nothing_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no CUHK03 in .*nowhere: expected cuhk03_release/cuhk-03\.mat .*not exist"):
        cuhk03.read(tmp_path / "nowhere", "labeled")
    (root / RAW).unlink()
    with pytest.raises(DataError, match=r"neither .*images_detected nor .*cuhk-03\.mat"):
        cuhk03.read(root, "detected")
    (root / LISTS.format("detected")).unlink()
    with pytest.raises(DataError, match=r"no .*config_detected\.mat: it holds the lists of the detected"):
        cuhk03.read(root, "detected")


def test_a_folder_that_lacks_pictures(root: Path) -> None:
    cuhk03.read(root, "labeled")
    victims = [root / "images_labeled" / name for name in ("1_001_1_01.png", "1_001_2_06.png")]
    victims[0].unlink()
    victims[1].write_bytes(b"")  # as a power cut leaves it
    (root / RAW).rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"lacks 2 of the \d+ .*: 1_001_1_01\.png, 1_001_2_06\.png\. Copy .* or put"):
        cuhk03.read(root, "labeled")
    report = check("cuhk03_labeled", root)
    assert "lacks 2" in str(report)
    (root / "elsewhere").rename(root / RAW)
    cuhk03.read(root, "labeled")
    assert [Image.open(path).mode for path in victims] == ["RGB", "RGB"]


def damage(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def cut(bytes_left: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, bytes_left(path.stat().st_size))


def without_references(file: h5py.File) -> None:
    del file["labeled"]
    file["labeled"] = np.zeros((1, 5))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: savemat(path, {"labeled": 1}), r"old format \(version 5\).*-v7\.3"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), r"no HDF5 file \(22 bytes\)"),
        (cut(lambda size: 0), r"no HDF5 file \(0 bytes\)"),
        (cut(lambda size: 600), "cut off or damaged: .*unpack cuhk03_release"),
        (cut(lambda size: size // 2), "cut off or damaged: .*truncated"),
        (cut(lambda size: size - 100), "cut off or damaged: .*truncated"),
        (damage(lambda file: file.__delitem__("labeled")), "is damaged, or is not CUHK03's file: .*labeled"),
        (damage(without_references), "is damaged, or is not CUHK03's file"),
    ],
)
def test_bad_raw_files(root: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(root / RAW)
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=message):
        cuhk03.read(root, "labeled")
    assert sorted(root.rglob("*")) == before
    report = check("cuhk03_labeled", root)
    assert not report.ok
    assert str(root / RAW) in str(report)


def test_a_picture_in_the_raw_file_that_does_not_decode(root: Path) -> None:
    with h5py.File(root / RAW, "r") as file:
        chunk = file[file[file["labeled"][0, 0]][0, 1]].id.get_chunk_info(0)  # camera pair 1, identity 2, image 1
    with (root / RAW).open("r+b") as raw:
        raw.seek(512 + chunk.byte_offset + chunk.size // 2)
        raw.write(bytes(64))
    with pytest.raises(DataError, match=r"cuhk-03\.mat is damaged at 1_002_1_01\.png"):
        cuhk03.read(root, "labeled")
    assert {Image.open(path).format for path in (root / "images_labeled").iterdir()} == {"PNG"}  # before it, whole
    report = check("cuhk03_labeled", root)
    assert "damaged at 1_002_1_01.png" in str(report)
    assert cuhk03.read(root, "detected").train


def test_an_extracted_picture_that_does_not_decode(root: Path) -> None:
    cuhk03.read(root, "labeled")
    victim = root / "images_labeled" / "1_001_1_02.png"
    sound = victim.read_bytes()
    victim.write_bytes(sound[:200])
    text = str(check("cuhk03_labeled", root))
    assert f"cannot read the image {victim}" in text
    assert "delete these files, and they are extracted again" in text
    victim.unlink()
    cuhk03.read(root, "labeled")
    assert victim.read_bytes() == sound


@pytest.mark.parametrize("extracted", [False, True])
def test_lists_of_the_other_kind(root: Path, extracted: bool) -> None:
    if extracted:
        cuhk03.read(root, "labeled")
        (root / RAW).unlink()
    before = sorted(root.iterdir())
    one, two = (root / LISTS.format(kind) for kind in KINDS)
    spare = two.rename(root / "spare")
    one.rename(two)
    spare.rename(one)
    with pytest.raises(DataError, match=r"1_002_1_03\.png.* Are these the lists of the detected images\?"):
        cuhk03.read(root, "labeled")
    assert sorted(root.iterdir()) == before


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        content = {key: value for key, value in loadmat(path).items() if not key.startswith("_")}
        change(content)
        savemat(path, content)

    return apply


def renamed(name: str) -> Callable[[Path], None]:
    return edited(lambda content: content["filelist"].__setitem__((0, 0), name))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (renamed("5_843_1_01.png"), r"names 1 images that are not among the \d+ labeled ones of .*5_843_1_01\.png"),
        (renamed("../../1_001_1_01.png"), r"damaged: names that are not like .*\.\./\.\./1_001"),
        (renamed("1_001_1_02.png"), r"damaged: it names images twice: 1_001_1_02\.png"),
        (
            edited(lambda content: content.update(labels=content["labels"][1:])),
            r"damaged: it has \d+ names, \d+ labels",
        ),
        (edited(lambda content: content["train_idx"].__setitem__(0, 0)), r"damaged: it points at image 0 of \d+"),
        (edited(lambda content: content.update(query_idx=content["train_idx"])), "damaged: an image is in two splits"),
        (edited(lambda content: content["labels"].fill(1)), "damaged: identities are in the training and in the test"),
        (edited(lambda content: content.pop("camId")), "does not hold the lists of CUHK03's new protocol: .*camId"),
        (edited(lambda content: content.update(camId=content["camId"] / 2)), "does not hold .*no integers"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "cannot be read, it should be of MATLAB's version 5"),
        (lambda path: path.write_bytes(b""), "is empty, as after an interrupted download"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "is a web page"),
        (lambda path: shutil.copy(path.parent / RAW, path), "cannot be read, it should be"),
    ],
)
def test_bad_lists(root: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(root / LISTS.format("labeled"))
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=message):
        cuhk03.read(root, "labeled")
    assert sorted(root.rglob("*")) == before


def test_a_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sixth image the disk is full; with more room the same command resumes."""
    calls = iter(range(100))

    @contextmanager
    def full(path: Path, **options: bool) -> Iterator[IO[bytes]]:
        with atomic_file(path, **options) as file:
            yield file
            if next(calls) >= 5:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(cuhk03_extract, "atomic_file", full)
        with pytest.raises(DataError, match=r"cannot write .* No space left on device.* \d+ of \d+ images are still"):
            cuhk03.read(root, "labeled")
    written = sorted((root / "images_labeled").iterdir())
    assert len(written) == 5
    times = [path.stat().st_mtime_ns for path in written]
    samples = cuhk03.read(root, "labeled")
    assert [path.stat().st_mtime_ns for path in written] == times
    assert all(sample.path.is_file() for sample in samples.train + samples.query + samples.gallery)


def test_a_folder_that_cannot_be_made(root: Path) -> None:
    (root / "images_labeled").write_text("a file")
    with pytest.raises(DataError, match="cannot write the images of"):
        cuhk03.read(root, "labeled")


def test_killed_and_resumed(root: Path) -> None:
    """The process is killed in the middle of the fifth image."""
    code = f"""
import os, signal
from rga.data.reid import cuhk03, cuhk03_extract
from rga.files import atomic_file
calls = iter(range(100))
class Killed:
    def __init__(self, path, **options):
        self.context = atomic_file(path, **options)
    def __enter__(self):
        self.file = self.context.__enter__()
        return self
    def write(self, data):
        if next(calls) == 4:
            self.file.write(data[:10])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(data)
    def __exit__(self, *error):
        return self.context.__exit__(*error)
cuhk03_extract.atomic_file = Killed
cuhk03.read({str(root)!r}, "labeled")
"""
    folder = root / "images_labeled"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len([path for path in folder.iterdir() if path.name.startswith(".")]) == 1
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert len(written) == 4
    assert {Image.open(path).mode for path in written} == {"RGB"}
    split = cuhk03.read(root, "labeled")
    names = {sample.path.name for sample in split.train + split.query + split.gallery}
    assert {path.name for path in folder.iterdir()} == names  # and nothing that the killed one has left
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_two_at_a_time(root: Path) -> None:
    with ThreadPoolExecutor() as pool:
        splits = list(pool.map(lambda _: cuhk03.read(root, "labeled"), range(3)))
    assert splits[0] == splits[1] == splits[2]
    assert check("cuhk03_labeled", root).ok
