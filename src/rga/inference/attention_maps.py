"""Where a trained re-ID network looks: Grad-CAM and the weights of its attention, for the images that it is shown.

A map of h x w values lies over an image as h x w equal tiles, as Grad-CAM's tools have it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from rga.attention.gate_values import Gates, gates_in
from rga.backbones.stages import stage_name
from rga.errors import ConfigError
from rga.plugin import output_shapes
from rga.tasks import ReID

LEAST = (16, 8)  # positions of a map that shows something: conv5_x's of the paper's network, at 256 x 128


@dataclass(frozen=True)
class Stage:
    """A stage of a network: its number, counted from 1, its module's name, and (h, w) of its map."""

    number: int
    module: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"stage {self.number} ({self.module}, {self.size[0]} x {self.size[1]} positions)"


def stages(network: nn.Module, config: DictConfig) -> list[Stage]:
    """Those of conf/backbone, in the order of the network.

    Args:
        network: as `rga.network.build` makes it.
        config: of its run.
    """
    shapes = output_shapes(network, (config.data.size[0], config.data.size[1]))
    found = []
    for number, stage in enumerate(config.backbone.stages, 1):
        with suppress(ValueError):  # a network of timm's may have fewer stages than its config counts
            name = stage_name(network, stage)
            found.append((number, name, shapes[name]))
    return [Stage(number, name, (shape[1], shape[2])) for number, name, shape in found if shape is not None]


def last_visible(among: Sequence[Stage]) -> Stage | None:
    """The last one whose map has at least `LEAST` positions, so that it shows something."""
    visible = [stage for stage in among if stage.size[0] >= LEAST[0] and stage.size[1] >= LEAST[1]]
    return visible[-1] if visible else None


def gradcam_stage(network: nn.Module, config: DictConfig) -> Stage | None:
    """The stage of Grad-CAM; None for the last feature map, where that is visible or nothing is."""
    size = (config.data.size[0], config.data.size[1])
    last = output_shapes(network, size)[""] or (0, 0, 0)
    visible = last[1] >= LEAST[0] and last[2] >= LEAST[1]
    return None if visible else last_visible(stages(network, config))


def attention_stage(network: nn.Module, config: DictConfig, attention: str, wanted: int | None = None) -> Stage:
    """The stage whose attention is shown: the wanted one, else the last that is visible.

    Raises:
        ConfigError: no attention stands behind it.
    """
    there = [stage for stage in stages(network, config) if _attention(network, stage) is not None]
    names = ", ".join(str(stage.number) for stage in there) or "none of its stages"
    if wanted is not None:
        for stage in there:
            if stage.number == wanted:
                return stage
        raise ConfigError(f"--stage {wanted}: attention={attention} stands after {names}")
    if (visible := last_visible(there)) is None:
        raise ConfigError(
            f"attention={attention} stands after {names}, where no map has at least {LEAST[0]} x {LEAST[1]} positions: "
            "too few to see anything. --stage N shows one nevertheless; larger images (data.size) have larger maps"
        )
    return visible


def masks(network: nn.Module, images: Tensor, stage: Stage, attention: str) -> NDArray[np.float32]:
    """The weights of the positions that a stage's attention gives to images (B, 3, H, W), normalised: (B, h, w).

    Where a gate weighs each position of each channel, that is the mean over the channels.

    Raises:
        ConfigError: the block has none; the message says what it has.
    """
    gates = _gates(network, images, stage)
    if (found := gates.spatial()) is not None:
        return _numpy(found)
    if gates.found:
        raise ConfigError(
            f"attention={attention} has no spatial mask, it weighs channels: --channel shows their weights. Masks have "
            "rga_sc, rga_s, cbam, cbam_s, fc_s, ..."
        )
    raise ConfigError(_no_gate(attention, "spatial mask"))


def channels(network: nn.Module, images: Tensor, stage: Stage, attention: str) -> NDArray[np.float32]:
    """The weights of the channels, (B, C): as `masks`, the mean over the positions where a gate weighs both."""
    gates = _gates(network, images, stage)
    if (found := gates.channel()) is not None:
        return _numpy(found)
    if gates.found:
        raise ConfigError(
            f"attention={attention} has no channel gates, it weighs positions: without --channel the figure shows "
            "their mask"
        )
    raise ConfigError(_no_gate(attention, "channel gates"))


def gradcam(task: ReID, images: Tensor, layer: nn.Module | None = None) -> NDArray[np.float32]:
    """Grad-CAM of the classifier's largest score: (B, 3, H, W), normalised, to (B, H, W) in 0..1.

    Args:
        task: the network with its classifier.
        images: on its device.
        layer: whose output is weighted; None: the last feature map, the one that is pooled.
    """
    from pytorch_grad_cam import GradCAM

    # The classifier knows the training identities only, so the score is the largest, as the field's tools have it.
    maps = GradCAM(_Scores(task), [task.backbone if layer is None else layer])(images, targets=None)
    return np.asarray(maps, dtype=np.float32)


class _Scores(nn.Module):
    """Images (B, 3, H, W) to the classifier's scores (B, classes)."""

    def __init__(self, task: ReID) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        assert self.task.classifier is not None
        scores: Tensor = self.task.classifier(self.task(images)[1])
        return scores


def _attention(network: nn.Module, stage: Stage) -> nn.Module | None:
    """What `plug` put behind a stage."""
    module = network.get_submodule(stage.module)
    return dict(module.named_children()).get("attention") if isinstance(module, nn.Sequential) else None


def _gates(network: nn.Module, images: Tensor, stage: Stage) -> Gates:
    block = _attention(network, stage)
    assert block is not None
    return gates_in(network, images, {stage.module: block})[stage.module]


def _no_gate(attention: str, what: str) -> str:
    return (
        f"attention={attention} has no {what}: it adds to its input instead of weighing it, so there is no gate to "
        "show. Choose a block with gates, such as rga_sc or cbam"
    )


def _numpy(weights: Tensor) -> NDArray[np.float32]:
    return np.asarray(weights.float().cpu().numpy(), dtype=np.float32)
