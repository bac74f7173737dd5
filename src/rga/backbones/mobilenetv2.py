"""Files of MobileNetV2 weights from before torchvision had the network."""

import re
from collections.abc import Mapping

from torch import Tensor

# The older files count all layers of a block, ReLU6 included; torchvision nests a convolution with its BatchNorm.
_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}  # it has no expansion
_NAME = re.compile(r"features\.(\d+)\.conv\.(\d+)\.(\w+)")


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the flat blocks (`features.2.conv.7.weight`) to torchvision's; other files are given back as they are."""
    if "features.2.conv.7.weight" not in state:
        return dict(state)

    def rename(match: re.Match[str]) -> str:
        block, layer, parameter = match.groups()
        return f"features.{block}.conv.{(_FIRST_BLOCK if block == '1' else _BLOCK)[layer]}.{parameter}"

    return {_NAME.sub(rename, name): tensor for name, tensor in state.items()}
