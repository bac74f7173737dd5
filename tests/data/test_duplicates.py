"""Look-alikes across splits: which pairs are named, of people, classes and scenes."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from scipy.fft import dctn
from typer.testing import CliRunner

from rga.cli.app import app
from rga.data import check
from rga.data.base import ImageSplit, LabelledImages
from rga.data.counts import per
from rga.data.demo import writers
from rga.data.duplicates import THRESHOLD, near_duplicates, perceptual_hash
from rga.data.folders import image_folder
from rga.data.reid import market1501, table


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(io.BytesIO(file.getvalue()))


def bits(one: np.ndarray, other: np.ndarray) -> int:
    return int((one != other).sum())


def test_the_hash_is_that_of_the_definition(market: Path) -> None:
    with Image.open(market1501.read(market).train[0].path) as file:
        pixels = small(file)
    grey = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    low = [value for row in dctn(grey, norm="ortho")[:16] for value in row[:16]]
    middle = sorted(low)
    expected = [1 if value > (middle[127] + middle[128]) / 2 else -1 for value in low]
    assert perceptual_hash(pixels).tolist() == expected


def test_the_threshold_lies_between_copies_and_others(market: Path) -> None:
    images = [Image.open(sample.path).convert("RGB") for sample in market1501.read(market).train[:40]]
    codes = [perceptual_hash(small(image)) for image in images]
    assert min(bits(a, b) for i, a in enumerate(codes) for b in codes[:i]) > THRESHOLD
    for alter in (
        jpeg,
        lambda image: image.resize((32, 64)),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    ):
        assert (
            max(bits(code, perceptual_hash(small(alter(i)))) for code, i in zip(codes, images, strict=True)) < THRESHOLD
        )


def test_classes(tmp_path: Path) -> None:
    root = writers.write_image_folder(tmp_path / "set", train=12, val=6)
    assert near_duplicates(image_folder.read(root), root) == []
    source = next((root / "train" / "disc").iterdir())
    with Image.open(source) as file:
        file.resize((60, 70)).save(root / "val" / "square" / "copy.png")
    (root / "val" / "square" / "broken.png").write_bytes(b"no image")  # the check tells that by itself
    (line,) = near_duplicates(image_folder.read(root), root)
    assert line.startswith("1 images of val look like images of train (at most 40 of the 256 bits of a perceptual hash")
    assert f"val/square/copy.png ~ train/disc/{source.name} (" in line
    done = CliRunner().invoke(app, ["data", "check", "image_folder", str(root), "--images"])
    assert f"val/square/copy.png ~ train/disc/{source.name}" in done.output
    assert "look like" not in str(check("image_folder", root))
    assert "no image to test on looks like one to train on" in str(
        check("mask_folder", writers.write_mask_folder(tmp_path / "masks", train=3, val=2, size=64), images=True)
    )


def test_people(tmp_path: Path, market: Path) -> None:
    """A training image in the gallery; and, where that counts, one that both asks and answers."""
    root = Path(shutil.copytree(market, tmp_path / "set"))
    split = market1501.read(root)
    shutil.copy(split.train[0].path, root / "bounding_box_test" / "0011_c1s1_000099_00.jpg")
    query = split.query[0]
    names = [f"{query.identity:04d}_c{camera}s1_000099_00.jpg" for camera in (query.camera, query.camera % 6 + 1)]
    for name in names:
        shutil.copy(query.path, root / "bounding_box_test" / name)
    first, second = near_duplicates(market1501.read(root), root)
    assert "1 images of gallery look like images of train" in first
    assert "bounding_box_test/0011_c1s1_000099_00.jpg ~ bounding_box_train/" in first
    assert "1 images of gallery look like images of query" in second
    assert f"{names[1]} ~ query/{query.path.name} (0)" in second
    assert names[0] not in second  # of the query's own camera: no query counts it


def test_an_image_that_is_query_and_gallery_is_no_duplicate_of_itself(tmp_path: Path) -> None:
    root = writers.write_reid_table(tmp_path / "set", identities=2, test_identities=2, images=2)
    lines = [line.split(",") for line in (root / "table.csv").read_text().splitlines()]
    both = [[path, who, "", split] for path, who, _, split, _ in lines[1:]]
    both += [[path, who, "", "gallery"] for path, who, _, split in both if split == "query"]
    own = root / "own.csv"
    own.write_text("\n".join(",".join(line) for line in [lines[0][:4], *both]))
    assert near_duplicates(table.read(own), root) == []


def test_images_in_memory() -> None:
    random = np.random.default_rng(0)
    train, test = (
        LabelledImages(random.integers(0, 256, (n, 3, 32, 32), np.uint8), np.zeros(n, np.int64)) for n in (9, 4)
    )
    test.images[2] = train.images[5]
    (line,) = near_duplicates(ImageSplit(train, test, ["a"]), Path())
    assert line.endswith(": test 2 ~ train 5 (0)")


def test_counts(tmp_path: Path, market: Path) -> None:
    text = str(check("market1501", market))
    split = market1501.read(market)
    for camera in range(1, 7):
        assert f"{camera}: {sum(sample.camera == camera for sample in split.train)}" in text
    assert "train: images of each identity: 1: " in text
    assert "5 gallery images are of 1 identities that no query asks for: they can only be wrong answers" in text
    root = writers.write_mask_folder(tmp_path / "masks", train=2, val=1, size=64)
    masks = np.stack([np.asarray(Image.open(path)) for path in (root / "masks" / "train").iterdir()])
    share = 100 * (masks == 0).sum() / (masks != 255).sum()
    ignored = 100 * (masks == 255).mean()
    text = str(check("mask_folder", root))
    assert f"train: pixels of each class: ground {share:.2f} %, disc " in text
    assert f"ignored: {ignored:.2f} % of all" in text


def test_who_is_seen_once(tmp_path: Path) -> None:
    for number, (part, identity) in enumerate(
        [("train", "a"), ("train", "b"), ("train", "b"), ("query", "c"), ("gallery", "c")]
    ):
        Image.new("RGB", (4, 8)).save(tmp_path / f"{number}.png")
        with (tmp_path / "table.csv").open("a") as file:
            file.write(
                f"path,identity,split\n{number}.png,{identity},{part}\n"
                if not number
                else f"{number}.png,{identity},{part}\n"
            )
    text = str(check("reid_table", tmp_path))
    assert "1 of 2 identities to train on have one image, which a batch repeats: a" in text
    assert "images of each camera" not in text
    assert "train: images of each identity: a: 1; b: 2" in text


def test_of_many_the_range() -> None:
    assert per("class", {str(n): n for n in range(1, 31)}) == "images of each class: 1 (1) to 30, median 15.5"


@pytest.mark.slow
def test_cifar(tmp_path: Path) -> None:
    root = writers.write_cifar10(tmp_path / "set", train=40, test=20)
    assert "no image to test on looks like one to train on" in str(check("cifar10", root, images=True))
