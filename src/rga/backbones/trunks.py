"""Networks without pooling and classifier: images (B, 3, H, W) -> the last feature map (B, C, h, w)."""

import difflib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from rga.backbones.mobilenetv2 import torchvision_names
from rga.backbones.stages import of_timm, pretrained_config
from rga.backbones.weights import load_weights, read_weights
from rga.files import names_a_file
from rga.plugin import output_shapes

log = logging.getLogger("rga")

# By these timm loads weights in ways of its own, files of Python objects among them.
_WEIGHTS_OF_TIMM = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
HEADS = ("avgpool", "classifier", "fc", "head", "heads")


def torchvision_trunk(
    name: str, weights: str | Path | None = None, last_stride: int = 2, output_stride: int = 32
) -> nn.Sequential:
    """The children of a torchvision network up to its pooling, under their own names, so ImageNet files fit.

    Args:
        name: a network that is a chain of its children: ResNet, ResNeXt, MobileNet, EfficientNet, RegNet, ConvNeXt, ...
        weights: None; the name of torchvision's weights, such as IMAGENET1K_V1, which are downloaded; or a file.
        last_stride: 1 leaves the last feature map of a ResNet at 1/16 of the image instead of 1/32, as re-ID has it.
        output_stride: 8 or 16 leaves the last feature map at 1/8 or 1/16 of the image, as segmentation has it. Strides
            beyond it are removed and the convolutions behind them dilated; the weights are the same. For a ResNet and 8
            that is stage 3 dilated by 2 and stage 4 by 4.

    Raises:
        ValueError: unknown weights, weights that do not fit, or a stride that the network cannot have.
        RuntimeError: the download failed; the error says what to do by hand.
    """
    network = torchvision.models.get_model(name, weights=None)
    names = [child for child, _ in network.named_children()]
    heads = [child for child in names if child in HEADS]
    trunk = nn.Sequential(OrderedDict((n, m) for n, m in network.named_children() if n not in heads))
    if isinstance(network, torchvision.models.DenseNet):
        trunk.add_module("relu", nn.ReLU())  # in its forward this one is no module
    if not heads or names[-len(heads) :] != heads:
        raise ValueError(f"torchvision's {name} is not a chain of modules that ends with {' or '.join(HEADS)}")
    if last_stride != 2:
        _set_last_stride(trunk, name, last_stride)
    if output_stride != 32:
        if last_stride != 2:
            raise ValueError("last_stride removes a stride without dilation, output_stride with it: give one of them")
        _dilate(trunk, name, output_stride)
    if weights is not None:
        state = read_weights(weights) if names_a_file(weights) else _download(name, str(weights))
        load_weights(trunk, torchvision_names(state), ignored=heads, source=weights)
    return trunk


def timm_trunk(name: str, weights: str | Path | bool | None = None, last_stride: int = 2, **options: Any) -> nn.Module:
    """A timm network without pooling and classifier.

    Args:
        name: timm's name.
        weights: None; True for timm's default ones or the tag of others, which are downloaded; or a file.
        last_stride: 1 leaves the last feature map at 1/16 of the image, by timm's `output_stride=16`.
        options: go to `timm.create_model`, such as `drop_path_rate=0.1`; an unknown one is timm's TypeError.

    Raises:
        ValueError: no such network, weights that do not fit, or that an option of timm's names.
        RuntimeError: the download failed; the error says what to do by hand.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride is 1 or 2, got {last_stride}")
    if named := _WEIGHTS_OF_TIMM & options.keys():
        raise ValueError(f"{', '.join(sorted(named))}: the weights of a trunk are those that `weights` names")
    if options.get("output_stride", 32) not in (8, 16, 32):
        raise ValueError(f"output_stride is 8, 16 or 32, got {options['output_stride']}")
    stride = {"output_stride": 16} if last_stride == 1 else {}
    options = {"num_classes": 0, "global_pool": "", **stride, **options}
    if ":" not in name and not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), 3))
        raise ValueError(f"timm has no network {name!r}{f'; is it {close}?' if close else ''}")
    network = _without_pooling(name, options)
    if not weights or names_a_file(weights):
        if weights:
            _, made = of_timm(network)
            head = pretrained_config(made).get("classifier") or ()
            load_weights(made, read_weights(str(weights)), [head] if isinstance(head, str) else head, source=weights)
        return network
    tagged = name if weights is True else f"{name}.{weights}"
    try:
        made = _without_pooling(tagged, {**options, "pretrained": True})
        _warn_of_other_normalization(tagged, pretrained_config(of_timm(made)[1]))
        return made
    except Exception as error:  # what a failed download raises depends on the versions of timm's dependencies
        config = timm.get_pretrained_cfg(tagged)
        if config is None:
            raise
        source = config.url or f"{config.hf_hub_id} (model.safetensors) on the model hub"
        raise RuntimeError(_by_hand("the weights", source)) from error


def _warn_of_other_normalization(name: str, config: Mapping[str, Any]) -> None:
    ours = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    mean, std = tuple(config.get("mean") or ours[0]), tuple(config.get("std") or ours[1])
    if (mean, std) != ours:
        log.warning(
            "the weights of %s were trained on images normalised by mean %s and std %s, and get images normalised by "
            "%s and %s; for re-ID, recipe.augment.mean and recipe.augment.std change that",
            name, mean, std, *ours,
        )  # fmt: skip


class Unpooled(nn.Module):
    """A network of timm whose classifier cannot be without pooling, as InceptionNeXt's: what lies before it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.trunk: Any = network
        self.trunk.head = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.trunk.forward_features(images)
        return features


def _without_pooling(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, **options)
    except AssertionError:
        if options["global_pool"]:
            raise
        pooled = {key: value for key, value in options.items() if key != "global_pool"}
        return Unpooled(timm.create_model(name, **pooled))


def _set_last_stride(trunk: nn.Sequential, name: str, stride: int) -> None:
    stages = dict(trunk.named_children())
    if stride != 1 or "layer4" not in stages:
        raise ValueError(f"last_stride={stride} is not possible for {name}; 1 or 2 for a ResNet, else 2")
    for module in stages["layer4"].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


def _dilate(trunk: nn.Sequential, name: str, output_stride: int) -> None:
    """Remove the strides beyond `output_stride` and dilate, in place.

    A convolution whose output was at 1/s of the image is dilated by s / output_stride: all 3x3 convolutions of a stage
    alike, the first one, which loses its stride, included. So do the authors of PSPNet, and those whose recipe for
    Cityscapes the paper has (OCNet). torchvision's `replace_stride_with_dilation` (which refuses ResNet-18 and -34)
    leaves the first one at the dilation of the stage before. No multi-grid.
    """
    image = 256
    impossible = (
        f"output_stride={output_stride} is not possible for {name}; 8 and 16 are for networks whose strides are in "
        "convolutions with odd kernels, such as a ResNet or MobileNet, all others have 32"
    )
    if output_stride not in (8, 16):
        raise ValueError(impossible)
    outputs = output_shapes(trunk, (image, image))
    for path, module in trunk.named_modules():
        if isinstance(module, nn.Conv2d):
            _, height, _ = outputs[path] or (0, image, image)
            factor = image // height // output_stride
            if factor > 1:
                module.stride = (1, 1)
            if factor > 1 and module.kernel_size != (1, 1):
                module.dilation = tuple(factor * dilation for dilation in module.dilation)
                module.padding = tuple(factor * (size // 2) for size in module.kernel_size)
    _, height, _ = output_shapes(trunk, (image, image))[""] or (0, 0, 0)
    if height * output_stride != image:
        raise ValueError(impossible)


def _download(name: str, weights: str) -> dict[str, Tensor]:
    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        there_are = ", ".join(known.__members__)
        raise ValueError(f"torchvision has no weights {weights!r} for {name}; there are: {there_are}, or give a file")
    entry = known[weights]
    _expect_whole(Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2]))
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, a proxy's page instead of the file
        raise RuntimeError(_by_hand(entry.url.rpartition("/")[2], entry.url)) from error


def _expect_whole(file: Path) -> None:
    """See that a file that was downloaded before is whole: torch compares the digest in its name once, after that."""
    digest = torch.hub.HASH_REGEX.search(file.name)
    if digest is None or not file.is_file():
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(digest[1]):
        raise ValueError(
            f"{file} is not what its name says, as after an interrupted download or copy (its SHA-256 begins with "
            f"{found[: len(digest[1])]}): remove it, and it is downloaded again"
        )


def _by_hand(file: str, source: str) -> str:
    return f"could not download {file}; download it yourself from {source} and pass backbone.weights=FILE"
