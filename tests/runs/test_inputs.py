"""What a run was made of, by content: a moved set is the same one, any other is named with what differs."""

import builtins
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rga.runs.index import Index
from rga.runs.inputs import Inputs, InputsError, disagreement, read_index


def write(root: Path, names: dict[str, int]) -> Path:
    for name, size in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    return root


def index(root: Path, labels: dict[str, str] | None = None) -> Index:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return Index.of_files((path.parent.name, path, (labels or {}).get(path.name, "1 1")) for path in files)


FILES = {"set/train/a.jpg": 10, "set/train/b.jpg": 11, "set/query/c.jpg": 12}


def test_a_line_for_each_image(tmp_path: Path) -> None:
    found = index(write(tmp_path, FILES))
    assert found.lines == ("query\tc.jpg\t12\t1 1", "train\ta.jpg\t10\t1 1", "train\tb.jpg\t11\t1 1")
    assert {split: counts["images"] for split, counts in found.splits.items()} == {"query": 1, "train": 2}


def test_a_set_of_one_image_has_its_name(tmp_path: Path) -> None:
    assert index(write(tmp_path, {"train/a.jpg": 10})).lines == ("train\ta.jpg\t10\t1 1",)


def test_a_set_that_was_moved_is_the_same(tmp_path: Path) -> None:
    before = index(write(tmp_path / "here", FILES))
    shutil.copytree(tmp_path / "here", tmp_path / "elsewhere" / "deeper")
    assert index(tmp_path / "elsewhere") == before


def test_the_folder_in_which_a_run_is_started_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a/1.jpg": 10, "b/1.jpg": 11})
    expected = ("train\ta/1.jpg\t10\t1", "train\tb/1.jpg\t11\t1")
    monkeypatch.chdir(tmp_path)
    for one, other in (("a/1.jpg", "b/1.jpg"), (tmp_path / "a/1.jpg", "b/1.jpg"), ("./a/1.jpg", "a/../b/1.jpg")):
        found = Index.of_files((("train", Path(one), "1"), ("train", Path(other), "1")))
        assert found.lines == expected, (one, other)


def test_names_in_any_bytes(tmp_path: Path) -> None:
    """Of an old archive they need not be UTF-8, and may hold what elsewhere ends a line."""
    (tmp_path / "train").mkdir()
    names = ["k\udcfchn.jpg", "a\u2028b.jpg", "c\x85.jpg", "d\r.jpg"]
    for name in names:
        (tmp_path / "train" / name).write_bytes(b"x")
    found = index(tmp_path)
    assert found.splits["train"]["images"] == 4
    Inputs(found, None).write(tmp_path / "run")
    assert read_index(tmp_path / "run") == found
    Inputs(found, None).check(tmp_path / "run")
    (tmp_path / "train" / names[0]).rename(tmp_path / "train" / "k\udcfdhn.jpg")
    with pytest.raises(InputsError, match="1 gone"):
        Inputs(index(tmp_path), None).check(tmp_path / "run")


def test_images_may_have_no_folder_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rga.runs.index._content", lambda path: "10")
    found = Index.of_files((("train", Path("/disk1/1.jpg"), "1"), ("train", Path("/disk2/1.jpg"), "1")))
    assert found.lines == ("train\tdisk1/1.jpg\t10\t1", "train\tdisk2/1.jpg\t10\t1")


@pytest.mark.parametrize(
    ("files", "labels", "told"),
    [
        ({**FILES, "set/train/d.jpg": 1}, {}, "train has 3 images, it had 2; 1 new: train/d.jpg"),
        ({**FILES, "set/train/a.jpg": 99}, {}, "1 changed: train/a.jpg"),
        (FILES, {"b.jpg": "2 1"}, "1 changed: train/b.jpg"),
        ({"set/train/a.jpg": 10, "set/train/e.jpg": 11, "set/query/c.jpg": 12}, {}, "1 gone: train/b.jpg; 1 new"),
    ],
)
def test_another_set_is_named_with_what_differs(
    tmp_path: Path, files: dict[str, int], labels: dict[str, str], told: str
) -> None:
    run = tmp_path / "run"
    Inputs(index(write(tmp_path / "old", FILES)), None).write(run)
    other = Inputs(index(write(tmp_path / "new", files), labels), None)
    with pytest.raises(InputsError, match="rerun=true") as error:
        other.check(run)
    assert told in str(error.value)
    Inputs(read_index(run) or Index(()), None).check(run)


def test_a_test_needs_no_training_split(tmp_path: Path) -> None:
    """As in MSMT17, where query and gallery share a folder, all names lie deeper once the training folder is gone."""
    files = {"set/train/0/a.jpg": 10, "set/train/1/b.jpg": 11, "set/query/0/c.jpg": 12, "set/query/1/d.jpg": 13}

    def found(root: Path) -> Index:
        images = sorted(path for path in root.rglob("*") if path.is_file())
        return Index.of_files((path.parent.parent.name, path, "1 1") for path in images)

    run = tmp_path / "run"
    Inputs(found(write(tmp_path, files) / "set"), ("a.pth", "sha256:0")).write(run)
    shutil.rmtree(tmp_path / "set" / "train")
    rest = Inputs(found(tmp_path / "set"), None)
    rest.check(run, whole=False)
    with pytest.raises(InputsError, match="train has 0 images, it had 2"):
        rest.check(run)
    (tmp_path / "set" / "query" / "0" / "c.jpg").write_bytes(b"x")
    with pytest.raises(InputsError, match=r"1 changed: query/0/c\.jpg"):
        Inputs(found(tmp_path / "set"), None).check(run, whole=False)


def test_a_test_is_of_the_splits_that_both_have(tmp_path: Path) -> None:
    """A run may be tested on a split that was not looked at when it was made."""
    Inputs(Index(("train\ta\t1\t1", "val\tb\t1\t1")), None).write(tmp_path)
    Inputs(Index(("val\tb\t1\t1", "test\tc\t1\t1")), None).check(tmp_path, whole=False)
    with pytest.raises(InputsError, match="1 changed: val/b"):
        Inputs(Index(("val\tb\t2\t1", "test\tc\t1\t1")), None).check(tmp_path, whole=False)


def test_splits_of_an_index() -> None:
    whole = Index(("query\ta\t1\t1", "train\tb\t2\t2", "train2\tc\t2\t2"), {"query": 5, "train": 6, "train2": 7})
    assert whole.without("train") == Index((whole.lines[0], whole.lines[2]), {"query": 5, "train2": 7})
    assert whole.without("train").splits["query"] == whole.splits["query"]


def test_what_is_not_at_hand_is_not_compared(tmp_path: Path) -> None:
    run = tmp_path / "run"
    data, weights = index(write(tmp_path / "set", FILES)), ("a.pth", "sha256:0")
    Inputs(data, weights).write(run)
    Inputs(None, None).check(run)
    Inputs(None, weights).check(run)
    Inputs(data, None).check(run)
    with pytest.raises(InputsError, match="weights"):
        Inputs(None, ("a.pth", "sha256:1")).check(run)
    with pytest.raises(InputsError, match="train"):
        Inputs(Index(()), None).check(run)


def test_an_index_opens_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the size of each, so that a hundred thousand take less than a second."""
    root = write(tmp_path, FILES)
    looked: list[str] = []
    stat = os.stat

    def counted(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        looked.append(str(path))
        return stat(path, *rest, **options)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was opened")

    images = [(split, root / f"set/{split}/{name}.jpg", "1") for split, name in (("train", "a"), ("query", "c"))]
    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "scandir"), (os, "listdir")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(os, "stat", counted)
    found = Index.of_files([*images, ("gallery", images[1][1], "1")])
    monkeypatch.undo()
    assert len(found.lines) == 3
    assert sorted(looked) == sorted(str(path) for _, path, _ in images)


def test_weights_count_by_content(tmp_path: Path) -> None:
    def inputs(folder: str, content: bytes) -> Inputs:
        file = tmp_path / folder / "model_final.pth"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return Inputs.of({"backbone": {"weights": str(file)}}, Index(()))

    first = inputs("a", b"one")
    first.write(tmp_path / "run")
    inputs("b", b"one").check(tmp_path / "run")
    with pytest.raises(InputsError, match=r"the weights model_final\.pth are another file of the same name"):
        inputs("c", b"two").check(tmp_path / "run")
    assert Inputs.of({"backbone": {"weights": "IMAGENET1K_V1"}}, Index(())).weights is None


def test_seeds_of_different_data_are_not_averaged() -> None:
    def result(seed: int, images: int, inputs: bool = True) -> dict[str, Any]:
        summary = {"train": {"images": images, "digest": f"sha256:{images}"}}
        data = {"name": "x", "train": {"images": images, "identities": 3}}
        return {"fingerprint": "f", "seed": seed, "data": data, "inputs": {"data": summary} if inputs else None}

    assert disagreement([]) is None
    assert disagreement([result(0, 5), result(1, 5), result(2, 5, inputs=False)]) is None
    told = disagreement([result(0, 5), result(1, 6)])
    assert told is not None
    assert "runs f/0 and f/1" in told
    assert "train has 6 images, it had 5" in told
    assert disagreement([result(0, 5), result(1, 6, inputs=False)]) is not None


def test_images_that_are_not_compressed_count_by_content(tmp_path: Path) -> None:
    """They have one size in bytes, whatever they show."""
    lines = []
    for content in (b"BM1", b"BM2"):
        (tmp_path / "a.bmp").write_bytes(content)
        lines.append(Index.of_files([("train", tmp_path / "a.bmp", "1")]).lines)
    assert lines[0] != lines[1]


def test_a_result_alone_says_what_it_was_made_of(tmp_path: Path) -> None:
    inputs = Inputs(index(write(tmp_path / "set", FILES)), None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(json.dumps({"inputs": inputs.summary()}))
    inputs.check(tmp_path / "run")
    with pytest.raises(InputsError, match="train"):
        Inputs(Index(()), None).check(tmp_path / "run")


def test_an_edited_block_of_ones_own_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    config = {"attention": {"block": {"_target_": "my_own_blocks.Mine"}}, "task": {"_target_": "rga.tasks.ReID"}}

    def made(source: str) -> Inputs:
        (tmp_path / "my_own_blocks.py").write_text(source)
        return Inputs.of(config, None)

    first = made("class Mine:\n    x = 1\n")
    assert list(first.sources) == ["my_own_blocks"]
    Inputs(Index(()), None, first.sources).write(tmp_path / "run")
    made('"""Of mine."""\nclass Mine:  # better\n    """One."""\n\n    x = 1\n').check(tmp_path / "run")
    with pytest.raises(InputsError, match="the source of my_own_blocks has changed"):
        made("class Mine:\n    x = 2\n").check(tmp_path / "run")
