"""Blocks made of convolutions in their textbook form: layers of `torch.nn` in a row, every map enlarged to x's size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga import attention as ours
from rga.bench.textbook.layers import conv1x1, same


class LKA(nn.Module):
    def __init__(self, block: ours.LKA) -> None:
        super().__init__()
        self.local, self.distant, self.mix = same(block.local), same(block.distant), same(block.mix)

    def forward(self, x: Tensor) -> Tensor:
        u = x.clone()
        attention = self.mix(self.distant(self.local(x)))
        return u * attention


class SelfCalibrated(nn.Module):
    def __init__(self, block: ours.SelfCalibrated) -> None:
        super().__init__()
        self.embed_a, self.embed_b = _half(block.embed, first=True), _half(block.embed, first=False)
        pool = nn.AvgPool2d(block.pooling, stride=block.pooling, ceil_mode=True, count_include_pad=False)
        self.k1, self.k2 = same(block.f1), nn.Sequential(pool, *same(block.f2).children())
        self.k3, self.k4 = same(block.f3), same(block.f4)
        self.project, self.relu = same(block.project), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.relu(self.embed_a(x)), self.relu(self.embed_b(x))
        coarse = F.interpolate(self.k2(a), a.shape[2:], mode="bilinear")
        a = self.relu(self.k4(torch.mul(self.k3(a), torch.sigmoid(torch.add(a, coarse)))))
        b = self.relu(self.k1(b))
        y = self.project(torch.cat([a, b], dim=1))
        y += x
        return self.relu(y)


def _half(layers: nn.Sequential, *, first: bool) -> nn.Sequential:
    """A convolution and its BatchNorm for half of their outputs."""
    conv, norm = layers
    assert isinstance(conv, nn.Conv2d)
    width = conv.out_channels // 2
    part = slice(0, width) if first else slice(width, 2 * width)
    half = nn.BatchNorm2d(width).to(conv.weight.device, conv.weight.dtype)
    half.load_state_dict({name: value[part] if value.dim() else value for name, value in norm.state_dict().items()})
    return nn.Sequential(conv1x1(conv, part.start, part.stop), half)


class StripPooling(nn.Module):
    def __init__(self, block: ours.StripPooling) -> None:
        super().__init__()
        self.embed_short, self.embed_long = same(block.embed_short), same(block.embed_long)
        self.window3, self.window5 = (
            nn.Sequential(nn.AvgPool2d(k, ceil_mode=True, count_include_pad=False), *same(layer).children())
            for k, layer in ((3, block.window3), (5, block.window5))
        )
        self.columns = nn.Sequential(nn.AdaptiveAvgPool2d((1, None)), *same(block.columns).children())
        self.rows = nn.Sequential(nn.AdaptiveAvgPool2d((None, 1)), *same(block.rows).children())
        self.full, self.project = same(block.full), same(block.project)
        self.short, self.long = (
            nn.Sequential(*same(layers)[1].children(), nn.ReLU(True)) for layers in (block.short, block.long)
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        short, long = self.embed_short(x), self.embed_long(x)
        window3 = F.interpolate(self.window3(short), size, mode="bilinear", align_corners=True)
        window5 = F.interpolate(self.window5(short), size, mode="bilinear", align_corners=True)
        short = self.short(F.relu_(self.full(short) + window3 + window5))
        columns = F.interpolate(self.columns(long), size, mode="bilinear", align_corners=True)
        rows = F.interpolate(self.rows(long), size, mode="bilinear", align_corners=True)
        long = self.long(F.relu_(columns + rows))
        return F.relu_(x + self.project(torch.cat([short, long], dim=1)))


class ResidualAttention(nn.Module):
    def __init__(self, block: ours.ResidualAttention) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.down, self.up = nn.ModuleList(map(_Unit, block.down)), nn.ModuleList(map(_Unit, block.up))
        self.skip = nn.ModuleList(map(_Unit, block.skip))
        self.mask = nn.Sequential(*same(block.mask).children(), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        levels, skips = [x], []
        for number, down in enumerate(self.down):
            levels.append(down(self.pool(levels[-1])))
            if number < len(self.skip):
                skips.append(self.skip[number](levels[-1]))
        y = levels.pop()
        for up in reversed(self.up):
            y = F.interpolate(up(y), size=levels.pop().shape[2:], mode="bilinear", align_corners=True)
            if skips:
                y = y + skips.pop()
        return (1 + self.mask(y)) * x


class _Unit(nn.Module):
    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        assert isinstance(unit.residual, nn.Sequential)
        self.layers = same(unit.residual)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x
