"""Attention over all pairs in its textbook form: the matrix of the pairs in memory, its softmax, a matrix product."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga import attention as ours
from rga.bench.textbook.layers import conv1x1, same
from rga.bench.textbook.nxn import NxN


class NonLocal(nn.Module):
    def __init__(self, block: ours.NonLocal) -> None:
        super().__init__()
        self.width = width = block.width
        self.theta = conv1x1(block.embed, 0, width)
        self.phi = conv1x1(block.embed, width, 2 * width)
        self.g = conv1x1(block.embed, 2 * width)
        self.project = nn.Sequential(same(block.project), same(block.norm))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        g = self.g(x).reshape(batch, self.width, -1).permute(0, 2, 1)
        theta = self.theta(x).reshape(batch, self.width, -1).permute(0, 2, 1)
        phi = self.phi(x).reshape(batch, self.width, -1)
        y = torch.matmul(F.softmax(torch.matmul(theta, phi), dim=-1), g)
        y = y.permute(0, 2, 1).contiguous().view(batch, self.width, height, width)
        return self.project(y) + x


class NonLocalRGAS(nn.Sequential):
    def __init__(self, block: ours.NonLocalRGAS) -> None:
        super().__init__(NonLocal(block.non_local), NxN(block.spatial))


class DANet(nn.Module):
    def __init__(self, block: ours.DANet) -> None:
        super().__init__()
        width = block.width
        self.query = conv1x1(block.embed, 0, width)
        self.key = conv1x1(block.embed, width, 2 * width)
        self.value = conv1x1(block.embed, 2 * width)
        self.alpha, self.beta = (nn.Parameter(scale.detach().clone()) for scale in (block.alpha, block.beta))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.alpha * self._position(x) + self.beta * self._channel(x)

    def _position(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        query = self.query(x).reshape(batch, -1, height * width).permute(0, 2, 1)
        key = self.key(x).reshape(batch, -1, height * width)
        attention = torch.softmax(torch.bmm(query, key), dim=-1)
        value = self.value(x).reshape(batch, -1, height * width)
        return torch.bmm(value, attention.permute(0, 2, 1)).view(batch, channels, height, width)

    @staticmethod
    def _channel(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        query = x.reshape(batch, channels, -1)
        attention = torch.softmax(torch.bmm(query, x.reshape(batch, channels, -1).permute(0, 2, 1)), dim=-1)
        return torch.bmm(attention, x.reshape(batch, channels, -1)).view(batch, channels, height, width)
