"""RGA as its formulae are written, with the N x N relation in memory: the oracle of the tests and the benches."""

import torch
from torch import Tensor, nn

from rga.attention import RGAC, RGAS, RGASC
from rga.attention.rga import RelationAttention
from rga.interop import reference_tensors


class NxNBranch(nn.Module):
    """One gate over the P positions of (B, F, h, w): (B, 1, h, w). The arguments are `RelationAttention`'s."""

    def __init__(
        self,
        features: int,
        nodes: int,
        *,
        reduction: int = 8,
        squeeze: int = 8,
        relation: bool = True,
        vision: bool = True,
    ) -> None:
        super().__init__()
        width, embedded = max(features // reduction, 1), max(nodes // reduction, 1)
        inputs = vision + relation * embedded
        hidden = max(inputs // squeeze, 1)
        self.relation, self.vision = relation, vision
        if vision:
            self.gx = _layer(features, width)
        if relation:
            self.theta, self.phi = _layer(features, width), _layer(features, width)
            self.gg = _layer(2 * nodes, embedded)
        score = nn.Conv2d(hidden, 1, 1, bias=False), nn.BatchNorm2d(1)
        self.W = nn.Sequential(*_layer(inputs, hidden), *score)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        parts = []
        if self.vision:
            parts.append(self.gx(x).mean(1, keepdim=True))
        if self.relation:
            relation = self.theta(x).flatten(2).transpose(1, 2) @ self.phi(x).flatten(2)  # R (B, P, P)
            rows = relation.transpose(1, 2).reshape(batch, -1, height, width)  # channel k of position i: R(i, k)
            columns = relation.reshape(batch, -1, height, width)  # channel k of position i: R(k, i)
            parts.append(self.gg(torch.cat([rows, columns], dim=1)))
        return torch.sigmoid(self.W(torch.cat(parts, dim=1)))


class NxN(nn.Module):
    """The counterpart of an RGAS, RGAC or RGASC block, with a copy of its parameters."""

    def __init__(self, block: RGAS | RGAC | RGASC) -> None:
        super().__init__()
        spatial = block.spatial if isinstance(block, RGASC) else block if isinstance(block, RGAS) else None
        channel = block.channel if isinstance(block, RGASC) else block if isinstance(block, RGAC) else None
        self.spatial = spatial and _like(spatial.attention)
        self.channel = channel and _like(channel.attention)
        state = {}
        for name, tensor in reference_tensors(block).items():
            state[own_name(name)] = tensor
        self.to(state[next(iter(state))].dtype).load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        if self.spatial is not None:
            x = x * self.spatial(x)
        if self.channel is not None:
            nodes = x.flatten(2).transpose(1, 2).unsqueeze(-1)  # (B, HW, C, 1)
            x = x * self.channel(nodes).transpose(1, 2).view(len(x), -1, 1, 1)
        return x


def own_name(reference: str) -> str:
    """What a tensor of the authors' code is called in `NxN`: theta_spatial.0.weight is spatial.theta.0.weight."""
    stem, _, rest = reference.partition(".")
    part, _, kind = stem.partition("_")
    return f"{kind}.{part}.{rest}"


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _like(attention: RelationAttention) -> NxNBranch:
    return NxNBranch(
        attention.features,
        attention.nodes,
        reduction=attention.reduction,
        squeeze=attention.ratio,
        relation=attention.relation,
        vision=attention.vision,
    )
