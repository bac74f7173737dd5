"""Images and masks of one's own, as numbers and as colours, and what a classes.yaml may say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rga.data import SceneData, check
from rga.data.base import IGNORED
from rga.data.demo import writers
from rga.data.scenes import annotated, class_list, mask_folder
from rga.errors import DataError

NUMBERS = """
classes:
  - {name: ground, id: 7}
  - {name: tree, id: 0, colour: [0, 200, 0]}
ignored: [255, 9]
"""
COLOURS = """
classes:
  - {name: ground, colour: [90, 60, 0]}
  - {name: tree, colour: [0, 200, 0]}
ignored: [[0, 0, 0]]
"""
MASK = np.array([[7, 0, 255], [9, 7, 0]], np.uint8)
LABELS = [[0, 1, IGNORED], [IGNORED, 0, 1]]
PAINTS = {7: (90, 60, 0), 0: (0, 200, 0), 255: (0, 0, 0), 9: (0, 0, 0)}
PAINTED = np.array([[PAINTS[number] for number in row] for row in MASK.tolist()], np.uint8)


def write(
    root: Path, classes: str = NUMBERS, mask: Image.Image | None = None, parts: tuple[str, ...] = ("train", "val")
) -> Path:
    for part in parts:
        for name in ("a/1", "b"):
            image, label = root / "images" / part / f"{name}.jpg", root / "masks" / part / f"{name}.png"
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 2)).save(image)
            (mask or Image.fromarray(MASK)).save(label)
    (root / "classes.yaml").write_text(classes)
    return root


def labels(root: Path) -> Any:
    split = mask_folder.read(root)
    return annotated.labels(split.parts["train"][0].label, split.lookup, split.painted).tolist()


def test_numbers(tmp_path: Path) -> None:
    split = mask_folder.read(write(tmp_path))
    assert [scene.name for scene in split.parts["val"]] == ["a/1", "b"]
    assert list(split.parts) == ["train", "val"]
    assert split.classes == ["ground", "tree"]
    assert split.colours[1].tolist() == [0, 200, 0]
    assert split.colours[0].tolist() != split.colours[1].tolist()
    assert labels(tmp_path) == LABELS
    module = SceneData(mask_folder.read, tmp_path, (9, 9), test=["val"])
    module.prepare_data()
    module.setup("fit")
    assert (module.num_classes, module.classes) == (2, ["ground", "tree"])
    with pytest.raises(DataError, match="has the splits train, val, not test"):
        SceneData(mask_folder.read, tmp_path, (9, 9), test=["test", "val"]).setup("test")
    assert list(mask_folder.read(write(tmp_path, parts=("test",))).parts) == ["train", "val", "test"]


def test_the_numbers_of_the_classes(tmp_path: Path) -> None:
    assert mask_folder.label_ids(write(tmp_path)) == [7, 0]
    with pytest.raises(DataError, match="have colours and no ids"):
        mask_folder.label_ids(write(tmp_path, COLOURS))


def test_colours_painted_and_in_a_palette(tmp_path: Path) -> None:
    """VOC's masks, for one, are numbers of a palette, and what is said of them are its colours."""
    assert labels(write(tmp_path / "painted", COLOURS, Image.fromarray(PAINTED))) == LABELS
    palette = Image.fromarray(PAINTED).quantize(8)
    assert palette.mode == "P"
    assert labels(write(tmp_path / "palette", COLOURS, palette)) == LABELS
    with pytest.raises(DataError, match=r"has colours that no class has: \(1, 2, 3\)"):
        labels(write(tmp_path / "other", COLOURS, Image.new("RGB", (3, 2), (1, 2, 3))))
    with pytest.raises(DataError, match="colours that no class has: \\(7, 7, 7\\)"):
        labels(write(tmp_path / "numbers", COLOURS))


def test_numbers_and_colours_of_all_classes(tmp_path: Path) -> None:
    both = NUMBERS.replace("id: 7}", "id: 7, colour: [90, 60, 0]}").replace("9]", "9, [0, 0, 0]]")
    assert labels(write(tmp_path / "numbers", both)) == LABELS
    assert labels(write(tmp_path / "painted", both, Image.fromarray(PAINTED))) == LABELS


def test_numbers_that_are_not_named(tmp_path: Path) -> None:
    root = write(tmp_path, NUMBERS.replace(", 9", ""))
    with pytest.raises(DataError, match=r"1.png has labels that do not exist: 9; there are 0, 7, 255"):
        labels(root)
    report = check("mask_folder", root)
    assert not report.ok
    assert "labels that do not exist: 9" in str(report)


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "images" / "extra").mkdir()
    (root / "masks" / "train" / "notes.txt").touch()
    report = check("mask_folder", root)
    assert report.ok, str(report)
    assert "images/extra" in str(report)
    assert "masks/train/notes.txt" in str(report)


def test_masks_of_0_and_255(tmp_path: Path) -> None:
    """With 255 ignored, which is usual, nothing of the second class would count, and all be right."""
    classes = "classes:\n  - {name: ground, id: 0}\n  - {name: tree, id: 1}\nignored: [255]\n"
    root = write(tmp_path, classes, Image.fromarray(np.array([[0, 255, 0], [0, 0, 255]], np.uint8)))
    with pytest.raises(DataError, match="split train all pixels that count are of ground: none of its 2 labels"):
        SceneData(mask_folder.read, root, (9, 9), test=["val"]).prepare_data()
    report = check("mask_folder", root)
    assert not report.ok
    assert "the second class has the id 255" in str(report)
    (root / "classes.yaml").write_text("classes:\n  - {name: ground, id: 0}\n  - {name: tree, id: 255}\n")
    SceneData(mask_folder.read, root, (9, 9), test=["val"]).prepare_data()
    assert check("mask_folder", root).ok


def test_names_in_two_forms_of_unicode(tmp_path: Path) -> None:
    """macOS and its archives have an é as two signs."""
    root = write(tmp_path)
    for folder, name, suffix in (("images", "caf\u00e9", "jpg"), ("masks", "cafe\u0301", "png")):
        (root / folder / "train" / f"b.{suffix}").rename(root / folder / "train" / f"{name}.{suffix}")
    assert [scene.name for scene in mask_folder.read(root).parts["train"]] == ["a/1", "caf\u00e9"]


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images and no masks and no classes.yaml in .*: expected images/train"):
        mask_folder.read(tmp_path)
    root = write(tmp_path, parts=("train",))
    with pytest.raises(DataError, match=r"there is no .*images/val and no .*masks/val"):
        mask_folder.read(root)
    (root / "images" / "val").mkdir()
    with pytest.raises(DataError, match=r"images/val is there, but .*masks/val is not"):
        mask_folder.read(root)
    (root / "masks" / "val").mkdir()
    with pytest.raises(DataError, match=r"no images in .*images/val"):
        mask_folder.read(root)
    write(tmp_path)
    (root / "masks" / "val" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 images in .* have no label: .*b.jpg"):
        mask_folder.read(root)


def test_what_the_masks_mean_is_an_input(tmp_path: Path) -> None:
    def index(root: Path) -> Any:
        return SceneData(mask_folder.read, root, (9, 9), test=["val"]).index()

    before = index(write(tmp_path))
    same = "# mine\n" + NUMBERS.replace("[255, 9]", "[9, 255]")
    assert index(write(tmp_path, same)) == before
    for change in (("id: 7", "id: 8"), ("tree", "oak"), ("255, 9", "255")):
        assert index(write(tmp_path, NUMBERS.replace(*change))).splits["val"] != before.splits["val"]


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_what_is_in_a_mask_is_an_input(tmp_path: Path, ending: str) -> None:
    """A corrected mask may have as many bytes as the wrong one."""

    def index(mask: np.ndarray[Any, Any]) -> Any:
        write(tmp_path)
        for old in (tmp_path / "masks").rglob("*.*"):
            Image.fromarray(mask).save(old.with_suffix(f".{ending}"))
            if ending != "png":
                old.unlink(missing_ok=True)
        return SceneData(mask_folder.read, tmp_path, (9, 9), test=["val"]).index().splits

    before = index(MASK)
    assert index(MASK) == before
    assert index(MASK[:, ::-1].copy()) != before


def test_fewer_images_to_test_on_than_processes(tmp_path: Path) -> None:
    data = SceneData(mask_folder.read, write(tmp_path), (9, 9), test=["val"])
    data.trainer = SimpleNamespace(global_rank=0, world_size=3)  # type: ignore[assignment]
    with pytest.raises(
        DataError, match=r"has 2 images to test on in val, and the run has 3 processes: trainer.devices=2"
    ):
        data.prepare_data()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ignored", "ignore"), "is not what was expected: a list `classes`, maybe a list `ignored`, and nothing else"),
        (("{name: ground", "{nam: ground"), "a class has a name and an id or a colour"),
        (
            ("ground", "no"),
            "the name of a class is a text, in quotes where YAML takes it for something else, not False",
        ),
        (("ground", '"a\\u200fb"'), "the name of a class is a text"),
        (("id: 7", "id: 300"), "ground: a number in a mask is 0 to 255, not 300"),
        (("id: 7", "id: true"), "ground: a number in a mask is 0 to 255, not True"),
        (("id: 7", "id: 0"), "has ids that mean several things: 0"),
        (("255, 9", "255, 7"), "has ids that mean several things: 7"),
        (("ground", "tree"), "has names that mean several things: tree"),
        ((", id: 7", ""), "all classes have an id, or all have a colour; ground has no id"),
        (("[0, 200, 0]", "green"), r"tree: a colour is red, green and blue, such as \[220, 20, 60\], not 'green'"),
        (("[255, 9]", "255"), "ignored is a list of numbers or of colours, not 255"),
        (("9]", "[9, 9, 9]]"), "ignored has colours, but not all classes have one"),
        (("  - {name: ground, id: 7}\n", ""), "has 1 classes: 2 to 254"),
        (("ignored: [", "ignored: ["[:-1] + "{"), "cannot read .*classes.yaml: "),
    ],
)
def test_what_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = NUMBERS.replace(*change, 1)
    assert text != NUMBERS
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        class_list.read(tmp_path / "classes.yaml")


def test_nothing_in_it_is_executed(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("classes: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(DataError, match="cannot read"):
        class_list.read(tmp_path / "classes.yaml")


def test_demo_data(tmp_path: Path) -> None:
    root = writers.write_mask_folder(tmp_path / "set", train=3, val=2, size=64)
    report = check("mask_folder", root)
    assert report.ok, str(report)
    split = mask_folder.read(root)
    assert split.classes == ["ground", "disc", "square", "triangle"]
    module = SceneData(mask_folder.read, root, (33, 33), test=["val"], workers=0)
    assert module.synthetic
    seen = {
        label
        for scenes in split.parts.values()
        for scene in scenes
        for label in np.unique(annotated.load(scene, split.lookup)[1])
    }
    assert seen == {0, 1, 2, 3, IGNORED}
    with pytest.raises(ValueError, match="size is at least 32"):
        writers.write_mask_folder(tmp_path / "other", size=16)


BLACK_AND_WHITE = """
classes:
  - {name: ground, colour: [0, 0, 0]}
  - {name: tree, colour: [255, 255, 255]}
"""


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_black_and_white_are_colours_however_they_are_stored(tmp_path: Path, mode: str) -> None:
    """Many tools save a painted mask in grey, or with a bit for each pixel."""
    mask = Image.fromarray(np.array([[0, 255, 255], [255, 0, 0]], np.uint8))
    assert labels(write(tmp_path, BLACK_AND_WHITE, mask.convert(mode))) == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_numbers_of_one_bit_and_beside_an_alpha(tmp_path: Path, mode: str) -> None:
    classes = "classes:\n  - {name: ground, id: 0}\n  - {name: tree, id: 1}\n"
    numbers = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    mask = Image.fromarray(numbers == 1) if mode == "1" else Image.fromarray(numbers).convert(mode)
    assert mask.mode == mode
    assert labels(write(tmp_path, classes, mask)) == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_colours_of_another_kind_are_refused(tmp_path: Path, mode: str) -> None:
    root = write(tmp_path, COLOURS)
    scene = mask_folder.read(root).parts["train"][0]
    Image.new(mode, (3, 2)).save(scene.label, "TIFF")
    split = mask_folder.read(root)
    with pytest.raises(DataError, match=f"stored as {mode}"):
        annotated.labels(scene.label, split.lookup, split.painted)


def test_minus_one_is_not_the_class_255(tmp_path: Path) -> None:
    classes = "classes:\n  - {name: ground, id: 0}\n  - {name: tree, id: 255}\n"
    split = mask_folder.read(write(tmp_path, classes, Image.new("L", (3, 2))))
    for number in (-1, 65535):
        label = split.parts["train"][0].label
        Image.fromarray(np.array([[0, 255, number], [0, 0, 0]], np.int32)).save(label, "TIFF")
        with pytest.raises(DataError, match=f"do not exist: {number}; there are 0, 255"):
            annotated.labels(label, split.lookup, split.painted)


@pytest.mark.parametrize("twice", ["  - {name: tree, id: 1, id: 0}\n", "  - {name: tree, id: 1}\nclasses: []\n"])
def test_a_key_that_stands_there_twice(tmp_path: Path, twice: str) -> None:
    with pytest.raises(DataError, match="stands there twice"):
        mask_folder.read(write(tmp_path, "classes:\n  - {name: ground, id: 7}\n" + twice))


def test_the_check_names_classes_without_pixels(tmp_path: Path) -> None:
    write(tmp_path, NUMBERS.replace("ignored", "  - {name: moon, id: 3}\nignored"))
    assert "no pixel of val is of 1 of the classes: moon" in check("mask_folder", tmp_path).notes
