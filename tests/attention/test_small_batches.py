"""One image in training, and maps of one position: a block works, or says what BatchNorm needs."""

import copy
import re
import sys

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from rga.attention import BAM, RGAC, SE, NonLocal, SelfCalibrated, StripPooling

from .test_zoo import FILES, images


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (1, 9), (4, 4), (5, 6), (8, 6), (15, 16)])
def test_one_image_in_training(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Never PyTorch's own message, and an error just where PyTorch would have had one."""
    for channels in (1, 16):
        block, x = instantiate(OmegaConf.load(FILES[name]).block)(channels, size), images(1, channels, size)
        with monkeypatch.context() as without:
            for path, module in list(sys.modules.items()):
                if path.startswith("rga.attention.") and hasattr(module, "check_values"):
                    without.setattr(module, "check_values", lambda *_: None)
            theirs = refusal(copy.deepcopy(block).train(), x)
        ours = refusal(block.train(), x)
        assert ("Expected more than 1 value per channel" in theirs) == bool(theirs)
        assert bool(ours) == bool(theirs), (channels, theirs)
        assert not ours or "use at least two images per device, or synchronised BatchNorm" in ours
        assert block.eval()(x).isfinite().all()  # one image is no problem then


def refusal(block: nn.Module, x: torch.Tensor) -> str:
    try:
        assert block(x).shape == x.shape
    except ValueError as error:
        return str(error)
    return ""


def test_two_images_with_one_position_each() -> None:
    for name, file in FILES.items():
        block = instantiate(OmegaConf.load(file).block)(16, (1, 1)).train()
        assert block(images(2, 16, (1, 1))).isfinite().all(), name


@pytest.mark.parametrize(
    ("block", "size", "message"),
    [
        (BAM, (8, 4), "all that Sequential has of a batch of shape (1, 16, 8, 4)"),
        (NonLocal, (1, 1), "all that NonLocal has of a batch of shape (1, 16, 1, 1)"),
        (SelfCalibrated, (4, 3), "all that SelfCalibrated has"),
        (StripPooling, (4, 1), "all that StripPooling has"),
    ],
)
def test_who_needs_more_than_one_image(block: type[nn.Module], size: tuple[int, int], message: str) -> None:
    made = block(16, size).train()
    with pytest.raises(ValueError, match=re.escape(message)):
        made(images(1, 16, size))
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()  # frozen statistics
    assert made(images(1, 16, size)).isfinite().all()


def test_channels_as_nodes_are_several_values() -> None:
    assert RGAC(16, (1, 1)).train()(images(1, 16, (1, 1))).isfinite().all()
    assert SE(16, (1, 1)).train()(images(1, 16, (1, 1))).isfinite().all()


def test_synchronised_batchnorm_has_the_other_devices_values() -> None:
    block = nn.SyncBatchNorm.convert_sync_batchnorm(BAM(16, (8, 4))).train()
    try:
        block(images(1, 16, (8, 4)))
    except (RuntimeError, ValueError) as error:  # on one device, or on the CPU, PyTorch refuses by itself
        assert "at least two images" not in str(error)  # noqa: PT017
    assert torch.get_default_dtype() == torch.float32
