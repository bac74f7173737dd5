"""Readers of Cityscapes and CamVid, their errors and their check."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.pngs import png
from rga.data import check
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.scenes import annotated, camvid, cityscapes
from rga.errors import DataError

IMAGES, LABELS = "leftImg8bit/train/demo", "gtFine/train/demo"


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writers.write_cityscapes(tmp_path_factory.mktemp("streets") / "set", train=3, val=2, size=32)


@pytest.fixture
def copy(streets: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(streets, tmp_path / "copy"))


@pytest.fixture
def cam(tmp_path: Path) -> Path:
    """A set in CamVid's layout, in which every number occurs."""
    root = tmp_path / "cam"
    for number, part in enumerate(("train", "val", "test")):
        (root / part).mkdir(parents=True)
        (root / f"{part}annot").mkdir()
        for name in ("b_2", "a_10", "a_2"):
            random = np.random.default_rng(number)
            Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).save(root / part / f"{name}.png")
            label = np.arange(48, dtype=np.uint8).reshape(6, 8) % 12
            Image.fromarray(label).save(root / f"{part}annot" / f"{name}.png")
    return root


def first(root: Path, folder: str) -> Path:
    return sorted((root / folder).iterdir())[0]


def test_the_table_of_cityscapes(streets: Path) -> None:
    """The benchmark's list of labels, by hand."""
    official = {
        7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
        20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
        27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
    }  # fmt: skip
    split = cityscapes.read(streets)
    assert split.classes == list(official.values())
    for number in range(256):
        if number in official:
            assert split.classes[split.lookup[number]] == official[number]
        else:
            assert split.lookup[number] == (255 if number < 34 or number == 255 else 254)
    assert split.colours.shape == (19, 3)
    assert len({tuple(colour) for colour in split.colours.tolist()}) == 19
    palette = dict(zip(split.classes, split.colours.tolist(), strict=True))
    assert (palette["road"], palette["car"], palette["sky"]) == ([128, 64, 128], [0, 0, 142], [70, 130, 180])


def test_the_table_of_camvid(cam: Path) -> None:
    split = camvid.read(cam)
    assert split.classes[:4] == ["sky", "building", "pole", "road"]
    assert split.lookup[:13].tolist() == [*range(11), 255, 254]
    assert (split.lookup[12:255] == 254).all()
    assert split.lookup[255] == 255
    assert (len(split.classes), split.colours.shape, split.colours.dtype) == (11, (11, 3), np.uint8)
    _, label = annotated.load(split.parts["val"][0], split.lookup)
    assert label[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert label[1].tolist() == [8, 9, 10, 255, 0, 1, 2, 3]


def test_order_and_partners(streets: Path, cam: Path) -> None:
    split = cityscapes.read(streets)
    assert [len(scenes) for scenes in split.parts.values()] == [3, 2]
    assert [scene.name for scene in split.parts["train"]] == [f"demo_{n:06d}_000019" for n in range(3)]
    for scene in split.parts["val"]:
        assert scene.image.name == f"{scene.name}_leftImg8bit.png"
        assert scene.label == streets / "gtFine/val/demo" / f"{scene.name}_gtFine_labelIds.png"
    (cam / "train" / ".hidden.png").write_bytes(b"")
    (cam / "train" / "Thumbs.db").write_bytes(b"")
    assert [scene.name for scene in camvid.read(cam).parts["train"]] == ["a_10", "a_2", "b_2"]


def test_the_folder_or_its_parent(cam: Path, streets: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(streets, parent / "cityscapes")
    shutil.copytree(cam, parent / "camvid")
    assert len(cityscapes.read(parent).parts["train"]) == len(camvid.read(parent).parts["train"]) == 3


def test_folders_that_are_missing(copy: Path, cam: Path, tmp_path: Path) -> None:
    for read in (cityscapes.read, camvid.read):
        with pytest.raises(DataError, match="the folder does not exist"):
            read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no Cityscapes .*leftImg8bit_trainvaltest\.zip and gtFine_trainvaltest\.zip"):
        cityscapes.read(copy / "leftImg8bit")
    with pytest.raises(DataError, match=rf"but in {copy.name} in it: data\.root={copy}"):
        cityscapes.read(tmp_path)
    shutil.rmtree(copy / "gtFine")
    with pytest.raises(DataError, match=r"half of Cityscapes: .* lacks gtFine/train, gtFine/val; download"):
        cityscapes.read(copy)
    shutil.rmtree(cam / "valannot")
    with pytest.raises(DataError, match=r"half of CamVid: .* lacks valannot"):
        camvid.read(cam)


def test_partners_that_are_missing(copy: Path, cam: Path) -> None:
    label = first(copy, LABELS)
    label.rename(label.with_name("away.png"))
    with pytest.raises(DataError, match=rf"1 images in .* have no label: .*{IMAGES}/demo_000000_000019"):
        cityscapes.read(copy)
    first(copy, IMAGES).unlink()
    label.with_name("away.png").rename(label)
    with pytest.raises(DataError, match=rf"a label and no image: .*{label.name}"):
        cityscapes.read(copy)
    (cam / "test" / "b_2.webp").write_bytes(b"")
    with pytest.raises(DataError, match=r"b_2.* have one name"):
        camvid.read(cam)
    for path in (*(cam / "val").iterdir(), *(cam / "valannot").iterdir()):
        path.unlink()
    (cam / "test" / "b_2.webp").unlink()
    with pytest.raises(DataError, match=f"no images in {cam / 'val'}"):
        camvid.read(cam)


def load(root: Path) -> None:
    split = cityscapes.read(root)
    annotated.load(split.parts["train"][0], split.lookup)


def test_files_that_are_wrong(copy: Path) -> None:
    image, label = first(copy, IMAGES), first(copy, LABELS)
    right, bytes_ = np.array(Image.open(label)), label.read_bytes()
    wrong = right.copy()
    wrong[3, 4], wrong[5, 6] = 34, 200
    Image.fromarray(wrong).save(label)
    with pytest.raises(DataError, match=rf"{label.name} has labels that do not exist: 34, 200; there are 0 to 33, 255"):
        load(copy)
    Image.fromarray(right[1:]).save(label)
    with pytest.raises(DataError, match=rf"{image.name} is 32 x 64 .*, its label .*{label.name} 31 x 64"):
        load(copy)
    Image.fromarray(right).convert("RGB").save(label)
    with pytest.raises(DataError, match=rf"{label.name} is an image in colours"):
        load(copy)
    label.write_bytes(bytes_[: len(bytes_) // 2])
    with pytest.raises(DataError, match=rf"cannot read the label .*{label.name}"):
        load(copy)
    label.write_bytes(bytes_)
    load(copy)
    image.write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"cannot read the image .*{image.name}"):
        load(copy)


def test_palette_pictures_are_read_by_their_numbers(copy: Path) -> None:
    split = cityscapes.read(copy)
    scene = split.parts["train"][0]
    _, before = annotated.load(scene, split.lookup)
    label = Image.open(scene.label).copy()
    label.putpalette([value for number in range(256) for value in (255 - number, number, 7)])
    label.save(scene.label)
    assert Image.open(scene.label).mode == "P"
    assert np.array_equal(annotated.load(scene, split.lookup)[1], before)


def test_check(copy: Path, cam: Path) -> None:
    report = check("cityscapes", copy)
    assert report.ok, str(report)
    assert report.columns == ("images", "classes")
    assert [row.part for row in report.rows] == ["train", "val"]
    assert "demo data" in str(report)
    (copy / MARKER).unlink()
    text = str(check("cityscapes", copy))
    assert "3 != 2,975" in text
    assert "2 != 500" in text
    text = str(check("camvid", cam))
    assert [row.found for row in check("camvid", cam).rows] == [(3, 11)] * 3
    for images in (367, 101, 233):
        assert f"3 != {images}" in text


def test_check_names_all_that_is_wrong(copy: Path) -> None:
    images, labels = (sorted((copy / folder).iterdir()) for folder in (IMAGES, LABELS))
    images[0].write_bytes(b"")
    Image.fromarray(np.full((32, 64), 40, np.uint8)).save(labels[1])
    Image.fromarray(np.zeros((32, 63), np.uint8)).save(labels[2])
    report = check("cityscapes", copy)
    assert not report.ok
    assert len(report.problems) == 3
    for path, problem in zip((images[0], labels[1], labels[2]), report.problems, strict=True):
        assert path.name in problem
    labels[2].unlink()
    assert "have no label" in str(check("cityscapes", copy))


def test_train_ids_where_there_are_no_label_ids(copy: Path) -> None:
    split = cityscapes.read(copy)
    expected = [annotated.load(scene, split.lookup)[1] for scene in split.parts["train"]]
    for path in (copy / "gtFine").glob("*/*/*_labelIds.png"):
        train_ids = split.lookup[np.array(Image.open(path))]
        Image.fromarray(train_ids).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    both = cityscapes.read(copy)
    assert [scene.label.name.endswith("labelIds.png") for scene in both.parts["train"]] == [True] * 3
    for path in (copy / "gtFine").glob("*/*/*_labelIds.png"):
        path.unlink()
    split = cityscapes.read(copy)
    annotated.verify(split, ["train", "val"])
    for scene, label in zip(split.parts["train"], expected, strict=True):
        assert np.array_equal(annotated.load(scene, split.lookup)[1], label)
    assert check("cityscapes", copy).ok


def test_train_ids_in_files_of_label_ids(copy: Path) -> None:
    """With and without void, they would be read as other classes: 0 (road) as unlabelled, 7 (traffic sign) as road."""
    lookup = cityscapes.read(copy).lookup
    for path in (copy / "gtFine").glob("*/*/*_labelIds.png"):
        Image.fromarray(lookup[np.array(Image.open(path))]).save(path)
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"split train, .* no number above 18.*these are train ids\. Name the files"
        ):
            annotated.verify(cityscapes.read(copy), ["train"])
        report = check("cityscapes", copy)
        assert not report.ok
        assert "these are train ids" in str(report)
        for path in (copy / "gtFine").glob("*/*/*_labelIds.png"):
            label = np.array(Image.open(path))
            Image.fromarray(np.where(label == 255, 8, label).astype(np.uint8)).save(path)


@pytest.mark.parametrize("void", [255, -1, 65_535])
def test_void_as_minus_one(copy: Path, cam: Path, void: int) -> None:
    for root, read, ignored in ((copy, cityscapes.read, 1), (cam, camvid.read, 11)):
        split = read(root)
        scene = split.parts["val"][0]
        _, before = annotated.load(scene, split.lookup)
        numbers = np.array(Image.open(scene.label)).astype(np.int32)
        numbers[numbers == ignored] = void
        if void == 255:
            Image.fromarray(numbers.astype(np.uint8)).save(scene.label)
        else:
            Image.fromarray(numbers.astype(np.uint16)).save(scene.label)
        _, after = annotated.load(scene, split.lookup)
        assert np.array_equal(after, before)
        assert (after == 255).any()
    Image.fromarray(np.full((6, 8), 300, np.uint16)).save(scene.label)
    with pytest.raises(DataError, match="labels that do not exist: 300; there are 0 to 11, 255"):
        annotated.load(scene, split.lookup)


def test_a_part_that_is_void(copy: Path) -> None:
    for path in (copy / "gtFine/val").glob("*/*.png"):
        Image.fromarray(np.full((32, 64), 3, np.uint8)).save(path)
    split = cityscapes.read(copy)
    annotated.verify(split, ["train"])
    with pytest.raises(DataError, match=r"no pixel of the split val counts: its 2 labels, .* void everywhere"):
        annotated.verify(split, ["train", "val"])
    assert "no pixel of the split val counts" in str(check("cityscapes", copy))


def test_camvid_without_its_test_part(cam: Path) -> None:
    shutil.rmtree(cam / "testannot")
    with pytest.raises(DataError, match=r"half of a test split: .*test is there and .*testannot is not"):
        camvid.read(cam)
    shutil.rmtree(cam / "test")
    assert list(camvid.read(cam).parts) == ["train", "val"]
    report = check("camvid", cam)
    assert [row.part for row in report.rows] == ["train", "val"]
    assert "233" not in str(report)
    assert "the split test is not there, and nothing needs it" in str(report)
    shutil.rmtree(cam / "val")
    with pytest.raises(DataError, match=r"half of CamVid: .* lacks val"):
        camvid.read(cam)


def paint(path: Path) -> None:
    """The colours in the place of the numbers, by hand, under the name of the original labels."""
    colours = dict(camvid.CLASSES)
    table = [*(colours[name] for name, _ in camvid.CLASSES), (0, 0, 0)]
    numbers = np.array(Image.open(path))
    painted = np.array([[table[number] for number in row] for row in numbers], np.uint8)
    Image.fromarray(painted).save(path.with_name(f"{path.stem}_L.png"))
    path.unlink()


def test_painted_labels_of_camvid(cam: Path) -> None:
    split = camvid.read(cam)
    expected = [annotated.load(scene, split.lookup, split.painted)[1] for scene in split.parts["train"]]
    for path in [*cam.glob("*annot/*.png")]:
        paint(path)
    split = camvid.read(cam)
    found = [annotated.load(scene, split.lookup, split.painted)[1] for scene in split.parts["train"]]
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert [row.found for row in check("camvid", cam).rows] == [(3, 11)] * 3
    label = split.parts["train"][0].label
    wrong = np.array(Image.open(label))
    wrong[0, 0] = (128, 128, 129)
    Image.fromarray(wrong).save(label)
    with pytest.raises(
        DataError, match=r"has colours that no class has: \(128, 128, 129\); there are \(128, 128, 128\), "
    ):
        annotated.load(split.parts["train"][0], split.lookup, split.painted)


def test_a_palette_in_another_order_than_the_classes(cam: Path) -> None:
    """Numbers that count the colours of one image: read as labels they would be other classes, without an error."""
    split = camvid.read(cam)
    scene = split.parts["train"][0]
    colours = [colour for _, colour in camvid.CLASSES] + [camvid.VOID]
    for order, good in ((colours, True), (colours[::-1], False)):
        label = Image.open(scene.label).copy()
        label.putpalette([value for colour in order for value in colour])
        label.save(scene.label)
        if good:
            annotated.load(scene, split.lookup, split.painted)
        else:
            with pytest.raises(
                DataError, match=r"the palette of .* paints the number 0 in the colour of another class"
            ):
                annotated.load(scene, split.lookup, split.painted)
    Image.open(scene.label).convert("RGB").save(scene.label)
    assert annotated.load(scene, split.lookup, split.painted)[1][0, :3].tolist() == [255, 10, 9]


def test_suffixes_in_capitals_and_labels_in_jpeg(copy: Path, cam: Path) -> None:
    for root, read in ((copy, cityscapes.read), (cam, camvid.read)):
        expected = [len(scenes) for scenes in read(root).parts.values()]
        for path in [*root.rglob("*.png")]:
            path.rename(path.with_suffix(".PNG"))
        assert [len(scenes) for scenes in read(root).parts.values()] == expected
    path = first(cam, "trainannot")
    Image.open(path).save(path.with_suffix(".JPG"), format="jpeg")
    path.unlink()
    with pytest.raises(DataError, match=r"are JPEG, which changes numbers and colours: a_10\.JPG"):
        camvid.read(cam)


def test_only_colours_and_outlines_of_cityscapes(copy: Path) -> None:
    for path in (copy / "gtFine").glob("*/*/*.png"):
        path.rename(path.with_name(path.name.replace("labelIds.png", "color.png")))
    with pytest.raises(DataError, match=r"no labels in .*gtFine: .*csCreateTrainIdLabelImgs"):
        cityscapes.read(copy)


def test_a_label_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript under the name of a PNG: Pillow would hand it to Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    label = tmp_path / "a.png"
    label.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DataError, match=r"a\.png"):
        annotated.labels(label, np.arange(256, dtype=np.uint8))
    assert not (tmp_path / "started").exists()


ALL = np.arange(256).astype(np.uint8)  # every number is a label


@pytest.mark.parametrize(("bits", "row", "expected"), [(2, b"\x1b", [0, 1, 2, 3]), (4, b"\x0b\x21", [0, 11, 2, 1])])
def test_labels_of_2_and_4_bits_are_their_numbers(tmp_path: Path, bits: int, row: bytes, expected: list[int]) -> None:
    """Pillow scales a grey image to 8 bits."""
    (tmp_path / "a.png").write_bytes(png(4, bits, 0, row))
    assert annotated.labels(tmp_path / "a.png", ALL).tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.png", {"format": "JPEG", "quality": 100}, "it is JPEG, whatever its name"),
        ("a.tif", {"format": "JPEG"}, "it is JPEG, whatever its name"),
        ("a.png", {"format": "WEBP"}, "it is WEBP, whatever its name"),
        ("a.gif", {}, "it is GIF, whatever its name"),  # whose writers sort the palette
        ("a.tif", {"compression": "jpeg"}, "it is TIFF compressed as jpeg"),
        ("a.tif", {"tiffinfo": {262: 0}}, "it is stored as a negative"),
        ("a.tif", {"save_all": True, "append_images": [Image.new("L", (8, 8))]}, "it holds 2 images"),
    ],
)
def test_labels_that_are_not_what_was_written(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image.save(tmp_path / name, **options)
    with pytest.raises(DataError, match=rf"cannot read the label .*{name}: {message}"):
        annotated.labels(tmp_path / name, ALL)


@pytest.mark.parametrize("content", [b"P5 2 1 33\n\x03\x21", b"P2 2 1 33\n3 33\n"])
def test_labels_with_a_largest_value_of_their_own(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pgm: its largest value is said to be 33"):
        annotated.labels(tmp_path / "a.pgm", ALL)
    (tmp_path / "a.pgm").write_bytes(content.replace(b" 33\n", b" 255\n", 1))
    assert annotated.labels(tmp_path / "a.pgm", ALL).tolist() == [[3, 33]]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tga", ".pgm"])
def test_labels_in_every_exact_format(tmp_path: Path, suffix: str) -> None:
    numbers = np.array([[0, 33, 7], [255, 1, 253]], np.uint8)
    Image.fromarray(numbers).save(tmp_path / f"a{suffix}")
    assert annotated.labels(tmp_path / f"a{suffix}", ALL).tolist() == numbers.tolist()
