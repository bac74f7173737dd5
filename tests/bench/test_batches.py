"""The bench runs, compares the same work and reports; its numbers are not asserted."""

import json

import numpy as np
import pytest
import torch
from torchvision import transforms

from rga.bench import batches
from rga.data import ImageData, ImageSplit, LabelledImages
from rga.data.cifar.image_data import channel_statistics


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = batches.main(images=300, batch=50, workers=0, rounds=1)
    assert json.loads(json.dumps(report)) == report
    assert set(report["images_per_second"]) == {"ours", "torchvision"}
    assert min(report["images_per_second"].values()) > 0
    assert report["speedup"] == pytest.approx(
        report["images_per_second"]["ours"] / report["images_per_second"]["torchvision"]
    )
    printed = capsys.readouterr().out
    assert "300" in printed
    assert "torchvision, 0 workers" in printed


def test_both_make_the_same_of_a_picture() -> None:
    part = LabelledImages(np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8), np.arange(6))
    split = ImageSplit(part, part, [str(number) for number in range(6)])
    ours = ImageData(lambda root: split, "anywhere", (32, 32))
    ours.setup()
    (batch,) = ours.test_dataloader()
    normalize = transforms.Normalize(*channel_statistics(part.images))
    theirs = batches.ImageFiles(part, transforms.Compose([transforms.ToTensor(), normalize]))
    for number, (image, label) in enumerate(theirs[index] for index in range(len(theirs))):
        assert label == batch["label"][number]
        torch.testing.assert_close(batch["image"][number], image, rtol=0, atol=1e-5)
