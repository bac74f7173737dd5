"""The RGA blocks: the N x N form of the formulae, which test_oracle.py compares in full (statistics, gradients)."""

from collections.abc import Callable

from torch import Tensor, nn

from rga.bench.textbook.nxn import NxN

from . import Oracle


def one(block: nn.Module, x: Tensor) -> Tensor:
    return NxN(block).eval()(x)


def channel_then_spatial(block: nn.Module, x: Tensor) -> Tensor:
    return one(block.spatial, one(block.channel, x))


def parallel(block: nn.Module, x: Tensor) -> Tensor:
    return one(block.spatial, x) * one(block.channel, x) / x  # x a_s * x a_c / x


def branch(features: int, nodes: int, relation: bool = True, vision: bool = True) -> int:
    """The parameters of one gate with s1 = s2 = 8; each convolution is followed by a BatchNorm."""
    width, embedded = max(features // 8, 1), max(nodes // 8, 1)
    inputs = vision + relation * embedded
    hidden = max(inputs // 8, 1)
    embeddings = (2 * relation + vision) * (features * width + 2 * width)
    relations = relation * (2 * nodes * embedded + 2 * embedded)
    return embeddings + relations + (inputs * hidden + 2 * hidden) + (hidden + 2)


def spatial(relation: bool = True, vision: bool = True) -> Callable[[int, int, int], int]:
    return lambda channels, height, width: branch(channels, height * width, relation, vision)


def channel(relation: bool = True, vision: bool = True) -> Callable[[int, int, int], int]:
    return lambda channels, height, width: branch(height * width, channels, relation, vision)


def both(channels: int, height: int, width: int) -> int:
    return spatial()(channels, height, width) + channel()(channels, height, width)


ORACLES = {
    "rga_s": Oracle(one, spatial(), (0, 1)),
    "rga_s_wo_rel": Oracle(one, spatial(relation=False), (0, 1)),
    "rga_s_wo_vis": Oracle(one, spatial(vision=False), (0, 1)),
    "rga_c": Oracle(one, channel(), (0, 1)),
    "rga_c_wo_rel": Oracle(one, channel(relation=False), (0, 1)),
    "rga_c_wo_vis": Oracle(one, channel(vision=False), (0, 1)),
    "rga_sc": Oracle(one, both, (0, 1)),
    "rga_cs": Oracle(channel_then_spatial, both, (0, 1)),
    "rga_parallel": Oracle(parallel, both, (0, 1)),
}
