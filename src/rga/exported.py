"""A trained network in a folder of its own: what `rga export` writes, and `rga.load` gives back.

Of what `config.json` there names, only components of this package are built, and only from numbers, texts and lists:
nothing in a folder is executed. Neither Lightning nor Hydra is needed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rga.attention
from rga.attention import AnySize
from rga.backbones import cifar_densenet, cifar_resnet, timm_trunk, torchvision_trunk
from rga.backbones.stages import stage_name
from rga.backbones.weights import fill, read_weights
from rga.errors import ConfigError
from rga.heads import ASPP, PPM, Plain, Segmenter
from rga.plugin import assemble

CONFIG, WEIGHTS = "config.json", "model.safetensors"
DIGEST = "weights_digest"  # what the config calls that of the weights
FORMAT = 1

_OUTSIDE = 0.5  # of 0..1, what images may reach by being resized; normalised ones, or those in 0..255, reach further

_Known = Mapping[str, Callable[..., Any]]
TRUNKS: _Known = {made.__name__: made for made in (cifar_densenet, cifar_resnet, timm_trunk, torchvision_trunk)}
HEADS: _Known = {made.__name__: made for made in (ASPP, PPM, Plain)}
BLOCKS: _Known = {name: getattr(rga.attention, name) for name in rga.attention.__all__ if name != "AnySize"}


def _expect_unit(images: Tensor) -> None:
    """Refuse images that are not in 0..1, where their values can be looked at."""
    if images.is_meta or not images.numel():
        return
    try:
        low, high = (float(value) for value in images.aminmax())
    except RuntimeError:  # within torch.func.vmap
        return
    if low < -_OUTSIDE or high > 1 + _OUTSIDE:
        raise ValueError(
            f"images are numbers in 0..1, and these lie in {low:.4g}..{high:.4g}: divide 0..255 by 255, and do not "
            "normalise them, the network does"
        )


class Exported(nn.Module):
    """A network with its normalisation and without what only a training needs.

    Images (B, 3, H, W) are RGB in 0..1, as float32; what comes out, the subclass says.

    Args:
        config: see `built`.
    """

    scale: Tensor
    shift: Tensor
    output = ""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        mean, std = (torch.tensor(config["normalisation"][name]).view(3, 1, 1) for name in ("mean", "std"))
        if not bool(mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError("the normalisation has numbers that none can have")
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def trunk(self) -> tuple[nn.Module, int]:
        """The trunk with attention behind its stages, and its channels."""
        config = self.config
        trunk = _component(config["trunk"], TRUNKS, "trunk")()
        attention, after = config["attention"], []
        block = None
        if attention is not None and attention["after"]:
            block = _component(attention, BLOCKS, "attention")
            after = [stage_name(trunk, stage) for stage in attention["after"]]
        return assemble(trunk, block, after, _size(config))

    def normalised(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            raise ValueError(f"images are floating-point numbers in 0..1, not {images.dtype}: images.float() / 255")
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):  # nor while it is exported
            _expect_unit(images)
        return torch.addcmul(self.shift, images, self.scale)


class Feature(Exported):
    """Re-ID: the feature that the metrics are of, (B, C); compare by cosine."""

    output = "feature"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.backbone, channels = self.trunk()
        self.neck = nn.BatchNorm1d(channels) if config["feature"] == "after_bn" else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        images = self.normalised(images)
        feature = self.backbone(images).mean((2, 3))
        if self.config["flip"]:
            feature = (feature + self.backbone(images.flip(3)).mean((2, 3))) / 2
        result: Tensor = self.neck(feature)
        return result


class Scores(Exported):
    """Classification: the probabilities of the classes, (B, classes)."""

    output = "scores"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.backbone, channels = self.trunk()
        self.classifier = nn.Linear(channels, config["classes"])

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.backbone(self.normalised(images)).mean((2, 3)))
        return scores.softmax(1)


class Logits(Exported):
    """Scenes: the logits of the classes at every pixel, (B, classes, H, W), of the whole image at once."""

    output = "logits"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        network, _ = self.trunk()
        attention, block = config["attention"], None
        if attention is not None and attention["beside"]:
            block = _component(attention, BLOCKS, "attention")
            if config["grid"] is not False:
                block = partial(AnySize, block=block, grid=config["grid"])
        head = _component(config["head"], HEADS, "head")
        self.segmenter = Segmenter(network, _size(config), config["classes"], head, block)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmenter(self.normalised(images))
        return logits


TASKS: Mapping[str, type[Exported]] = {"ReID": Feature, "Classification": Scores, "Segmentation": Logits}


def built(config: Any, source: object) -> Exported:
    """The network that a config describes, in evaluation mode, without its weights.

    Args:
        config: `format`, `task`, `size` (H, W), `normalisation`, `trunk`, `attention` and, by task, `feature`, `flip`,
            `classes`, `head` and `grid`; a component is `{"component": NAME, "options": {...}}`.
        source: where it is from, for the error.

    Raises:
        ConfigError: it names a component that is none of this package's, or is no config of an exported network.
    """
    if not isinstance(config, Mapping) or config.get("format") != FORMAT or config.get("task") not in TASKS:
        raise ConfigError(f"{source} is no config that rga export has written in format {FORMAT}")
    try:
        return TASKS[config["task"]](config).eval()
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    except Exception as error:  # wrong values make the components raise all sorts of things
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ConfigError(f"{source} describes no network that can be built: {what}") from error


def load(folder: str | Path) -> Exported:
    """The network in a folder that `rga export` has written, in evaluation mode on the CPU.

    Raises:
        ConfigError: there is none, it is damaged, or it names what is not of this package.
    """
    path = Path(folder).expanduser()
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        network = built(config, path / CONFIG)
        _expect_own(path / WEIGHTS, config.get(DIGEST))
        fill(network.state_dict(), read_weights(path / WEIGHTS))
    except FileNotFoundError as error:
        raise ConfigError(f"no exported network in {path.absolute()}: expected {CONFIG} and {WEIGHTS}") from error
    except ConfigError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the network in {path} cannot be loaded: {error}") from error
    return network


def digest(file: Path) -> str:
    """Of a file's content."""
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _expect_own(weights: Path, written: Any) -> None:
    """See that the weights are the ones with which the config was written, which were compared with the run."""
    if written is not None and digest(weights) != written:
        raise ValueError(f"{weights.name} was damaged or replaced since {CONFIG} was written")


def _component(node: Any, known: _Known, what: str) -> Callable[..., Any]:
    """What a node names, with its options.

    Raises:
        ConfigError: it is not known here, or an option is no plain value or would bring in something from elsewhere.
    """
    name, options = (node.get("component"), node.get("options")) if isinstance(node, Mapping) else (None, None)
    if not isinstance(name, str) or name not in known:
        raise ConfigError(
            f"{what} is {name!r}, and not one of this package: {', '.join(sorted(known))}. Nothing was run"
        )
    if not isinstance(options, Mapping) or not all(map(_is_plain, options.values())):
        raise ConfigError(f"the options of {what} are no plain values")
    network = options.get("name", "")
    if "weights" in options or not re.fullmatch(r"[\w.]*", str(network)):
        raise ConfigError(f"{what} would bring in {options.get('weights') or network!r} from elsewhere: it is refused")
    return partial(known[name], **options)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _size(config: Mapping[str, Any]) -> tuple[int, int]:
    height, width = config["size"]
    return int(height), int(width)


def plain_options(node: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """The options in a config's node: what is neither Hydra's nor left out."""
    return {key: value for key, value in node.items() if not key.startswith("_") and key not in without}
