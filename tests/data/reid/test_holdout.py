"""Holdout sets against a transcription of the rule, and what may go wrong while one is written."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from rga.cli.app import app
from rga.data import Sample, check
from rga.data.demo import writers
from rga.data.marker import MARKER, is_synthetic
from rga.data.reid import holdout, market1501
from rga.errors import DataError

PARTS = ("bounding_box_train", "query", "bounding_box_test")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def by_the_rule(train: Path) -> dict[str, bytes]:
    """From the names alone: the first four characters are the identity, the two after the underscore the camera."""
    names = sorted(path.name for path in train.iterdir())
    people = sorted({name[:4] for name in names})
    tested = {person for number, person in enumerate(people) if number % 3 == 2}
    expected, asked = {}, []
    for name in names:
        part = "bounding_box_train"
        if name[:4] in tested:
            part = "bounding_box_test" if name[:7] in asked else "query"
            asked.append(name[:7])
        expected[f"{part}/{name}"] = (train / name).read_bytes()
    return expected


def test_the_split_is_that_of_the_rule(market: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["data", "holdout", "market1501", str(market), str(tmp_path / "new" / "set")])
    assert found.exit_code == 0, found.output
    expected = by_the_rule(market / "bounding_box_train")
    assert contents(tmp_path / "new" / "set") == expected
    assert is_synthetic(tmp_path / "new" / "set" / "query", tmp_path / "new" / "set")  # as what it is made of
    assert {name.split("/")[1][:4] for name in expected if name.startswith("query")} == {"0003", "0006", "0009"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]  # nothing is left behind
    assert check("market1501_holdout", tmp_path / "new" / "set").ok
    for part in PARTS:
        count = sum(name.startswith(f"{part}/") for name in expected)
        assert f"{part:20}{count:>8,} images" in found.output


def test_dukemtmc(tmp_path: Path) -> None:
    root = writers.write_dukemtmc(tmp_path / "duke", identities=4, test_identities=1, images=2, distractors=0)
    holdout.write("dukemtmc", root, tmp_path / "set")
    assert contents(tmp_path / "set") == by_the_rule(root / "bounding_box_train")


def test_pictures_are_linked_or_copied(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = holdout.write("market1501", market, tmp_path / "linked")
    one = parts["query"][0].path
    assert (tmp_path / "linked" / "query" / one.name).samefile(one)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    holdout.write("market1501", market, tmp_path / "copied")
    assert not (tmp_path / "copied" / "query" / one.name).samefile(one)
    assert contents(tmp_path / "copied") == contents(tmp_path / "linked")


def test_links_to_pictures_become_pictures(market: Path, tmp_path: Path) -> None:
    shutil.copytree(market, tmp_path / "store")
    root = tmp_path / "linked"
    for part in PARTS:
        (root / part).mkdir(parents=True)
        for path in (tmp_path / "store" / part).iterdir():
            (root / part / path.name).symlink_to(Path("../../store") / part / path.name)
    holdout.write("market1501", root, tmp_path / "deep" / "down" / "set")
    assert contents(tmp_path / "deep" / "down" / "set") == by_the_rule(market / "bounding_box_train")


def test_the_same_set_is_left_alone_and_others_are_not_touched(market: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    holdout.write("market1501", market, out)  # an empty folder will do
    before = {path: path.stat().st_ctime_ns for path in [out, *out.iterdir()]}
    holdout.write("market1501", market, out)
    assert {path: path.stat().st_ctime_ns for path in [out, *out.iterdir()]} == before
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"set holds something else than this holdout set"):
        holdout.write("market1501", market, out)
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(DataError, match="something else"):
        holdout.write("market1501", market, market)
    with pytest.raises(DataError, match="something else"):
        holdout.write("market1501", market, out / "mine.txt")


def test_an_interrupted_set_is_none(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        patch.setattr(shutil, "copy2", full)
        with pytest.raises(DataError, match=r"cannot write .*set: .*No space left"):
            holdout.write("market1501", market, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_cut(market: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Market-1501 in"):
        holdout.write("market1501", tmp_path / "nowhere", tmp_path / "set")
    with pytest.raises(DataError, match="no reader 'market'"):
        holdout.write("market", market, tmp_path / "set")
    lists = writers.write_msmt17_v1(tmp_path / "msmt17", identities=3, test_identities=2, images=2)
    with pytest.raises(DataError, match="msmt17_v1 is not laid out in bounding_box_train, query"):
        holdout.write("msmt17_v1", lists, tmp_path / "set")
    with pytest.raises(DataError, match="has 2 identities: a holdout set takes three or more"):
        holdout.cut([sample for sample in market1501.read(market).train if sample.identity < 3])
    assert not (tmp_path / "set").exists()


def test_a_cut_that_cannot_be_tested_on(tmp_path: Path) -> None:
    """One image in each camera: all of them ask, and nothing answers."""
    for part in PARTS:
        (tmp_path / "set" / part).mkdir(parents=True)
    for identity in (1, 2, 3):
        for camera in (1, 2):
            Image.new("RGB", (4, 8)).save(tmp_path / "set" / PARTS[0] / f"{identity:04d}_c{camera}s1_000001_00.jpg")
    for part in PARTS[1:]:
        Image.new("RGB", (4, 8)).save(tmp_path / "set" / part / "0009_c1s1_000001_00.jpg")
    with pytest.raises(
        DataError, match="could not be tested on: the protocol cannot be run: there are no gallery images"
    ):
        holdout.write("market1501", tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    one_camera = [Sample(Path(f"000{n}_c1s1_{frame}.jpg"), n, 1) for n in (1, 2, 3) for frame in (1, 2)]
    with pytest.raises(DataError, match="all query and gallery images are of camera 1"):
        holdout.cut(one_camera)
