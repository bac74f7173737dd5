"""The core of every RGA block: attention over nodes from their features and relations, without the relation matrix.

Source: Zhang et al., Relation-Aware Global Attention, arXiv:1904.02998, section 3, and the authors' code for re-ID.
"""

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention.batch import check_values
from rga.attention.half import linear, matmul

torch.fx.wrap("linear")
torch.fx.wrap("matmul")


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
    and W1 is applied to the two parts of y_i separately instead of to their concatenation.

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
        reduction: int = 8,
        squeeze: int = 8,
        relation: bool = True,
        vision: bool = True,
        zero_init_last: bool = False,
    ) -> None:
        super().__init__()
        if not (relation or vision):
            raise ValueError("attention needs the relations, the features or both; both are switched off")
        self.features, self.nodes, self.reduction, self.ratio = features, nodes, reduction, squeeze
        self.relation, self.vision = relation, vision
        self.width = max(features // reduction, 1)  # D
        embedded = max(nodes // reduction, 1)  # M
        inputs = embedded * relation + vision
        hidden = max(inputs // squeeze, 1)

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

    def forward(self, x: Tensor) -> Tensor:
        check_values(x, self, x.shape[2])
        # A 1x1 convolution takes nodes in either order in memory as they are. Its weight is kept in two dimensions, as
        # a 4-D one turns channels_last with the network and then has the input copied.
        embedding = F.conv2d(x.unsqueeze(2), self.embed.weight[:, :, None, None])
        embedding = F.relu(self.embed_bn(embedding), inplace=True).squeeze(2)  # (B, 3D, P)
        w_mean, w_relation = self.squeeze.weight[:, 0], self.squeeze.weight[:, int(self.vision) :]
        if not self.relation:
            hidden = embedding.mean(1).unsqueeze(2) * w_mean  # (B, P, 1) * (hidden)
        elif not self.vision:
            hidden = linear(self._relations(embedding), w_relation)
        else:
            pair, psi = embedding.split([2 * self.width, self.width], dim=1)
            hidden = torch.addcmul(linear(self._relations(pair), w_relation), psi.mean(1).unsqueeze(2), w_mean)
        hidden = _nodes(F.relu(self.squeeze_bn(_image(hidden)), inplace=True))
        score = self.score_bn(_image(linear(hidden, self.score.weight)))
        return torch.sigmoid(score).squeeze(2).to(x.dtype)  # float32 under autocast to float16

    def _relations(self, pair: Tensor) -> Tensor:
        """[theta, phi] (B, 2D, P) -> the embedded relations of each node (B, P, M)."""
        theta, phi = pair.split(self.width, dim=1)
        w_row, w_col = self.relate.weight.split(self.nodes, dim=1)  # (M, P) each
        mixed = torch.cat([linear(phi, w_row), linear(theta, w_col)], dim=1)  # (B, 2D, M)
        return _nodes(F.relu(self.relate_bn(_image(matmul(pair.transpose(1, 2), mixed))), inplace=True))


def _image(nodes: Tensor) -> Tensor:
    """(B, P, channels) -> (B, channels, 1, P), a channels_last view, on which BatchNorm is fast everywhere."""
    return nodes.transpose(1, 2).unsqueeze(2)


def _nodes(image: Tensor) -> Tensor:
    """The inverse of `_image`."""
    return image.squeeze(2).transpose(1, 2)


@torch.fx.wrap
def check_size(x: Tensor, channels: int, size: tuple[int, int]) -> None:
    """The weights of a block belong to one feature size; raise a ValueError that names both sizes if x has another."""
    if x.dim() != 4 or x.shape[1] != channels or x.shape[2] != size[0] or x.shape[3] != size[1]:
        raise ValueError(
            f"this block was built for feature maps of shape (B, {channels}, {size[0]}, {size[1]}), "
            f"but the input has shape {tuple(x.shape)}"
        )


torch.fx.node.has_side_effect(check_size)  # a traced network keeps it, although it gives nothing
