"""Attention that pools with learnt weights, in its textbook form: every value computed before it is pooled."""

import torch
from torch import Tensor, nn

from rga import attention as ours
from rga.bench.textbook.layers import conv1x1, same


class GC(nn.Module):
    def __init__(self, block: ours.GC) -> None:
        super().__init__()
        mlp = block.context.mlp_add
        norm = nn.LayerNorm([mlp.fc1.out_channels, 1, 1], eps=mlp.norm.eps).to(mlp.norm.weight.dtype)
        norm.load_state_dict({name: tensor[:, None, None] for name, tensor in mlp.norm.state_dict().items()})
        self.mask = same(block.context.conv_attn)
        self.add = nn.Sequential(same(mlp.fc1), norm, nn.ReLU(inplace=True), same(mlp.fc2))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        maps = x.reshape(batch, channels, height * width).unsqueeze(1)  # (B, 1, C, N)
        mask = torch.softmax(self.mask(x).view(batch, 1, height * width), dim=2).unsqueeze(-1)  # (B, 1, N, 1)
        context = torch.matmul(maps, mask).view(batch, channels, 1, 1)
        return x + self.add(context)


class PSAParallel(nn.Module):
    def __init__(self, block: ours.PSAParallel) -> None:
        super().__init__()
        self.channel, self.spatial = _Channel(block), _Spatial(block)

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(x) + self.channel(x)


class PSASequential(nn.Sequential):
    def __init__(self, block: ours.PSASequential) -> None:
        super().__init__(_Channel(block), _Spatial(block))


class _Channel(nn.Module):
    def __init__(self, block: ours.PSAParallel | ours.PSASequential) -> None:
        super().__init__()
        part = block.channel
        self.query, self.value = same(part.query), conv1x1(part.value)
        self.up, self.norm = conv1x1(part.up), same(part.norm)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        value = self.value(x).reshape(batch, -1, height * width)  # (B, C/2, N)
        query = torch.softmax(self.query(x).view(batch, height * width, 1), dim=1)
        context = self.up(torch.matmul(value, query).unsqueeze(-1))  # (B, C, 1, 1)
        weights = torch.sigmoid(self.norm(context.view(batch, 1, channels)))
        return x * weights.view(batch, channels, 1, 1)


class _Spatial(nn.Module):
    def __init__(self, block: ours.PSAParallel | ours.PSASequential) -> None:
        super().__init__()
        self.query, self.value = conv1x1(block.spatial.query), conv1x1(block.spatial.value)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        query = self.pool(self.query(x)).view(batch, 1, -1)  # (B, 1, C/2)
        value = self.value(x).reshape(batch, -1, height * width)
        context = torch.matmul(torch.softmax(query, dim=2), value).view(batch, 1, height, width)
        return x * torch.sigmoid(context)
