"""The stages of a network by its own account: what timm says of each of its networks (`feature_info`)."""

from collections.abc import Mapping
from typing import Any

from torch import nn

LEAST_STRIDE = 4  # as of all stages in conf/backbone: before it is the stem, on maps so large that RGA is costly


def own_stages(network: nn.Module) -> list[str]:
    """The modules that put out a network's feature maps, in their order, from stride 4 on.

    Args:
        network: of timm, or one that `rga.network.build` has made of it.

    Raises:
        ValueError: the network says nothing of its stages, as torchvision's do not, or of none from stride 4 on.

    Examples:
        >>> import timm
        >>> own_stages(timm.create_model("efficientnet_b0"))
        ['blocks.1', 'blocks.2', 'blocks.4', 'blocks.6']
    """
    prefix, made = of_timm(network)
    info = getattr(made, "feature_info", None)
    entries = getattr(info, "info", info)  # the list itself, or timm's FeatureInfo around it
    if isinstance(entries, list):
        stages: list[Mapping[str, Any]] = [entry for entry in entries if entry["reduction"] >= LEAST_STRIDE]
        if names := [f"{prefix}{entry['module']}" for entry in stages if entry.get("module")]:
            return list(dict.fromkeys(names))
    raise ValueError(f"{type(network).__name__} does not say which modules its stages are: name them")


def stage_name(network: nn.Module, stage: int | str) -> str:
    """The module of a stage: its name as it is, or that of a number, counted from 1, by the network's own account.

    Raises:
        ValueError: the network has no such stage.
    """
    if isinstance(stage, str):
        return stage
    names = own_stages(network)
    if not 1 <= stage <= len(names):
        there_are = ", ".join(f"{number} ({name})" for number, name in enumerate(names, 1))
        raise ValueError(f"there is no stage {stage}; the network's own are {there_are}")
    return names[stage - 1]


def of_timm(network: nn.Module) -> tuple[str, nn.Module]:
    """What stands before the names of timm's own network in what is made of it here (its child `trunk`), and itself."""
    prefix = ""
    while isinstance(child := dict(network.named_children()).get("trunk"), nn.Module):
        prefix, network = f"{prefix}trunk.", child
    return prefix, network


def pretrained_config(network: nn.Module) -> Mapping[str, Any]:
    """What timm says of a network's weights and images: `input_size`, `fixed_input_size`, `mean`, ...; or nothing."""
    return getattr(of_timm(network)[1], "pretrained_cfg", None) or {}
