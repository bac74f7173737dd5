"""A gate for feature maps of any size."""

from collections.abc import Callable, Sequence
from math import ceil

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from rga.attention.layout import is_static


class AnySize(nn.Module):
    """A gate whose weights are computed on a fixed grid: (B, C, H, W) of any H and W -> the same shape, x * gate(x).

    Features of the grid's size go through the block as they are. Others are pooled to the grid by RoIAlign (He et al.,
    ICCV 2017), the block computes its weights there, weights of positions are enlarged or reduced bilinearly to the
    features' size, and the features are scaled as they were, in full resolution. Weights of channels need no
    resampling; weights (B, C, H, W) are resampled as a whole, which for the product of both kinds, RGA-SC's for one, is
    the same as resampling the positions' factor alone.

    Source: Zhang et al., Relation-Aware Global Attention, arXiv:1904.02998, section 4.2, for RoIAlign. That the weights
    are resampled is a choice: enlarging the scaled grid instead would lose the features' resolution.

    Args:
        channels: C.
        size: (H, W) of the feature map in training.
        block: called as `block(channels, grid)`; any block with a `gate`.
        grid: (height, width) of the grid; None is `size`.

    Raises:
        ValueError: the block is not a gate.

    Examples:
        >>> from rga.attention import RGAS
        >>> block = AnySize(64, (16, 8), RGAS)
        >>> block(torch.rand(2, 64, 25, 12)).shape
        torch.Size([2, 64, 25, 12])
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        block: Callable[[int, tuple[int, int]], nn.Module],
        grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        height, width = size if grid is None else grid
        self.grid = (height, width)
        self.block = block(channels, self.grid)
        if not hasattr(self.block, "gate"):
            raise ValueError(
                f"AnySize resamples the weights of a gate, but {type(self.block).__name__} is none: "
                "it has no method gate(x). Use it without AnySize"
            )

    def gate(self, x: Tensor) -> Tensor:
        """The weights: (B, 1, H, W), (B, C, 1, 1) or (B, C, H, W), as the block gives them."""
        return resample(self.block.gate(pool(x, self.grid)), x)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        if _has_size(x, self.grid):
            return self.block(x)
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


def _has_size(x: Tensor, size: tuple[int, ...]) -> bool:
    """Whether a map has a size; not of one that is traced or exported for every size."""
    return not isinstance(x, torch.fx.Proxy) and is_static(x) and x.shape[2:] == size


@torch.fx.wrap
def resample(weights: Tensor, x: Tensor) -> Tensor:
    """Weights of positions at the size of x, bilinearly; weights of channels and those of the size are as they are."""
    if weights.shape[2:] == (1, 1) or _has_size(x, tuple(weights.shape[2:])):
        return weights
    return F.interpolate(weights, size=x.shape[2:], mode="bilinear")


@torch.fx.wrap
def pool(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """RoIAlign of the whole map, (B, C, H, W) -> (B, C, *grid), at least in single precision inside.

    A map of the grid's size is left as it is.

    A cell is the mean of s x s bilinear samples, s = ceil(max(H / height, W / width)): samples are no further apart
    than neighbouring features, so that none is skipped, and a map smaller than the grid is interpolated with one sample
    per cell. RoIAlign's own choice does so for each axis alone, but with it the implementation that
    torch.use_deterministic_algorithms takes on a GPU visits all H W features for every cell.
    """
    if _has_size(x, grid):
        return x
    if not is_static(x):
        return _pool_any(x, grid)
    batch, _, height, width = x.shape
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # RoIAlign has no bfloat16, and coordinates need more
    image = torch.arange(batch, device=x.device, dtype=wide.dtype).unsqueeze(1)
    boxes = torch.cat([image, wide.new_tensor([[0, 0, width, height]]).expand(batch, 4)], dim=1)
    samples = ceil(max(height / grid[0], width / grid[1]))
    return roi_align(wide, boxes, grid, sampling_ratio=samples, aligned=True).to(x.dtype)


def _pool_any(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """`pool` for an export, in which the number of samples is a symbol and no option: RoIAlign as matrix products."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    height, width = x.shape[2:]
    down, across = ((side + cells - 1) // cells for side, cells in zip((height, width), grid, strict=True))
    samples = torch.sym_max(down, across)  # the larger quotient, rounded up; ONNX would round negative ones up as well
    rows, columns = (_means(side, cells, samples, wide) for side, cells in zip((height, width), grid, strict=True))
    return (rows @ wide @ columns.t()).to(x.dtype)


def _means(side: int, cells: int, samples: int | torch.SymInt, x: Tensor) -> Tensor:
    """(cells, side) what each feature of a side adds to each cell: the mean of bilinear samples."""
    options = {"device": x.device, "dtype": x.dtype}
    # One sample too many, of weight 0: an export takes a size for a constant where it may be 1.
    sample = torch.arange(samples + 1, **options)  # type: ignore[call-overload]
    place = torch.arange(cells, **options)[:, None] + (sample + 0.5) / samples  # type: ignore[call-overload]
    place = (place * side / cells - 0.5).clamp(min=0)
    place = torch.minimum(place, torch.ones_like(place) * (side - 1))
    features = torch.arange(side, **options)  # type: ignore[call-overload]
    weights = (1 - (place[:, :, None] - features).abs()).clamp(min=0)  # (cells, samples + 1, side)
    return (weights * (sample < samples)[:, None]).sum(1) / samples
