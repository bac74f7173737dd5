import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from PIL import Image

from rga.data import ReIDAugment, ReIDData
from rga.data.demo import writers
from rga.data.reid import market1501
from rga.data.sampler import Draw
from rga.errors import ConfigError, DataError

SIZE = (96, 48)


def data(root: Path, rank: int = 0, world: int = 1, **options: Any) -> ReIDData:
    module = ReIDData(
        market1501.read, root, SIZE, **{"identities": 4, "images": 3, "workers": 0, "test_batch": 7} | options
    )
    if world > 1:
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world, state=SimpleNamespace(fn="fit"))  # type: ignore[assignment]
    module.prepare_data()
    module.setup("fit")
    return module


def batches(module: ReIDData, epoch: int = 0, test: bool = False) -> list[dict[str, torch.Tensor]]:
    loader: Any = module.test_dataloader() if test else module.train_dataloader()
    if not test:
        loader.sampler.set_epoch(epoch)
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def test_batches_and_summary(market: Path) -> None:
    module = data(market, augment=ReIDAugment(SIZE), name="demo")
    assert module.num_classes == 9
    assert module.summary["name"] == "demo"
    assert module.summary["train"]["identities"] == 9
    assert module.summary["query"]["images"] == len(market1501.read(market).query)
    train = batches(module)
    assert len(train) == len(module.train_dataloader()) == 2
    for batch in train:
        assert set(batch) == {"image", "label"}
        assert batch["image"].shape == (12, 3, *SIZE)
        assert batch["image"].dtype == torch.float32
        assert batch["label"].dtype == torch.int64
        assert batch["label"].max() < 9

    split = market1501.read(market)
    test = batches(module, test=True)
    assert set(test[0]) == {"image", "identity", "camera", "query", "index"}
    joined = {key: torch.cat([batch[key] for batch in test]) for key in test[0]}
    assert joined["image"].shape == (len(split.query) + len(split.gallery), 3, *SIZE)
    assert joined["identity"].tolist() == [sample.identity for sample in split.query + split.gallery]
    assert joined["camera"].tolist() == [sample.camera for sample in split.query + split.gallery]
    assert joined["query"].dtype == torch.bool
    assert joined["query"].sum() == len(split.query)
    assert joined["index"].tolist() == list(range(len(joined["index"])))


def test_fewer_identities_to_train_on(market: Path) -> None:
    whole, part = data(market), data(market, train_identities=5)
    assert (whole.num_classes, part.num_classes) == (9, 5)
    numbers = sorted({sample.identity for sample in whole.split().train})
    assert {sample.identity for sample in part.split().train} == set(numbers[:5])
    expected = [sample for sample in whole.split().train if sample.identity in numbers[:5]]
    assert part.split().train == expected
    assert part.summary["train"] == {"images": len(expected), "identities": 5}
    assert {key: part.summary[key] for key in ("query", "gallery")} == {
        key: whole.summary[key] for key in ("query", "gallery")
    }
    assert part.index().splits["train"] != whole.index().splits["train"]
    assert part.index().splits["query"] == whole.index().splits["query"]
    assert data(market, train_identities=9).split() == whole.split()
    for count in (0, 10):
        with pytest.raises(DataError, match=rf"data\.train_identities={count}: .* has 9 identities"):
            data(market, train_identities=count)


def test_a_set_that_is_there_to_be_tested_on_has_no_identities_to_leave_out(market: Path, tmp_path: Path) -> None:
    root = shutil.copytree(market, tmp_path / "market1501")
    shutil.rmtree(root / "bounding_box_train")
    assert len(ReIDData(market1501.read, root, SIZE, train_identities=5).split().query) > 0


def test_labels_belong_to_the_images(market: Path) -> None:
    """Without augmentation a training image is its file, resized."""
    module = data(market)
    split, names = market1501.read(market), sorted({s.identity for s in market1501.read(market).train})
    stored = module.augment(
        torch.from_numpy(module._train.store[range(len(split.train))]),
        module.augment.draw(len(split.train), torch.Generator()),
    )
    for batch in batches(module):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            index = int((stored - image).abs().mean((1, 2, 3)).argmin())
            assert torch.equal(stored[index], image)
            assert names[int(label)] == split.train[index].identity


@pytest.mark.parametrize("world", [2, 4])
def test_processes_see_together_the_batch_of_one(market: Path, world: int) -> None:
    one = batches(data(market, augment=ReIDAugment(SIZE)), epoch=3)
    many = [batches(data(market, rank, world, augment=ReIDAugment(SIZE)), epoch=3) for rank in range(world)]
    for step, whole in enumerate(one):
        for rank, share in enumerate(many):
            rows = [place * 3 + image for place in range(rank, 4, world) for image in range(3)]
            assert torch.equal(share[step]["label"], whole["label"][rows])
            assert torch.equal(share[step]["image"], whole["image"][rows])

    test = [batches(data(market, rank, world), test=True) for rank in range(world)]
    indices = [index for share in test for batch in share for index in batch["index"].tolist()]
    assert sorted(indices) == list(range(len(indices)))
    assert len(indices) == sum(len(part) for part in (market1501.read(market).query, market1501.read(market).gallery))


def test_a_function_of_seed_and_epoch_only(market: Path) -> None:
    module = data(market, augment=ReIDAugment(SIZE))
    first, other = batches(module, epoch=1), batches(module, epoch=2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = batches(data(market, augment=ReIDAugment(SIZE)), epoch=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True))
    seeded = batches(data(market, augment=ReIDAugment(SIZE), seed=1), epoch=1)
    assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(first, seeded, strict=True))


def test_the_augmentation_is_drawn_anew_in_every_step_and_epoch(market: Path) -> None:
    module = data(market, augment=ReIDAugment(SIZE))
    assert module._train is not None
    draws = [
        module._train[Draw([0] * 12, list(range(12)), epoch, step)] for epoch, step in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    for key in ("affine", "erase"):
        assert not any(torch.equal(a[key], b[key]) for i, a in enumerate(draws) for b in draws[:i])


def test_a_file_on_disk_makes_no_difference(market: Path, tmp_path: Path) -> None:
    memory, disk = data(market), data(market, cache=tmp_path, memory=1000)
    assert len(list(tmp_path.iterdir())) == 1
    for a, b in zip(batches(memory), batches(disk), strict=True):
        assert torch.equal(a["image"], b["image"])


def test_workers_make_no_difference(market: Path) -> None:
    for a, b in zip(batches(data(market), test=True), batches(data(market, workers=1), test=True), strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["index"], b["index"])


def test_demo_data_are_written_when_they_are_wanted(tmp_path: Path) -> None:
    options = {"identities": 4, "test_identities": 2, "images": 1, "distractors": 1, "junk": 1}
    module = data(tmp_path / "demo", demo=options, demo_writer=writers.write_market1501)
    assert module.num_classes == 4


def test_identities_with_one_image(tmp_path: Path) -> None:
    for part, names in {
        "bounding_box_train": [f"{n:04d}_c1s1_000001_00.jpg" for n in (4, 9)],
        "query": ["0001_c1s1_000001_00.jpg"],
        "bounding_box_test": ["0001_c2s1_000001_00.jpg"],
    }.items():
        (tmp_path / part).mkdir()
        for name in names:
            Image.new("RGB", (20, 40)).save(tmp_path / part / name)
    (batch,) = batches(data(tmp_path, identities=2))
    assert sorted(batch["label"].tolist()) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(DataError, match=r"4 identities, the training split of .* only 2"):
        data(tmp_path)


def test_stops_before_training(tmp_path: Path, market: Path) -> None:
    with pytest.raises(DataError, match="bounding_box_train"):
        data(tmp_path)
    with pytest.raises(ValueError, match=r"\(64, 32\), the data module expects \(96, 48\)"):
        data(market, augment=ReIDAugment((64, 32)))
    with pytest.raises(ValueError, match="demo_writer"):
        data(market, demo={})


@pytest.mark.parametrize("option", ["identities", "images"])
def test_a_batch_without_triplets(market: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"recipe.{option}=1: the triplet loss compares"):
        data(market, **{option: 1})


class Recorder(lightning.LightningModule):
    """Trains nothing; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.tested: list[int] = []

    def training_step(self, batch: dict[str, torch.Tensor], step: int) -> torch.Tensor:
        self.seen.append((batch["image"].clone(), batch["label"]))
        return self.weight * batch["image"].mean()

    def test_step(self, batch: dict[str, torch.Tensor], step: int) -> None:
        self.tested += batch["index"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_under_lightning(market: Path) -> None:
    module, recorder = data(market, augment=ReIDAugment(SIZE)), Recorder()
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(recorder, datamodule=module)
    trainer.test(recorder, datamodule=module, verbose=False)
    expected = [batch for epoch in range(2) for batch in batches(data(market, augment=ReIDAugment(SIZE)), epoch)]
    assert len(recorder.seen) == len(expected) == 4
    for (image, label), batch in zip(recorder.seen, expected, strict=True):
        assert torch.equal(label, batch["label"])
        assert torch.equal(image, batch["image"])
    assert recorder.tested == list(range(len(recorder.tested)))
