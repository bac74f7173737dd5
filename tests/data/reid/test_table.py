"""Tables of one's own: what they mean, against Market-1501's reader of the same images, and what is refused."""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from rga.data import ReIDAugment, ReIDData, check, matches
from rga.data.base import in_words
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.reid import market1501, table
from rga.data.table_file import read as read_table
from rga.errors import ConfigError, DataError
from rga.metrics import evaluate_ranking
from rga.network import component

COLUMNS = ("path", "identity", "camera", "split")
ROWS = [
    ("a/1.png", "anna", "door", "train"),
    ("a/2.png", "anna", "till", "train"),
    ("b/1.png", "ben", "door", "query"),
    ("b/2.png", "ben", "till", "gallery"),
    ("b/3.png", "ben", "door", "gallery"),
    ("c/1.png", "chloé", "till", "query"),
    ("c/2.png", "chloé", "yard", "gallery"),
]


def write(folder: Path, rows: Iterable[tuple[str, ...]] = ROWS, columns: tuple[str, ...] = COLUMNS) -> Path:
    """A table, `table.csv`, and its images, of a size each."""
    rows = list(rows)
    for number, (name, *_) in enumerate(sorted(rows)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 16)).save(folder / name)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder / "table.csv"


def listed(split: Any, part: str) -> list[tuple[str, str, str]]:
    return [
        (sample.path.as_posix()[-7:], split.identity(sample.identity), split.camera(sample.camera))
        for sample in getattr(split, part)
    ]


def data(root: Path, reader: Any = table.read, **options: Any) -> ReIDData:
    size = (64, 32)
    module = ReIDData(
        reader, root, size, identities=4, images=3, workers=0, test_batch=16, augment=ReIDAugment(size), **options
    )
    module.prepare_data()
    module.setup("fit")
    return module


def of_market(root: Path, file: Path, seed: int = 0) -> Path:
    """Market-1501's layout as a table: what its names say, as they say it, in any order."""
    split = market1501.read(root)
    parts = {"train": split.train, "query": split.query, "gallery": split.gallery}
    rows = [
        (sample.path.relative_to(root).as_posix(), sample.path.name[:4], f"c{sample.camera}", part)
        for part, samples in parts.items()
        for sample in samples
    ]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([COLUMNS, *np.random.default_rng(seed).permutation(rows).tolist()])
    return file


def test_what_it_means(tmp_path: Path) -> None:
    file = write(tmp_path / "set", [*reversed(ROWS)])
    split = table.read(file)
    assert listed(split, "train") == [("a/1.png", "anna", "door"), ("a/2.png", "anna", "till")]
    assert listed(split, "query") == [("b/1.png", "ben", "door"), ("c/1.png", "chloé", "till")]
    assert [entry[0] for entry in listed(split, "gallery")] == ["b/2.png", "b/3.png", "c/2.png"]
    assert split.has_cameras
    assert table.read(file.parent) == split == table.read(file.parent, file)
    assert matches.unmatched(split.query, split.gallery) == []


def test_a_name_in_another_form_of_unicode(tmp_path: Path) -> None:
    """macOS and its archives have an é as two signs, and `ls` shows no difference."""
    file = write(tmp_path, [("caf\u00e9.png", *ROWS[0][1:]), *ROWS[1:]])
    (tmp_path / "caf\u00e9.png").rename(tmp_path / "cafe\u0301.png")
    with pytest.raises(DataError, match=r"lists 1 images that are not there: .*written in another form of Unicode"):
        table.read(file)


def test_where_the_images_are(tmp_path: Path) -> None:
    """In the table's folder, or below `root`, or where an absolute path says."""
    file = write(tmp_path / "images")
    other = tmp_path / "lists" / "people.csv"
    other.parent.mkdir()
    file.rename(other)
    assert table.read(tmp_path / "images", other).train[0].path == tmp_path / "images" / "a/1.png"
    with pytest.raises(DataError, match=r"lists 7 images that are not there: .*lists/a/1.png \(line 2\)"):
        table.read(other)
    with pytest.raises(DataError, match=r"no folder .*imagse for the images"):
        table.read(tmp_path / "imagse", other)
    with pytest.raises(DataError, match=r"no table in .*images: expected table.csv or table.parquet there"):
        table.read(tmp_path / "images")
    rows = [(str(tmp_path / "images" / name), *rest) for name, *rest in ROWS]
    with other.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([COLUMNS, *rows])
    assert table.read(other).train[0].path == tmp_path / "images" / "a/1.png"
    windows = other.read_text(encoding="utf-8").replace("/a/1.png", "\\a\\1.png")
    other.write_text(windows, encoding="utf-16")
    assert table.read(other).train[0].path == tmp_path / "images" / "a/1.png"


def test_where_it_is_read_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the order, on which batches depend, nor for an image that is listed twice."""
    file = write(tmp_path / "set")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("a/2.png", str(tmp_path / "set" / "a" / "2.png")), encoding="utf-8")
    absolute = table.read(file)
    monkeypatch.chdir(tmp_path)
    assert table.read(Path("set")) == absolute
    monkeypatch.chdir(tmp_path / "set")
    assert table.read(Path(), Path("table.csv")) == absolute
    file.write_text(f"{text}{tmp_path / 'set' / 'b' / '1.png'},ben,door,query\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"lists .*b/1.png twice as query"):
        table.read(Path("table.csv"))


def test_numbers_are_ordered_by_value(tmp_path: Path) -> None:
    """So that Market's identities, written without zeros, have the labels that its reader gives them."""
    rows = [(f"{name}.png", name, "1", "train") for name in ("10", "9", "x", "-1", "2")]
    split = table.read(write(tmp_path, rows))
    assert split.names is not None
    assert split.names.identities == ["2", "9", "10", "-1", "x"]


@pytest.mark.parametrize("seed", [0, 1])
def test_market_as_a_table_gives_the_same_batches(market: Path, tmp_path: Path, seed: int) -> None:
    own = data(market, market1501.read)
    ours = data(market, table=of_market(market, tmp_path / "market.csv", seed))
    assert ours.num_classes == own.num_classes
    for loader in ("train_dataloader", "test_dataloader"):
        batches = []
        for module in (own, ours):
            made: Any = getattr(module, loader)()
            made.sampler.set_epoch(3)
            batches.append([module.on_after_batch_transfer(batch, 0) for batch in made])
        for one, other in zip(*batches, strict=True):
            assert torch.equal(one["image"], other["image"])
            if "label" in one:
                assert torch.equal(one["label"], other["label"])
    summaries = [{key: value for key, value in module.summary.items() if key != "name"} for module in (own, ours)]
    assert summaries[0] == summaries[1]


def test_market_as_a_table_gives_the_same_metrics(market: Path, tmp_path: Path) -> None:
    own, ours = market1501.read(market), table.read(market, of_market(market, tmp_path / "market.csv"))
    features = np.random.default_rng(0).standard_normal((len(own.query) + len(own.gallery), 5))
    found = []
    for split in (own, ours):
        labels = [
            np.array([getattr(sample, key) for sample in part])
            for key in ("identity", "camera")
            for part in (split.query, split.gallery)
        ]
        found.append(evaluate_ranking(features[: len(split.query)], features[len(split.query) :], *labels).summary())
    assert found[0] == found[1]


def test_without_cameras(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every other image is a match, and an image that both asks and answers is none of itself."""
    rows = [(*row[:2], "", row[3]) for row in ROWS] + [("b/1.png", "ben", "", "gallery"), ("d/1.png", "d", "", "query")]
    split = table.read(write(tmp_path, [*rows, ("d/1.png", "d", "", "gallery")]))
    assert not split.has_cameras
    assert [sample.path.parent.name for sample in matches.unmatched(split.query, split.gallery)] == ["d"]
    features = np.eye(5)[[0, 1, 2, 0, 3, 3, 1, 2]]  # each query's own image, if it is there, is the nearest
    query, gallery = split.query, split.gallery
    assert [sample.path.as_posix()[-7:] for sample in gallery] == [
        "b/1.png",
        "b/2.png",
        "b/3.png",
        "c/2.png",
        "d/1.png",
    ]
    labels = [np.array([getattr(s, key) for s in part]) for key in ("identity", "camera") for part in (query, gallery)]
    result = evaluate_ranking(features[:3], features[3:], *labels)
    assert result.valid_queries == 2
    assert result.first_match.tolist() == [1, 1]  # b/2.png: b/1.png itself is left out; c/2.png
    module = ReIDData(table.read, tmp_path, (16, 8))
    module.setup("test")
    assert in_words(module.summary["query"]) == (
        "3 images (2 counted, the others have no match), 3 identities, "
        "no cameras: every other gallery image of an identity is a match"
    )
    report = str(check("reid_table", tmp_path))
    assert "no cameras: every other gallery image of an identity is a match" in report
    assert "1 of 3 queries do not count, as the gallery has no other image of their identity: 1.png" in report
    both = write(tmp_path / "both", [("x.png", "x", "", "query"), ("x.png", "x", "", "gallery")])
    with pytest.raises(DataError, match="none of the 1 queries has a match: another image of its identity"):
        matches.verify(table.read(both), both)


def test_an_image_that_asks_and_answers_has_a_camera_as_well(tmp_path: Path) -> None:
    split = table.read(write(tmp_path, [*ROWS, ("b/1.png", "ben", "door", "gallery")]))
    assert matches.unmatched(split.query, split.gallery) == []
    assert split.query[0] in split.gallery


def test_the_index_holds_labels_and_not_the_order_of_lines(tmp_path: Path) -> None:
    first = ReIDData(table.read, write(tmp_path / "one"), (16, 8)).index()
    assert "query\tb/1.png" in "\n".join(first.lines)
    assert ReIDData(table.read, write(tmp_path / "two", [*reversed(ROWS)]), (16, 8)).index() == first
    for column, value in ((1, "ann"), (2, "hall")):
        rows = [tuple(value if value and n == column else text for n, text in enumerate(ROWS[0])), *ROWS[1:]]
        if column == 1:
            rows[1] = (*ROWS[1][:1], value, *ROWS[1][2:])
        other = ReIDData(table.read, write(tmp_path / value, rows), (16, 8)).index()
        assert other.splits["query"] == first.splits["query"]
        assert other.splits["train"] != first.splits["train"]
    more = [(*row, "rain") for row in ROWS]
    assert ReIDData(table.read, write(tmp_path / "more", more, (*COLUMNS, "weather")), (16, 8)).index() == first


def test_further_columns_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path, [(*row, "rain") for row in ROWS], (*COLUMNS, "weather"))
    assert [row.cells["weather"] for row in read_table(file, COLUMNS)] == ["rain"] * len(ROWS)
    assert read_table(file, COLUMNS)[2].place == "line 4"


def test_a_note_may_hold_anything(tmp_path: Path) -> None:
    noted = write(tmp_path / "noted", [(*row, "a\tb \x1b") for row in ROWS], (*COLUMNS, "note"))
    assert len(table.read(noted).train) == 2
    camera = write(tmp_path / "camera", [(*ROWS[0][:2], "do\tor", "train"), *ROWS[1:]])
    with pytest.raises(DataError, match=r"'do\\tor' has characters that are not seen"):
        table.read(camera)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("7", "7.0"), "as numbers the same"),
        (("07.50", "7.5"), "as numbers the same"),
        (("Jos\u00e9", "Jose\u0301"), "which look the same"),
        (("anna", "an\u200bna"), "which look the same"),
        (("an na", "an\u00a0na"), "which look the same"),
    ],
)
def test_names_that_are_one(tmp_path: Path, names: tuple[str, str], why: str) -> None:
    """A part of a table may have come from another program: then one person would be two, or one camera."""
    first, second = names
    people = [("a/1.png", first, "door", "train"), ("a/2.png", second, "till", "train")]
    with pytest.raises(DataError, match=f"has the identities .* and .*, {why}: write them alike"):
        table.read(write(tmp_path / "people", [*people, *ROWS[2:]]))
    places = [("b/1.png", "ben", first, "query"), ("b/2.png", "ben", second, "gallery")]
    with pytest.raises(DataError, match=f"has the cameras .* and .*, {why}: write them alike"):
        table.read(write(tmp_path / "places", [*ROWS[:2], *places]))


def test_the_check_names_doubtful_ones(tmp_path: Path) -> None:
    rows = [*ROWS, ("d/1.png", "Anna", "Door", "train"), ("d/2.png", "nan", "till", "train")]
    notes = check("reid_table", write(tmp_path, rows)).notes
    assert "identities that differ in capitals alone count as different ones: Anna and anna" in notes
    assert "cameras that differ in capitals alone count as different ones: Door and door" in notes
    assert "nan among the identities is taken for a name: of images without one, leave it empty" in notes


def test_names_that_are_not_one(tmp_path: Path) -> None:
    people = ("1e3", "1000", "-7", "7", "nan", "NaN", "7.5", "75", "x1", "x01")
    split = table.read(write(tmp_path, [(f"{number}.png", who, "a", "train") for number, who in enumerate(people)]))
    assert {split.identity(sample.identity) for sample in split.train} == set(people)


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (name, number, camera, split)
        for number, (name, _, camera, split) in zip((1, 1, 2, 2, 2, 30, 30), ROWS, strict=True)
    ]
    file = write(tmp_path, [tuple(map(str, row)) for row in rows])
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "people.parquet")
    assert table.read(tmp_path / "people.parquet") == table.read(file)
    columns["camera"] = tuple([None] * 7)
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "people.parquet")
    assert not table.read(tmp_path / "people.parquet").has_cameras
    as_pandas = {**columns, "identity": [float(row[1]) for row in rows], "path": [row[0].encode() for row in rows]}
    as_pandas["camera"] = [row[2] for row in rows]
    pyarrow.parquet.write_table(pyarrow.table(as_pandas), tmp_path / "people.parquet")
    assert table.read(tmp_path / "people.parquet") == table.read(file)
    columns["identity"] = (1.0, 1.0, float("nan"), 2.0, 2.0, 3.0, 3.0)
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "people.parquet")
    with pytest.raises(DataError, match=r"people.parquet, row 3: there is no identity$"):
        table.read(tmp_path / "people.parquet")
    (tmp_path / "people.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*people.parquet"):
        table.read(tmp_path / "people.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'rga\[parquet\]'"):
        table.read(tmp_path / "people.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("identity", "id"), "has no column identity: it has path, id, camera, split, and needs path, identity, split"),
        (
            ("path,identity,camera,split", "path;identity;camera;split"),
            "has no column path and none identity and none ",
        ),
        (("camera,split", "split,split"), "has several columns split"),
        (("a/1.png,anna,door", "a/1.png,anna"), "line 2: 3 values, there are 4 columns"),
        (("a/1.png,anna", "a/1.png,"), "line 2: there is no identity"),
        (("anna,till", "anna,"), "line 3: there is no camera, but other lines have one"),
        (("ben,door,query", "ben,door,test"), "line 4: the split is train or query or gallery, not 'test'"),
        (("a/2.png", "a/9.png"), r"lists 1 images that are not there: .*a/9.png \(line 3\)"),
        (("a/2.png,anna,till", "a/1.png,anna,till"), "lists .*a/1.png twice as train, in line 2 and line 3"),
        (("b/2.png", "b/1.png"), r"has two labels of .*b/1.png, in line 5 and line 4"),
        (
            ("ben,door,query", "anna,door,query"),
            r"has 1 identities to train on and to test on: anna \(line 3, line 4\)",
        ),
        (("anna", '"anna'), "line .: this is no CSV: "),
        (("anna", "9" * 5000), "line 2: the identity has more than 4,000 characters"),
        (("anna", "an\x1bna"), r"line 2: 'an\\x1bna' has characters that are not seen"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    file = write(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(*change, 2 if change[1] == "an\x1bna" else 1), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        table.read(file)
    report = check("reid_table", file)
    assert not report.ok
    assert "not all is well" in str(report)


def test_more_that_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_bytes(file.read_bytes().replace("chloé".encode(), "chloé".encode("latin-1")))
    with pytest.raises(DataError, match=r"table.csv: line 7 is not UTF-8"):
        table.read(file)
    write(tmp_path, [(f"{name}.png", name, "1", "train") for name in ("07", "7")])
    with pytest.raises(DataError, match="the identities 07 and 7, as numbers the same"):
        table.read(file)
    file.write_text("path,identity,split\n\n")
    with pytest.raises(DataError, match="lists no images"):
        table.read(file)
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a"]}), tmp_path / "table.parquet")
    with pytest.raises(DataError, match="more than one table in"):
        table.read(tmp_path)


def test_which_table(tmp_path: Path) -> None:
    node = {"_target_": "rga.data.ReIDData", "reader": table.read, "size": [16, 8]}
    with pytest.raises(ConfigError, match=r"which table\? data.table=FILE"):
        component({**node, "root": None})
    demo = {"demo": {}, "demo_writer": writers.write_reid_table}
    with pytest.raises(ConfigError, match="synthetic data have a table of their own"):
        component({**node, "root": tmp_path, "table": "mine.csv", **demo})


def test_demo_data(tmp_path: Path) -> None:
    root = writers.write_reid_table(tmp_path / "set", identities=5, test_identities=3, images=2)
    report = check("reid_table", root)
    assert report.ok, str(report)
    assert "the counts are those of the demo data that were written" in str(report)
    split = table.read(root)
    assert split.names is not None
    assert split.names.cameras == ["door", "hall", "stairs", "street", "till", "yard"]
    extra = root / "images" / "hall" / "more.jpg"
    Image.new("RGB", (8, 8)).save(extra)
    own = root / "own.csv"
    own.write_text((root / "table.csv").read_text())
    text = str(check("reid_table", own))
    assert "1 is left out (beside listed images, in no line of own.csv): images/hall/more.jpg" in text
    assert "no published counts" in text
    for places in ({}, {"table": own}, {"root": root / "own.csv"}):
        module = ReIDData(table.read, **{"root": tmp_path / "set", "size": (16, 8), **places})
        assert module.synthetic
    (root / MARKER).unlink()
    assert not ReIDData(table.read, root, (16, 8)).synthetic
