"""Strip pooling: the module of the paper's figure 4 with every pooled map enlarged to H x W by matrices."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, batch_norm, conv1x1


def line(inputs: int, outputs: int, align_corners: bool) -> Tensor:
    """Linear interpolation of `inputs` values at `outputs` places as a matrix (outputs, inputs)."""
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    for place in range(outputs):
        if align_corners:
            source = place * (inputs - 1) / (outputs - 1) if outputs > 1 else 0
        else:
            source = min(max((place + 0.5) * inputs / outputs - 0.5, 0), inputs - 1)
        left = int(source)
        matrix[place, left] += 1 - (source - left)
        matrix[place, min(left + 1, inputs - 1)] += source - left
    return matrix


def bilinear(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    rows, columns = (line(old, new, align_corners) for old, new in zip(x.shape[2:], size, strict=True))
    return torch.einsum("ih,bchw,jw->bcij", rows, x, columns)


def windows(x: Tensor, window: int) -> Tensor:
    """The means of windows x windows; what is left at the border is a window too."""
    rows = [band.mean(2, keepdim=True) for band in x.split(window, dim=2)]
    return torch.cat([torch.cat([cell.mean(3, True) for cell in row.split(window, dim=3)], dim=3) for row in rows], 2)


def strip_pooling(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    size = (x.shape[2], x.shape[3])

    def layer(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.0.weight"]
        return batch_norm(F.conv2d(x, weight, padding=[k // 2 for k in weight.shape[2:]]), state, f"{name}.1")

    short, long = layer("embed_short.0", x).clamp(min=0), layer("embed_long.0", x).clamp(min=0)
    branches = [layer("full", short)]
    branches += [bilinear(layer(f"window{k}", windows(short, k)), size, True) for k in (3, 5)]
    short = layer("short.1", sum(branches).clamp(min=0)).clamp(min=0)
    column = layer("columns", long.sum(2, keepdim=True) / size[0])
    row = layer("rows", long.sum(3, keepdim=True) / size[1])
    long = layer("long.1", (bilinear(column, size, True) + bilinear(row, size, True)).clamp(min=0)).clamp(min=0)
    added = conv1x1(torch.cat([short, long], dim=1), state["project.0.weight"])
    return (x + batch_norm(added, state, "project.1")).clamp(min=0)


def parameters(channels: int, height: int, width: int) -> int:
    quarter = max(channels // 4, 1)
    squares, strips = 5 * (9 * quarter + 2) * quarter, 2 * (3 * quarter + 2) * quarter
    return 2 * (channels + 2) * quarter + squares + strips + (2 * quarter + 2) * channels


ORACLES = {"strip_pooling": Oracle(strip_pooling, parameters, None)}
