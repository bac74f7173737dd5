"""Classes in folders, against torchvision's reader and transforms of the same images."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from rga.data import FolderData, check, decoding
from rga.data.demo import writers
from rga.data.folders import folder_data, image_folder
from rga.data.folders.resized_crops import Box, ResizedCrops, middle
from rga.data.marker import MARKER
from rga.data.sampler import generator
from rga.errors import DataError

SIZE = (24, 32)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writers.write_image_folder(tmp_path_factory.mktemp("demo") / "shapes", train=15, val=7)


def data(root: Path, rank: int = 0, world: int = 1, **options: Any) -> FolderData:
    options = {"resize": 40, "batch": 4, "test_batch": 3, "workers": 0, **options}
    module = FolderData(image_folder.read, root, SIZE, **options)
    if world > 1:
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)  # type: ignore[assignment]
    module.prepare_data()
    module.setup("fit")
    return module


def batches(module: FolderData, epoch: int = 0, test: bool = False) -> list[dict[str, torch.Tensor]]:
    loader: Any = module.test_dataloader() if test else module.train_dataloader()
    if not test:
        loader.sampler.set_epoch(epoch)
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8)).save(root / name)
    return root


def pixels(image: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image * std.view(-1, 1, 1) + mean.view(-1, 1, 1)) * 255


def test_it_reads_what_torchvision_reads(shapes: Path) -> None:
    split = image_folder.read(shapes)
    for part, files in (("train", split.train), ("val", split.val)):
        theirs = ImageFolder(shapes / part)
        assert split.classes == theirs.classes
        assert [(str(file.path), file.label) for file in files] == theirs.samples


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    root = images(tmp_path, "train/a/deep/1.png", "train/b/1.JPG", "train/loose.png", "val/a/1.png", "train/.x/1.png")
    (root / "train" / "b" / "notes.txt").touch()
    split = image_folder.read(root)
    assert [(file.path.relative_to(root).as_posix(), file.label) for file in split.train] == [
        ("train/a/deep/1.png", 0),
        ("train/b/1.JPG", 1),
    ]
    report = check("image_folder", root)
    assert report.ok
    text = str(report)
    for name in ("train/.x", "train/b/notes.txt", "train/loose.png"):
        assert name in text
    assert "1 classes have no images to test on: b" in text
    (root / "val" / "a" / "1.png").write_bytes(b"no image")
    assert "cannot read the image" in str(check("image_folder", root))
    (root / "val" / "a" / "1.png").write_bytes(b"<html>log in</html>")
    assert "1.png: it is a web page" in str(check("image_folder", root))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1.png", "train/b/1.png"], "no val in .*: expected train/CLASS/... and val/CLASS/... there$"),
        (["train/a/1.png", "val/a/1.png"], "has 1 folders, one for each class"),
        (["train/a/1.png", "train/b/1.png", "val/c/1.png"], "1 classes in .*val are not in .*train: c"),
        (
            ["train/a/1.png", "train/b/x/../1.txt.png", "val/a/x.png", "train/c\u200f/1.png"],
            "not seen: rename its folder",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    images(tmp_path, *[name.replace("x/../", "") for name in names])
    with pytest.raises(DataError, match=message):
        image_folder.read(tmp_path)


def test_empty_folders(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=r"no images in folders of .*val: is the data set unpacked completely"):
        image_folder.read(tmp_path)
    images(tmp_path, "val/ILSVRC2012_val_00000001.png")
    with pytest.raises(DataError, match=r"val: 1 lie in it themselves, as ImageNet's do"):
        image_folder.read(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match=r"1 classes have no images in .*train: empty"):
        image_folder.read(tmp_path)


def test_a_split_that_is_the_other_one(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(DataError, match=r"2 classes in .*val are those of .*train by a link"):
        image_folder.read(tmp_path)


def test_batches_and_summary(shapes: Path) -> None:
    module = data(shapes, name="mine")
    assert (module.num_classes, module.classes) == (3, ["disc", "square", "triangle"])
    assert module.summary == {
        "name": "mine", "train": {"images": 15, "classes": 3}, "val": {"images": 7, "classes": 3},
    }  # fmt: skip
    train = batches(module)
    assert [batch["image"].shape for batch in train] == 4 * [(4, 3, *SIZE)]
    assert train[0]["image"].dtype == torch.float32
    assert [len(batch["label"]) for batch in batches(module, test=True)] == [3, 3, 1]
    seen = torch.cat([batch["label"] for epoch in range(15) for batch in batches(module, epoch)])
    assert torch.bincount(seen).tolist() == [80, 80, 80]  # 15 epochs of 16: every image as often as the others
    with pytest.raises(DataError, match=r"a batch has 16 images, .* only 15: set recipe.batch=15 or less"):
        data(shapes, batch=16)
    with pytest.raises(ValueError, match="shorter side of 31"):
        data(shapes, resize=31)


def test_a_test_image_is_torchvisions(shapes: Path) -> None:
    found = torch.cat([batch["image"] for batch in batches(data(shapes), test=True)])
    for image, (path, _) in zip(found, image_folder.read(shapes).val, strict=True):
        with Image.open(path) as file:
            theirs = functional.center_crop(functional.resize(file, [40]), list(SIZE))
        assert np.abs(pixels(image).numpy() - np.asarray(theirs).transpose(2, 0, 1)).max() < 1.01  # Pillow rounds twice


def test_a_crop_is_torchvisions(shapes: Path) -> None:
    """Of the box that was drawn: Pillow's pixels of it, to a rounding."""
    crops = ResizedCrops(SIZE, (0.2, 1.0), (0.75, 4 / 3), mirror=0.5)
    numbers = crops.draw(15, torch.Generator())
    for drawn, (path, _) in zip(numbers, image_folder.read(shapes).train, strict=True):
        image = torch.from_numpy(decoding.load(path).copy()).permute(2, 0, 1)
        box = crops.box(drawn, *image.shape[1:])
        with Image.open(path) as file:
            theirs = np.asarray(functional.resized_crop(file, *box, list(SIZE))).astype(int)
        theirs = theirs[:, ::-1] if drawn[-1] < 0.5 else theirs
        assert np.abs(crops.cut(image, drawn).numpy().astype(int) - theirs.transpose(2, 0, 1)).max() <= 1
    assert 0 < sum(drawn[-1] < 0.5 for drawn in numbers) < 15


@pytest.mark.parametrize("size", [(100, 100), (40, 300), (300, 40), (7, 5)])
def test_boxes_are_drawn_as_torchvision_draws_them(size: tuple[int, int]) -> None:
    """The same shares of large, tall, high and low boxes, and the same one where no box fits."""
    area, aspect, count = (0.08, 1.0), (3 / 4, 4 / 3), 4000
    crops = ResizedCrops(SIZE, area, aspect)
    ours = np.array([crops.box(drawn, *size) for drawn in crops.draw(count, generator(3))], float)
    torch.manual_seed(0)
    image = torch.empty(3, *size)
    theirs = np.array([RandomResizedCrop.get_params(image, list(area), list(aspect)) for _ in range(count)], float)
    spread = theirs.std(0) / count**0.5
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < (5 * spread + 0.02).max()
    np.testing.assert_allclose(np.quantile(ours, [0.1, 0.5, 0.9], 0), np.quantile(theirs, [0.1, 0.5, 0.9], 0), atol=8)
    assert (ours[:, 0] + ours[:, 2] <= size[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= size[1]).all()
    strip = ResizedCrops(SIZE, (1.0, 1.0), aspect)
    assert strip.box(strip.draw(1, generator(0))[0], 10, 1000) == Box(0, 493, 10, 13)


def test_the_middle_of_an_image_of_the_size_itself() -> None:
    image = torch.randint(256, (3, 24, 24), dtype=torch.uint8)
    assert torch.equal(middle(image, 24, (24, 24)), image)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_see_together_the_batch_of_one(shapes: Path, world: int) -> None:
    one = batches(data(shapes), epoch=3)
    many = [batches(data(shapes, rank, world), epoch=3) for rank in range(world)]
    for step, whole in enumerate(one):
        for rank, share in enumerate(many):
            assert torch.equal(share[step]["image"], whole["image"][rank::world])
            assert torch.equal(share[step]["label"], whole["label"][rank::world])
    labels = sorted(
        label for rank in range(world) for b in batches(data(shapes, rank, world), test=True) for label in b["label"]
    )
    assert len(labels) == 7


def test_where_the_images_are_makes_no_difference(shapes: Path) -> None:
    """On the device, or decoded anew, here or by workers."""
    kept, anew, workers = data(shapes), data(shapes, memory=1000), data(shapes, memory=1000, workers=2)
    assert [module._stays() for module in (kept, anew, workers)] == [True, False, False]
    for test in (False, True):
        for sets in zip(*(batches(module, 2, test) for module in (kept, anew, workers)), strict=True):
            for other in sets[1:]:
                assert torch.equal(sets[0]["image"], other["image"])
                assert torch.equal(sets[0]["label"], other["label"])
    assert isinstance(kept._images("train"), list)
    assert kept._images("train") is kept._images("train")


def test_of_a_large_set_the_first_images_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def shape(path: Path) -> tuple[int, int]:
        asked.append(path)
        return 100, 100

    monkeypatch.setattr(decoding, "shape", shape)
    paths = [Path(str(number)) for number in range(1000)]
    assert not folder_data.fit(100_000, paths)
    assert len(asked) == 4
    assert folder_data.fit(30_000_000, paths)


def test_the_index_holds_the_classes(shapes: Path, tmp_path: Path) -> None:
    index = data(shapes).index()
    assert index.splits["train"]["images"] == 15
    assert any(line.startswith("val\tdisc/") and line.endswith("\tdisc") for line in index.lines)
    root = images(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/1.png", "val/b/2.png")
    before = FolderData(image_folder.read, root, SIZE, resize=40).index()
    (root / "train" / "b").rename(root / "train" / "c")
    (root / "val" / "b").rename(root / "val" / "c")
    after = FolderData(image_folder.read, root, SIZE, resize=40).index()
    assert before.splits["train"] != after.splits["train"]


def test_demo_data(shapes: Path, tmp_path: Path) -> None:
    report = check("image_folder", shapes)
    assert report.ok, str(report)
    assert data(shapes).synthetic
    options = {"train": 15, "val": 7, "seed": 0}
    module = data(tmp_path / "set", demo=options, demo_writer=writers.write_image_folder)
    assert {path.name: path.read_bytes() for path in module.root.rglob("*.jpg")} == {
        path.name: path.read_bytes() for path in shapes.rglob("*.jpg")
    }
    (tmp_path / "set" / MARKER).unlink()
    assert not data(tmp_path / "set").synthetic
    with pytest.raises(ValueError, match="an image of each class"):
        writers.write_image_folder(tmp_path / "other", train=2)


def test_what_lies_beside_the_two_splits_is_named(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg")
    (tmp_path / ".DS_Store").write_bytes(b"")
    report = check("image_folder", tmp_path)
    assert report.ok
    assert [note for note in report.notes if "1 is left out" in note and note.endswith(": test/")] == report.notes
