"""From the config groups `backbone` and `attention` to a network with attention behind its stages."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from rga.backbones.stages import pretrained_config, stage_name
from rga.errors import ConfigError
from rga.inspection import inspect
from rga.plugin import ChannelsFirst, channels_last, feature_map, plug


def build(backbone: Mapping[str, Any], attention: Mapping[str, Any], size: Sequence[int]) -> tuple[nn.Module, int]:
    """Build the trunk (with its weights), then plug the block behind the stages that `attention.after` names.

    Args:
        backbone: `trunk` and `stages` of conf/backbone; a stage is a module's name, or a number: the trunk's own count.
        attention: `block` and `after` of conf/attention; a stage is a number, counted from 1, or a module's name.
        size: (H, W) of the images.

    Returns:
        The network and the number of channels of its feature map, which come first: where the trunk's come last, as
        timm's Swin has them, it is permuted at its end.

    Raises:
        ConfigError: weights that are not there or do not fit, a stage or an option that there is not.
    """
    size = (size[0], size[1])
    stages = _stages(attention["after"], backbone["stages"])
    try:
        trunk = instantiate(backbone["trunk"])
        block = instantiate(attention["block"])
        after = [] if block is None else [stage_name(trunk, stage) for stage in stages]
        network = plug(trunk, block, after, size)
        shape = feature_map(network, "", inspect(network, size))
        last = channels_last(network, "", shape, size)
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ConfigError(f"backbone={backbone['name']}: {str(cause) or type(cause).__name__}") from error
    except ValueError as error:
        hint = ""
        if pretrained_config(trunk).get("fixed_input_size") and "img_size" not in backbone["trunk"]:
            hint = f". It is made for images of one size: +backbone.trunk.img_size=[{size[0]},{size[1]}] may help"
        raise ConfigError(f"backbone={backbone['name']}: {error}{hint}") from error
    if last:
        network = nn.Sequential(OrderedDict(trunk=network, channels_first=ChannelsFirst()))
    return network, shape[2 if last else 0]


def component(node: Mapping[str, Any], **parts: Any) -> Any:
    """Instantiate a config's node; ConfigError, with the cause alone, where an argument of it is refused."""
    try:
        return instantiate(node, **parts)
    except InstantiationException as error:
        if isinstance(error.__cause__, TypeError | ValueError):
            raise ConfigError(str(error.__cause__)) from error
        raise


def _stages(after: Sequence[int | str], stages: Sequence[int | str]) -> list[int | str]:
    if isinstance(after, str):
        raise ConfigError(f"attention.after is a list of stages: attention.after=[{after}]")
    given = [isinstance(stage, int) and 1 <= stage <= len(stages) for stage in after]
    named = any(isinstance(stage, str) for stage in stages)  # else they are the trunk's own, which it counts itself
    if named and any(isinstance(stage, int) and not known for stage, known in zip(after, given, strict=True)):
        raise ConfigError(f"attention.after={list(after)}: the backbone has the stages 1 to {len(stages)}")
    return [stages[int(stage) - 1] if known else stage for stage, known in zip(after, given, strict=True)]
