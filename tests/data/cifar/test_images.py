"""Batches against loops over single images; every image is known by its label, which is its number."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.utils._python_dispatch import TorchDispatchMode

from rga.data import ImageData, ImageSplit, LabelledImages
from rga.data.cifar.binary import CIFAR10
from rga.data.cifar.crops import Crops
from rga.data.cifar.image_data import channel_statistics
from rga.data.demo import writers
from rga.errors import ConfigError, DataError

SIDE = 8


def noise(count: int, seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    channels = np.array([[[40]], [[120]], [[200]]])  # of different means
    noise = np.random.default_rng(seed).integers(-40, 56, (count, 3, side, side))
    return (channels + noise).astype(np.uint8)


def split(train: int = 100, test: int = 23) -> ImageSplit:
    parts = [LabelledImages(noise(n, seed), np.arange(n)) for seed, n in enumerate((train, test))]
    return ImageSplit(parts[0], parts[1], [f"image {number}" for number in range(train)])


SPLIT = split()


def data(images: ImageSplit = SPLIT, **options: Any) -> ImageData:
    options = {"size": (SIDE, SIDE), "batch": 32, "test_batch": 10, **options}
    module = ImageData(lambda root: images, Path("anywhere"), **options)
    module.prepare_data()
    module.setup()
    return module


def process(module: ImageData, rank: int, world: int) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)  # type: ignore[assignment]
    return module


def batches(module: ImageData, epoch: int = 0) -> list[dict[str, torch.Tensor]]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def pixels(image: torch.Tensor, images: ImageSplit = SPLIT) -> NDArray[np.uint8]:
    """Undo the normalisation."""
    values = images.train.images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    mean, std = (value.reshape(3, 1, 1) for value in (values.mean(1), values.std(1)))
    bytes_ = (image.numpy().astype(np.float64) * std + mean) * 255
    assert np.abs(bytes_ - bytes_.round()).max() < 1e-3
    return bytes_.round().astype(np.uint8)


def windows(source: NDArray[np.uint8], pad: int) -> Iterator[tuple[tuple[int, int, bool], NDArray[np.uint8]]]:
    """Every crop, by Pillow: (down, right, mirrored) and the pixels; the padded image is cropped, then mirrored."""
    whole = ImageOps.expand(Image.fromarray(source.transpose(1, 2, 0)), pad, fill=0)
    for down in range(2 * pad + 1):
        for right in range(2 * pad + 1):
            window = whole.crop((right, down, right + SIDE, down + SIDE))
            yield (down, right, False), np.asarray(window).transpose(2, 0, 1)
            yield (down, right, True), np.asarray(ImageOps.mirror(window)).transpose(2, 0, 1)


def found(module: ImageData, pad: int, epoch: int = 0) -> list[tuple[int, int, bool]]:
    """What each image of an epoch is a crop of: the one window of its source that it equals."""
    drawn = []
    for batch in batches(module, epoch):
        for image, label in zip(pixels(batch["image"]), batch["label"].tolist(), strict=True):
            matches = [key for key, window in windows(SPLIT.train.images[label], pad) if np.array_equal(window, image)]
            assert len(matches) == 1
            drawn += matches
    return drawn


def test_a_batch_is_crops_and_mirror_images_of_its_pictures() -> None:
    module = data()
    sizes = [(len(batch["image"]), len(batch["label"])) for batch in batches(module)]
    assert sizes == [(32, 32), (32, 32), (32, 32), (4, 4)]
    assert len(module.train_dataloader()) == 4
    batch = batches(module)[0]
    assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.int64)
    assert batch["image"].shape == (32, 3, SIDE, SIDE)
    assert batch["image"].is_contiguous()
    drawn = found(module, pad=4)
    assert len({(down, right) for down, right, _ in drawn}) > 50
    assert 25 < sum(mirrored for _, _, mirrored in drawn) < 75


def test_options_of_the_augmentation() -> None:
    assert set(found(data(pad=0, mirror=0), pad=0)) == {(0, 0, False)}
    assert set(found(data(pad=0, mirror=1.0), pad=0)) == {(0, 0, True)}
    drawn = found(data(pad=1, mirror=0), pad=1)
    assert {key[:2] for key in drawn} == {(down, right) for down in range(3) for right in range(3)}
    assert not any(mirrored for _, _, mirrored in drawn)


def test_offsets_and_mirror_images_are_even() -> None:
    """Chi-square of 81 places and of the mirror images, at about 5 standard deviations."""
    crops = Crops(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    count = 40_500
    start = crops.draw(torch.zeros(count, dtype=torch.int64), torch.Generator().manual_seed(0))
    mirrored, place = start // (3 * 40 * 40), start % (3 * 40 * 40)
    down, right = place // 40, place % 40
    assert int(max(down.max(), right.max())) == 8
    counts = torch.bincount(down * 9 + right, minlength=81).double()
    assert len(counts) == 81
    assert float(((counts - 500) ** 2 / 500).sum()) < 80 + 5 * (2 * 80) ** 0.5
    assert abs(float(mirrored.double().mean()) - 0.5) < 5 * 0.5 / count**0.5
    assert abs(float(torch.corrcoef(torch.stack((down, right)).double())[0, 1])) < 0.025


def test_every_picture_is_seen_once_an_epoch() -> None:
    for epoch in range(2):
        labels = torch.cat([batch["label"] for batch in batches(data(), epoch)])
        assert sorted(labels.tolist()) == list(range(100))
        assert labels.tolist() != list(range(100))


def test_normalised_with_the_training_parts_statistics() -> None:
    module = data(pad=0)
    image = torch.cat([batch["image"] for batch in batches(module)])
    assert image.mean((0, 2, 3)).numpy() == pytest.approx(0, abs=1e-5)
    assert image.std((0, 2, 3), correction=0).numpy() == pytest.approx(1, abs=1e-5)
    test = torch.cat([batch["image"] for batch in module.test_dataloader()])
    assert np.array_equal(pixels(test), SPLIT.test.images)


def test_statistics_are_exact() -> None:
    images = noise(1500, seed=3)
    mean, std = channel_statistics(images)
    values = images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert mean == pytest.approx(values.mean(1), rel=1e-13)
    assert std == pytest.approx(values.std(1), rel=1e-13)


def same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("image", "label")
    )


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    module = data()
    first, second = batches(module, 0), batches(module, 1)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert same(batches(data(), 1), second)
    assert same(batches(module, 0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(first, second)
    assert not same(batches(data(seed=1), 0), first)
    assert found(module, 4, epoch=0) != found(module, 4, epoch=1)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_every_batch(world: int) -> None:
    whole = batches(data(), epoch=3)
    parts = [batches(process(data(), rank, world), epoch=3) for rank in range(world)]
    assert [len(part) for part in parts] == [len(whole)] * world
    for step, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert torch.equal(part[step]["label"], batch["label"][rank::world])
            assert torch.equal(part[step]["image"], batch["image"][rank::world])


def test_test_pictures_are_dealt_without_repetition() -> None:
    whole = list(data().test_dataloader())
    assert [len(batch["label"]) for batch in whole] == [10, 10, 3]
    assert torch.cat([batch["label"] for batch in whole]).tolist() == list(range(23))
    dealt = [list(process(data(), rank, 3).val_dataloader()) for rank in range(3)]
    labels = [torch.cat([batch["label"] for batch in part]).tolist() for part in dealt]
    assert labels == [list(range(rank, 23, 3)) for rank in range(3)]
    images = torch.cat([batch["image"] for batch in whole])
    assert torch.equal(torch.cat([batch["image"] for batch in dealt[1]]), images[1::3])
    larger = torch.cat([batch["image"] for batch in data(test_batch=100).test_dataloader()])
    assert torch.equal(larger, images)


class Calls(TorchDispatchMode):
    """Counts what torch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


VIEWS = {"as_strided", "split", "view", "slice", "detach", "alias"}


def test_an_epoch_reads_no_number_back_and_a_step_is_three_kernels() -> None:
    module = data()
    loader = module.train_dataloader()
    with Calls() as epoch:
        steps = iter(loader)
        next(steps)
    with Calls() as rest:
        count = len(list(steps))
    assert "_local_scalar_dense" not in epoch.names + rest.names
    kernels = [name for name in rest.names if name not in VIEWS]
    assert sorted(kernels) == sorted(count * ["index_select", "_to_copy", "addcmul"])
    with Calls() as test:
        list(module.test_dataloader())
    assert "_local_scalar_dense" not in test.names


def test_the_set_is_read_once_and_moved_once() -> None:
    reads: list[Path] = []

    def reader(root: Path) -> ImageSplit:
        reads.append(root)
        return SPLIT

    module = ImageData(reader, "somewhere", (SIDE, SIDE))
    for stage in ("fit", "validate", "test"):
        module.prepare_data()
        module.setup(stage)
    stored = [loader.images for loader in (module.train_dataloader(), module.test_dataloader())]
    assert reads == [Path("somewhere")]
    assert stored[0] is module.train_dataloader().images
    assert stored[1] is module.val_dataloader().images


def test_what_it_says_of_the_set() -> None:
    images = ImageSplit(SPLIT.train, LabelledImages(SPLIT.test.images, SPLIT.test.labels // 2), SPLIT.classes)
    module = data(images, name="numbers")
    assert module.num_classes == 100
    assert module.summary == {
        "name": "numbers", "train": {"images": 100, "classes": 100}, "test": {"images": 23, "classes": 12},
    }  # fmt: skip


def test_demo_data_come_before_the_download(tmp_path: Path) -> None:
    def refuse(root: Path) -> None:
        raise AssertionError(root)

    module = ImageData(
        CIFAR10.read, tmp_path / "set", (32, 32), download=refuse, demo={"train": 20, "test": 10},
        demo_writer=writers.write_cifar10,
    )  # fmt: skip
    module.prepare_data()
    module.setup()
    assert (module.num_classes, module.summary["train"]["images"]) == (10, 20)


def test_downloads_where_it_may(tmp_path: Path) -> None:
    asked: list[Path] = []
    with pytest.raises(DataError, match="no CIFAR-10"):
        ImageData(CIFAR10.read, tmp_path, (32, 32), download=asked.append).prepare_data()
    assert asked == [tmp_path]
    with pytest.raises(DataError, match="no CIFAR-10"):
        ImageData(CIFAR10.read, tmp_path, (32, 32)).prepare_data()


def test_stops_before_training() -> None:
    with pytest.raises(DataError, match=r"are \(8, 8\), expected data\.size = \(32, 32\)"):
        data(size=(32, 32))
    with pytest.raises(ValueError, match="demo_writer"):
        data(demo={})
    with pytest.raises(ValueError, match="batch=0"):
        data(batch=0)
    with pytest.raises(ValueError, match="probability, got 2"):
        data(mirror=2)
    with pytest.raises(ValueError, match="pixels, got -1"):
        data(pad=-1)
    with pytest.raises(ConfigError, match="32 images cannot be divided among 3 processes"):
        process(data(), 0, 3).train_dataloader()
    with pytest.raises(ConfigError, match=r"33 images, of which the last one has 1, .*\.batch=30 or .*=36, which"):
        process(data(batch=33), 0, 3).train_dataloader()


class Recorder(lightning.LightningModule):
    """Trains nothing; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict[str, torch.Tensor]] = []
        self.validated: list[int] = []
        self.tested: list[int] = []

    def training_step(self, batch: dict[str, torch.Tensor], step: int) -> torch.Tensor:
        self.seen.append(batch)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch: dict[str, torch.Tensor], step: int) -> None:
        self.validated += batch["label"].tolist()

    def test_step(self, batch: dict[str, torch.Tensor], step: int) -> None:
        self.tested += batch["label"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int, folder: Path) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder,
        use_distributed_sampler=False,
    )  # fmt: skip


def test_under_lightning_also_resumed(tmp_path: Path) -> None:
    module, recorder = data(), Recorder()
    first = trainer(2, tmp_path)
    first.fit(recorder, datamodule=module)
    first.test(recorder, datamodule=module, verbose=False)
    assert recorder.validated == 2 * list(range(23))
    assert recorder.tested == list(range(23))
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Recorder()
    trainer(3, tmp_path).fit(resumed, datamodule=data(), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    expected = [batch for epoch in range(3) for batch in batches(data(), epoch)]
    assert same(recorder.seen + resumed.seen, expected)
