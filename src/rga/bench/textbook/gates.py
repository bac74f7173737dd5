"""Gates in their textbook form: a branch for each pooling, weights expanded to the map, a product with the map."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga import attention as ours
from rga.bench.textbook.layers import linear, same


class SE(nn.Module):
    def __init__(self, block: ours.SE) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(linear(block.fc1), nn.ReLU(inplace=True), linear(block.fc2), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, _, _ = x.shape
        y = self.fc(self.pool(x).view(batch, channels)).view(batch, channels, 1, 1)
        return x * y.expand_as(x)


class SCSE(nn.Module):
    def __init__(self, block: ours.SCSE) -> None:
        super().__init__()
        self.channel = SE(block.channel)
        self.spatial = nn.Sequential(same(block.spatial), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.channel(x) + x * self.spatial(x)


class CBAMC(nn.Module):
    def __init__(self, block: ours.CBAMC) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), same(block.fc1), nn.ReLU(), same(block.fc2))

    def forward(self, x: Tensor) -> Tensor:
        window = (x.shape[2], x.shape[3])
        mean = self.mlp(F.avg_pool2d(x, window, stride=window))
        maximum = self.mlp(F.max_pool2d(x, window, stride=window))
        return x * torch.sigmoid(mean + maximum).unsqueeze(2).unsqueeze(3).expand_as(x)


class CBAMS(nn.Module):
    def __init__(self, block: ours.CBAMS) -> None:
        super().__init__()
        self.conv, self.norm = same(block.conv), same(block.norm)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((torch.mean(x, 1).unsqueeze(1), torch.max(x, 1)[0].unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class CBAM(nn.Sequential):
    def __init__(self, block: ours.CBAM) -> None:
        super().__init__(CBAMC(block.channel), CBAMS(block.spatial))


class BAM(nn.Module):
    def __init__(self, block: ours.BAM) -> None:
        super().__init__()
        self.channel = nn.Sequential(nn.AdaptiveAvgPool2d(1), *same(block.channel).children())
        self.spatial = same(block.spatial)

    def forward(self, x: Tensor) -> Tensor:
        attention = 1 + torch.sigmoid(self.channel(x).expand_as(x) + self.spatial(x).expand_as(x))
        return attention * x


class FCC(nn.Module):
    def __init__(self, block: ours.FCC) -> None:
        super().__init__()
        self.embed = nn.Sequential(same(block.embed), same(block.norm), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Sequential(nn.Flatten(), same(block.fc), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.embed(x)).view(x.shape[0], -1, 1, 1).expand_as(x)


class FCS(nn.Module):
    def __init__(self, block: ours.FCS) -> None:
        super().__init__()
        self.fc = nn.Sequential(same(block.fc1), nn.ReLU(inplace=True), same(block.fc2), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        y = self.fc(torch.mean(x, dim=1, keepdim=True).view(batch, -1)).view(batch, 1, height, width)
        return x * y.expand_as(x)


class FCParallel(nn.Module):
    """Written as two gates; each gives its scaled map, of which the second scales the first."""

    def __init__(self, block: ours.FCParallel) -> None:
        super().__init__()
        self.spatial, self.channel = FCS(block.spatial), FCC(block.channel)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.channel.fc(self.channel.embed(x)).view(x.shape[0], -1, 1, 1)
        return self.spatial(x) * weights.expand_as(x)


class Coordinate(nn.Module):
    def __init__(self, block: ours.Coordinate) -> None:
        super().__init__()
        self.pool_h, self.pool_w = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.embed, self.norm, self.relu6 = same(block.embed), same(block.norm), nn.ReLU6(inplace=True)
        self.rows, self.columns = same(block.rows), same(block.columns)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y = torch.cat([self.pool_h(x), self.pool_w(x).permute(0, 1, 3, 2)], dim=2)
        y = self.norm(self.embed(y))
        y = y * (self.relu6(y + 3) / 6)
        rows, columns = torch.split(y, [height, width], dim=2)
        return x * self.columns(columns.permute(0, 1, 3, 2)).sigmoid() * self.rows(rows).sigmoid()


class SimAM(nn.Module):
    def __init__(self, block: ours.SimAM) -> None:
        super().__init__()
        self.regularization = block.regularization

    def forward(self, x: Tensor) -> Tensor:
        others = x.shape[2] * x.shape[3] - 1
        squares = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = squares / (4 * (squares.sum(dim=[2, 3], keepdim=True) / others + self.regularization)) + 0.5
        return x * torch.sigmoid(y)


class Triplet(nn.Module):
    def __init__(self, block: ours.Triplet) -> None:
        super().__init__()
        self.hw, self.cw, self.ch = _ZGate(block.hw), _ZGate(block.cw), _ZGate(block.ch)

    def forward(self, x: Tensor) -> Tensor:
        cw = self.cw(x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        ch = self.ch(x.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1).contiguous()
        return 1 / 3 * (self.hw(x) + cw + ch)


class _ZGate(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = same(layers)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.layers(pooled))
