"""Relation-aware global attention: RGA-S and RGA-C, and what is made of both.

Source: Zhang et al., Relation-Aware Global Attention, arXiv:1904.02998, section 3, and the authors' code for re-ID.
"""

from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention import fused
from rga.attention.checks import check_size, check_values, reduced, weight_of
from rga.attention.half import linear, matmul

torch.fx.wrap("check_size")
torch.fx.wrap("linear")
torch.fx.wrap("matmul")
torch.fx.wrap("weight_of")


class RelationAttention(nn.Module):
    """One weight in (0, 1) for each of P nodes with F features: (B, F, P) -> (B, 1, P).

    theta, phi and psi embed the features into D = F//reduction; the relation is R(i, j) = theta_i . phi_j. The
    relations of node i with all others, [R(i, :), R(:, i)], are embedded into M = P//reduction (as in the code and for
    y_i of N/s1 + 1 entries in the paper, whose W_phi says 2N/s1). The weight of node i is
    sigmoid(BN(W2 relu(BN(W1 y_i)))) with y_i = [mean(psi_i), embedded relations of i]. "Embedded" means a 1x1
    convolution without bias, BatchNorm, ReLU.

    What differs from the authors' code: the numbers do not, the P x P relation is never built. Nothing non-linear lies
    between R and its embedding W = [W_row, W_col], so W [R(i, :); R(:, i)] = (W_row phi) theta_i + (W_col theta) phi_i,
    with matrices of M x D only. theta, phi and psi are one convolution (BatchNorm and ReLU act on each channel alone),
    and W1 is applied to the two parts of y_i separately instead of to their concatenation. `rga.attention.fused` is
    the same for training, with a backward of its own. The linear layers are read, never called: a hook on one of
    them does nothing, and another layer in the place of one is a TypeError.

    Args:
        features, nodes: F and P.
        reduction: s1 in the paper.
        squeeze: s2; the hidden width is (inputs of W1)//squeeze. No width goes below 1, as it would for
            `relation=False`, which leaves W1 a single input.
        relation: False is the paper's "w/o Rel.".
        vision: False is the paper's "w/o Vis.", without psi.
        zero_init_last: the last BatchNorm's weight begins at 0 and not, as the authors', at 1: all weights begin at 1/2
            instead of at random between 1/4 and 3/4, which spares the features of a network that is trained already.
    """

    def __init__(
        self,
        features: int,
        nodes: int,
        *,
        reduction: int,
        squeeze: int,
        relation: bool,
        vision: bool,
        zero_init_last: bool,
    ) -> None:
        super().__init__()
        if not (relation or vision):
            raise ValueError("attention needs the relations, the features or both; both are switched off")
        self.features, self.nodes, self.reduction, self.ratio = features, nodes, reduction, squeeze
        self.relation, self.vision = relation, vision
        self.width = reduced(features, reduction)  # D
        embedded = reduced(nodes, reduction)  # M
        inputs = embedded * relation + vision
        hidden = reduced(inputs, squeeze, name="squeeze")

        stacked = self.width * (2 * relation + vision)  # theta, phi, psi
        self.embed = nn.Linear(features, stacked, bias=False)
        self.embed_bn = nn.BatchNorm2d(stacked)
        if relation:
            self.relate = nn.Linear(2 * nodes, embedded, bias=False)  # [W_row, W_col]
            self.relate_bn = nn.BatchNorm2d(embedded)
        self.squeeze = nn.Linear(inputs, hidden, bias=False)  # W1; the feature's mean is the first input
        self.squeeze_bn = nn.BatchNorm2d(hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # W2
        self.score_bn = nn.BatchNorm2d(1)
        if zero_init_last:
            nn.init.zeros_(self.score_bn.weight)
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        check_values(x, self, x.shape[2])
        # A 1x1 convolution takes nodes in either order in memory as they are. Its weight is kept in two dimensions, as
        # a 4-D one turns channels_last with the network and then has the input copied.
        embedding = F.conv2d(x.unsqueeze(2), weight_of(self.embed)[:, :, None, None])
        embedding = F.relu(self.embed_bn(embedding), inplace=True).squeeze(2)  # (B, 3D, P)
        w1 = weight_of(self.squeeze)
        w_mean, w_relation = w1[:, 0], w1[:, int(self.vision) :]
        if not self.relation:
            hidden = embedding.mean(1).unsqueeze(2) * w_mean  # (B, P, 1) * (hidden)
        elif not self.vision:
            hidden = linear(self._relations(embedding), w_relation)
        else:
            pair, psi = embedding.split([2 * self.width, self.width], dim=1)
            hidden = torch.addcmul(linear(self._relations(pair), w_relation), psi.mean(1).unsqueeze(2), w_mean)
        hidden = _nodes(F.relu(self.squeeze_bn(_image(hidden)), inplace=True))
        score = self.score_bn(_image(linear(hidden, weight_of(self.score))))
        return torch.sigmoid(score).squeeze(2).to(x.dtype)  # float32 under autocast to float16

    def count(self) -> None:
        """Bring BatchNorm's counters of batches up to date.

        Nothing reads them in training where a momentum is given, so that `fused` only counts in `batches`, and they are
        written where they are read: in a state dict.
        """
        for norm in self.children():
            if self.batches and isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None:
                norm.num_batches_tracked += self.batches
        self.batches = 0

    def state_dict(self, *args: Any, **options: Any) -> Any:
        self.count()
        return super().state_dict(*args, **options)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.count()
        super()._load_from_state_dict(*args)

    def _relations(self, pair: Tensor) -> Tensor:
        """[theta, phi] (B, 2D, P) -> the embedded relations of each node (B, P, M)."""
        theta, phi = pair.split(self.width, dim=1)
        w_row, w_col = weight_of(self.relate).split(self.nodes, dim=1)  # (M, P) each
        mixed = torch.cat([linear(phi, w_row), linear(theta, w_col)], dim=1)  # (B, 2D, M)
        return _nodes(F.relu(self.relate_bn(_image(matmul(pair.transpose(1, 2), mixed))), inplace=True))


def _image(nodes: Tensor) -> Tensor:
    """(B, P, channels) -> (B, channels, 1, P), a channels_last view, on which BatchNorm is fast everywhere."""
    return nodes.transpose(1, 2).unsqueeze(2)


def _nodes(image: Tensor) -> Tensor:
    """The inverse of `_image`."""
    return image.squeeze(2).transpose(1, 2)


class RGA(nn.Module):
    """What RGA's blocks share: (B, C, H, W) -> the same shape, for one size of feature maps.

    Args:
        channels, size: C and (H, W) of the feature map.
        reduction, squeeze: s1 and s2 of the paper.
        relation: False is "w/o Rel.", the gate sees only the feature of a node.
        vision: False is "w/o Vis.", the gate sees only the relations of a node.
        zero_init_last: all weights begin at 1/2, see `RelationAttention`.

    Raises:
        ValueError: in forward, if the input has another size.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        reduction: int = 8,
        squeeze: int = 8,
        relation: bool = True,
        vision: bool = True,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, (size[0], size[1])
        self._build(
            reduction=reduction,
            squeeze=squeeze,
            relation=relation,
            vision=vision,
            zero_init_last=zero_init_last,
        )

    def _build(self, **options: Any) -> None:
        raise NotImplementedError


class _Gate(RGA):
    """One kind of nodes: its `attention` gives the weights. x * gate(x)."""

    attention: RelationAttention
    per_channel: bool  # what the nodes are: the C channels, with H W features, or the H W positions, with C features

    def _build(self, **options: Any) -> None:
        positions = self.size[0] * self.size[1]
        features, nodes = (positions, self.channels) if self.per_channel else (self.channels, positions)
        self.attention = RelationAttention(features, nodes, **options)

    def gate(self, x: Tensor) -> Tensor:
        """The weights, (B, 1, H, W) of positions or (B, C, 1, 1) of channels."""
        check_size(x, self.channels, self.size)
        return fused.gate(x, self) if fused.fits(x, self) else self.by_modules(x)

    def by_modules(self, x: Tensor) -> Tensor:
        """What `gate` is, as autograd knows it."""
        nodes = x.flatten(2)
        if self.per_channel:
            nodes = nodes.transpose(1, 2)  # (B, HW, C), a view for contiguous and channels_last maps
            return self.attention(nodes).unflatten(1, (1, 1)).permute(0, 3, 1, 2)
        return self.attention(nodes).unflatten(2, self.size)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels, self.size)
        return fused.scaled(x, self) if fused.fits(x, self) else x * self.gate(x)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}"


class RGAS(_Gate):
    """RGA-S, one weight per position (section 3.2). Arguments and ValueError: `RGA`; formulae: `RelationAttention`.

    Examples:
        >>> import torch
        >>> block = RGAS(64, (16, 8), reduction=8, squeeze=8)
        >>> block.gate(torch.rand(2, 64, 16, 8)).shape
        torch.Size([2, 1, 16, 8])
    """

    per_channel = False


class RGAC(_Gate):
    """RGA-C, one weight per channel (section 3.3). Arguments and ValueError: `RGA`; formulae: `RelationAttention`.

    Examples:
        >>> import torch
        >>> block = RGAC(64, (16, 8), reduction=8, squeeze=8)
        >>> block.gate(torch.rand(2, 64, 16, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    per_channel = True


class _Both(RGA):
    def _build(self, **options: Any) -> None:
        self.spatial = RGAS(self.channels, self.size, **options)
        self.channel = RGAC(self.channels, self.size, **options)


class RGASC(_Both):
    """RGA-SC, the paper's best: RGA-C on the output of RGA-S. (B, C, H, W) -> the same shape.

    The arguments and the ValueError are those of `RGA`.

    Examples:
        >>> import torch
        >>> block = RGASC(64, (16, 8), zero_init_last=True)
        >>> x = torch.rand(2, 64, 16, 8)
        >>> torch.equal(block(x), x / 4)  # at the start, each of the two gates is 1/2 everywhere
        True
    """

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the channel's come from the spatially scaled features."""
        spatial = self.spatial.gate(x)
        return spatial * self.channel.gate(x * spatial)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels, self.size)
        return fused.scaled(x, self.spatial, self.channel) if fused.fits(x, self) else self.channel(self.spatial(x))


class RGACS(_Both):
    """RGA-CS: RGA-S on the output of RGA-C. (B, C, H, W) -> the same shape."""

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W); the positions' come from the channel-wise scaled features."""
        channel = self.channel.gate(x)
        return channel * self.spatial.gate(x * channel)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels, self.size)
        return fused.scaled(x, self.channel, self.spatial) if fused.fits(x, self) else self.spatial(self.channel(x))


class RGAParallel(_Both):
    """RGA-S//C: both gates come from the same x and both scale it. (B, C, H, W) -> the same shape.

    The paper leaves the fusion open; the product is chosen because the sequential forms scale by the product as well,
    so that the rows of Table 1 differ only in what the second gate sees.
    """

    def gate(self, x: Tensor) -> Tensor:
        """The product of both weights, (B, C, H, W)."""
        return self.spatial.gate(x) * self.channel.gate(x)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.spatial.gate(x) * self.channel.gate(x)
