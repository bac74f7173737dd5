"""What image pooling needs of a batch."""

from torch import Tensor, nn


def check_batch(x: Tensor, branch: nn.Module) -> None:
    """Raise a ValueError if a branch that pools to 1x1 is to normalise with the statistics of one image alone.

    That is one value per channel, without a deviation. Synchronised BatchNorm has the other devices' values as well; it
    is no `BatchNorm2d`.
    """
    if x.shape[0] == 1 and any(isinstance(module, nn.BatchNorm2d) and module.training for module in branch.modules()):
        raise ValueError(
            "this head pools each image to one value per channel, and BatchNorm cannot train on a single value: "
            "use at least two images per device, or synchronised BatchNorm on several devices"
        )
