"""The data module of segmentation, on images of different sizes whose colour is their number."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import lightning
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import rga.data.module
from rga.data import SceneData
from rga.data.demo import writers
from rga.data.scenes import camvid, cityscapes
from rga.data.scenes.stream import Stream
from rga.errors import ConfigError, DataError
from rga.paths import CONF

COUNTS = {"train": 7, "val": 5, "test": 3}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid's layout: image n is 24 + n x 30 and has the colour (20 n, 0, 0) and the label n, half of it ignored."""
    root = tmp_path_factory.mktemp("scenes")
    for part, count in COUNTS.items():
        (root / part).mkdir()
        (root / f"{part}annot").mkdir()
        for number in range(count):
            image, label = np.zeros((24 + number, 30, 3), np.uint8), np.full((24 + number, 30), 11, np.uint8)
            image[..., 0], label[:, :15] = 20 * number, number
            Image.fromarray(image).save(root / part / f"{number}.png")
            Image.fromarray(label).save(root / f"{part}annot" / f"{number}.png")
    return root


def data(root: Path, **options: Any) -> SceneData:
    module = SceneData(camvid.read, root, **{"size": (17, 25), "batch": 4, "steps": 3, "workers": 0, **options})
    module.prepare_data()
    module.setup("fit")
    return module


def process(module: SceneData, rank: int, world: int) -> SceneData:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world)  # type: ignore[assignment]
    return module


def batches(module: SceneData, epoch: int = 0) -> list[dict[str, torch.Tensor]]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("image", "label")
    )


def test_a_training_batch(root: Path) -> None:
    found = batches(data(root))
    assert len(found) == 3
    for batch in found:
        image, label = batch["image"], batch["label"]
        assert (image.shape, image.dtype) == ((4, 3, 17, 25), torch.float32)
        assert (label.shape, label.dtype) == ((4, 17, 25), torch.int64)
        red = (255 * (image * STD + MEAN))[:, 0].round()
        counts = label != 255
        assert counts.any()
        assert torch.equal(red[counts].long(), 20 * label[counts])


def test_padding_is_the_mean_colour_and_ignored(root: Path) -> None:
    for batch in batches(data(root, size=(60, 70), scales=(1, 1))):
        outside = batch["image"].abs().amax(1) < 0.02
        assert (
            outside.sum((1, 2)) == 60 * 70 - 30 * (24 + batch["label"].where(batch["label"] < 255, 0).amax((1, 2)))
        ).all()
        assert (batch["label"][outside] == 255).all()


def test_every_image_once_in_a_pass(root: Path) -> None:
    """7 images in batches of 4, 7 steps of which are 4 passes; epochs of 3 steps cut through them."""
    stream = Stream(7, 4, 3, seed=5)
    seen: list[int] = []
    for epoch in range(7):
        stream.set_epoch(epoch)
        draws = list(stream)
        assert [(draw.epoch, draw.step, draw.rows) for draw in draws] == [
            (epoch, step, [0, 1, 2, 3]) for step in range(3)
        ]
        seen += [index for draw in draws for index in draw.indices]
    passes = [seen[start : start + 7] for start in range(0, 84, 7)]
    assert all(sorted(indices) == list(range(7)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) > 10
    assert len(stream) == 3
    tiny = Stream(2, 8, 5)
    assert Counter(index for draw in tiny for index in draw.indices) == {0: 20, 1: 20}


def test_an_epoch_is_a_function_of_seed_and_epoch(root: Path) -> None:
    module = data(root)
    first, second = batches(module, 0), batches(module, 1)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert same(batches(data(root), 1), second)
    assert same(batches(module, 0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(first, second)
    assert not same(batches(data(root, seed=1), 0), first)


def test_workers_change_nothing(root: Path) -> None:
    assert same(batches(data(root, workers=2), 2), batches(data(root), 2))


def test_workers_stay_for_all_epochs(root: Path) -> None:
    module, expected = data(root, workers=1), data(root)
    loader, pids = module.train_dataloader(), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert same([module.on_after_batch_transfer(batch, 0) for batch in loader], batches(expected, epoch))
        pids.append(loader._iterator._workers[0].pid)
    assert pids[0] == pids[1]


def test_as_many_workers_as_cores(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rga.data.module, "cores", lambda: 12)
    assert data(root, workers=None).train_dataloader().num_workers == 12
    shared = data(root, workers=None)
    shared.trainer = SimpleNamespace(num_devices=4, global_rank=0, world_size=4)  # type: ignore[assignment]
    assert shared.train_dataloader().num_workers == 3
    monkeypatch.setattr(rga.data.module, "cores", lambda: 64)
    assert data(root, workers=None).val_dataloader().num_workers == 16
    assert data(root, workers=5).test_dataloader()[0].num_workers == 5


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_every_batch(root: Path, world: int) -> None:
    whole = batches(data(root), epoch=3)
    parts = [batches(process(data(root), rank, world), epoch=3) for rank in range(world)]
    for step, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert torch.equal(part[step]["label"], batch["label"][rank::world])
            assert torch.equal(part[step]["image"], batch["image"][rank::world])


def test_whole_images_are_dealt_without_repetition(root: Path) -> None:
    module = data(root, test=["val", "test", "train"])
    loaders = module.test_dataloader()
    assert [len(loader) for loader in loaders] == [5, 3, 7]
    for number, batch in enumerate(module.val_dataloader()):
        batch = module.on_after_batch_transfer(batch, 0)
        assert (batch["image"].shape, batch["image"].dtype) == ((1, 3, 24 + number, 30), torch.float32)
        assert (batch["label"].shape, batch["label"].dtype) == ((1, 24 + number, 30), torch.int64)
        assert batch["name"] == [f"{number}"]
        assert (batch["label"][..., :15] == number).all()
        assert (batch["label"][..., 15:] == 255).all()
        expected = (torch.tensor([20 * number / 255, 0, 0]).view(3, 1, 1) - MEAN) / STD
        assert torch.allclose(batch["image"][0], expected.expand(3, 24 + number, 30), atol=1e-5)
    names = [[batch["name"][0] for batch in process(data(root), rank, 2).val_dataloader()] for rank in range(2)]
    assert names == [["0", "2", "4"], ["1", "3"]]


def test_what_it_says_of_the_set(root: Path) -> None:
    module = data(root, name="numbers")
    assert (module.num_classes, module.size, module.test) == (11, (17, 25), ["val", "train"])
    assert len(module.classes) == len(module.colours) == 11
    assert module.summary["name"] == "numbers"
    assert {part: module.summary[part] for part in COUNTS} == {
        part: {"images": count, "classes": 11} for part, count in COUNTS.items()
    }
    assert str(root) not in str(module.summary)


def test_stops_before_training(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no CamVid"):
        data(tmp_path)
    with pytest.raises(DataError, match="has the splits train, val, test, not vale"):
        data(root, test=["vale"])
    with pytest.raises(ConfigError, match="4 images cannot be divided among 3 processes"):
        process(data(root), 0, 3).train_dataloader()
    with pytest.raises(ValueError, match="batch=0"):
        data(root, batch=0)
    with pytest.raises(ValueError, match="steps=0"):
        data(root, steps=0)
    with pytest.raises(ValueError, match="demo_writer"):
        data(root, demo={})


class Recorder(lightning.LightningModule):
    """Trains nothing; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict[str, torch.Tensor]] = []
        self.validated: list[str] = []
        self.tested: list[tuple[int, str]] = []

    def training_step(self, batch: dict[str, torch.Tensor], step: int) -> torch.Tensor:
        self.seen.append(batch)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch: dict[str, Any], step: int) -> None:
        self.validated += batch["name"]

    def test_step(self, batch: dict[str, Any], step: int, dataloader_idx: int) -> None:
        self.tested.append((dataloader_idx, batch["name"][0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int, folder: Path) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder,
        use_distributed_sampler=False,
    )  # fmt: skip


def test_under_lightning_also_resumed(root: Path, tmp_path: Path) -> None:
    module, recorder = data(root), Recorder()
    first = trainer(2, tmp_path)
    first.fit(recorder, datamodule=module)
    first.test(recorder, datamodule=module, verbose=False)
    assert recorder.validated == 2 * [f"{number}" for number in range(5)]
    assert recorder.tested == [(0, f"{n}") for n in range(5)] + [(1, f"{n}") for n in range(7)]
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Recorder()
    trainer(3, tmp_path).fit(resumed, datamodule=data(root), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    expected = [batch for epoch in range(3) for batch in batches(data(root), epoch)]
    assert same(recorder.seen + resumed.seen, expected)


@pytest.mark.parametrize(("name", "reader", "size"), [
    ("cityscapes", cityscapes.read, (769, 769)), ("camvid", camvid.read, (353, 473)),
])  # fmt: skip
def test_the_configs(tmp_path: Path, name: str, reader: Any, size: tuple[int, int]) -> None:
    options = {"seed": 3, "paths": {"data": str(tmp_path)}, "recipe": {"batch": 8, "steps": 500}}
    content = OmegaConf.create({**options, "data": OmegaConf.load(CONF / "data" / f"{name}.yaml")})
    module = hydra.utils.instantiate(content.data)
    assert isinstance(module, SceneData)
    partial: Any = module.reader
    assert (module.name, partial.func, module.size, module.seed) == (name, reader, size, 3)
    assert (module.batch, module.steps, module.test) == (8, 500, ["val", "train"])
    assert (module.windows.scales, module.windows.mirror, module.root) == ((0.5, 2.0), 0.5, tmp_path / name)
    assert all(side % 8 == 1 for side in module.size)
    with pytest.raises(DataError, match=str(tmp_path / name)):
        module.prepare_data()


def test_demo_data_come_first(tmp_path: Path) -> None:
    module = SceneData(
        cityscapes.read, tmp_path / "set", (33, 65), 2, 1, workers=0, demo={"train": 2, "val": 1, "size": 32},
        demo_writer=writers.write_cityscapes,
    )  # fmt: skip
    module.prepare_data()
    module.setup("fit")
    assert module.num_classes == 19
    assert batches(module)[0]["label"].shape == (2, 33, 65)


def test_reading_checking_and_drawing_need_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from rga.data import check
from rga.data.demo import writers
root = writers.write_cityscapes({str(tmp_path / "set")!r}, train=1, val=1, size=32)
assert check("cityscapes", root).ok and not check("camvid", root).ok
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_class_weights_are_those_of_the_classes(root: Path) -> None:
    assert data(root).class_weights is None
    assert data(root, class_weights=[1.0] * 11).class_weights == [1.0] * 11
    with pytest.raises(DataError, match=r"has 11 classes, but there are 2 class weights"):
        data(root, class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="positive"):
        data(root, class_weights=[0.0] * 11)
    weights = OmegaConf.load(CONF / "data" / "cityscapes.yaml").class_weights
    assert len(weights) == len(cityscapes.CLASSES)
    names = [name for _, name, _ in cityscapes.CLASSES]
    assert min(zip(weights, names, strict=True))[1] == "road"  # the most frequent class
    assert max(zip(weights, names, strict=True))[1] == "motorcycle"
