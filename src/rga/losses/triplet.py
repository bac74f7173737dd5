"""Batch-hard triplet loss (Hermans, Beyer, Leibe: "In defense of the triplet loss", arXiv:1703.07737)."""

import torch
from torch import Tensor, nn

from rga.torch_internals import assert_later


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """See `BatchHardTriplet`: two masked reductions over the matrix of distances, of fixed shapes.

    Nothing is read back from the device, as an index of the triplets would have to be. A batch without a triplet is
    an error here on the CPU, and on a GPU one that the device reports, as soon as the host waits for it.

    >>> batch_hard_triplet(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([4, 4, 9]), margin=1.5)
    tensor(0.2500)
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        # On GPUs without a matrix product: in TF32 that is off by as much as half of the margin.
        how = "donot_use_mm_for_euclid_dist" if features.is_cuda else "use_mm_for_euclid_dist_if_necessary"
        distances = torch.cdist(features, features, compute_mode=how)
        same = labels[:, None] == labels
        positive = same.clone().fill_diagonal_(False)
        farthest = distances.masked_fill(~positive, -torch.inf).max(1).values
        nearest = distances.masked_fill(same, torch.inf).min(1).values
        # Of an image without a positive, or without a negative, the difference is -inf and the loss 0.
        total = (farthest - nearest + margin).relu().sum()
        anchors = (positive.any(1) & ~same.all(1)).sum()
    try:
        assert_later(anchors > 0, "no triplet in a batch: batch-hard mining needs two identities, one twice")
    except RuntimeError as error:
        raise ValueError(
            f"no triplet in a batch of {len(labels)} images of {len(labels.unique())} identities: batch-hard "
            "mining needs two identities, one of them with two images"
        ) from error
    return total / anchors


class BatchHardTriplet(nn.Module):
    """Every image against its farthest image of the same identity and its nearest of another, Euclidean distance.

    `mean(relu(d(a, p) - d(a, n) + margin))` over all anchors, satisfied ones included, as in the authors' code. An
    image whose identity is in the batch only once is no anchor (it has no positive) but serves as a negative. Equal
    features have the gradient 0. Always computed in float32 (float64 features in float64), under autocast and with
    TF32 as well.

    Args:
        margin: by how much the negative must be farther away than the positive.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Args: features (B, D), labels (B,) int64. Returns a scalar.

        Raises:
            ValueError: the batch holds no triplet, i.e. one identity only, or no identity twice.
        """
        return batch_hard_triplet(features, labels, self.margin)
