"""Batch-hard triplet loss (Hermans, Beyer, Leibe: "In defense of the triplet loss", arXiv:1703.07737)."""

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor, nn


class BatchHardTriplet(nn.Module):
    """Every image against its farthest image of the same identity and its nearest of another, Euclidean distance.

    `mean(relu(d(a, p) - d(a, n) + margin))` over all anchors, satisfied ones included, as in the authors' code. An
    image whose identity is in the batch only once is no anchor (it has no positive) but serves as a negative. Equal
    features have the gradient 0. Always computed in float32 (float64 features in float64), also under autocast.

    Args:
        margin: by how much the negative must be farther away than the positive.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        distance = LpDistance(normalize_embeddings=False)
        self.miner = BatchHardMiner(distance=distance)
        # The library's default reducer averages over the violated triplets only.
        self.loss = TripletMarginLoss(margin=margin, distance=distance, reducer=MeanReducer())

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Args: features (B, D), labels (B,) int64. Returns a scalar.

        Raises:
            ValueError: the batch holds no triplet, i.e. one identity only, or no identity twice.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = features if features.dtype == torch.float64 else features.float()
            triplets = self.miner(features, labels)
            if len(triplets[0]) == 0:
                raise ValueError(
                    f"no triplet in a batch of {len(labels)} images of {len(labels.unique())} identities: batch-hard "
                    "mining needs two identities, one of them with two images"
                )
            loss: Tensor = self.loss(features, labels, triplets)
        return loss
