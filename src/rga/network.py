"""From the config groups `backbone` and `attention` to a network with attention behind its stages."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from rga.errors import ConfigError
from rga.plugin import ChannelsFirst, is_channels_last, output_shapes, plug


def build(backbone: Mapping[str, Any], attention: Mapping[str, Any], size: Sequence[int]) -> tuple[nn.Module, int]:
    """Build the trunk (with its weights), then plug the block behind the stages that `attention.after` names.

    Args:
        backbone: `trunk` and `stages` of conf/backbone.
        attention: `block` and `after` of conf/attention; a stage is a number, counted from 1, or a module's name.
        size: (H, W) of the images.

    Returns:
        The network and the number of channels of its feature map, which come first: where the trunk's come last, as
        timm's Swin has them, it is permuted at its end.

    Raises:
        ConfigError: weights that are not there or do not fit, a stage or an option that there is not.
    """
    size = (size[0], size[1])
    names = _names(attention["after"], backbone["stages"])
    try:
        network = plug(instantiate(backbone["trunk"]), instantiate(attention["block"]), names, size)
        if is_channels_last(network, size):
            network = nn.Sequential(OrderedDict(trunk=network, channels_first=ChannelsFirst()))
        shape = output_shapes(network, size)[""]
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ConfigError(f"backbone={backbone['name']}: {str(cause) or type(cause).__name__}") from error
    except ValueError as error:
        raise ConfigError(f"backbone={backbone['name']}: {error}") from error
    assert shape is not None
    return network, shape[0]


def component(node: Mapping[str, Any], **parts: Any) -> Any:
    """Instantiate a config's node; ConfigError, with the cause alone, where an argument of it is refused."""
    try:
        return instantiate(node, **parts)
    except InstantiationException as error:
        if isinstance(error.__cause__, TypeError | ValueError):
            raise ConfigError(str(error.__cause__)) from error
        raise


def _names(after: Sequence[int | str], stages: Sequence[str]) -> list[str]:
    if isinstance(after, str):
        raise ConfigError(f"attention.after is a list of stages: attention.after=[{after}]")
    unknown = [stage for stage in after if isinstance(stage, int) and not 1 <= stage <= len(stages)]
    if unknown:
        raise ConfigError(f"attention.after={list(after)}: the backbone has the stages 1 to {len(stages)}")
    return [stages[stage - 1] if isinstance(stage, int) else stage for stage in after]
