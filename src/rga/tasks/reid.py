"""Person re-identification: a network whose pooled feature identifies a person (section 4.1 of the paper)."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.losses import BatchHardTriplet
from rga.metrics import RetrievalMetrics


class ReID(pl.LightningModule):
    """Global average pooling, BNNeck and a bias-free classifier behind a backbone (Luo et al., CVPRW 2019).

    Training: cross entropy with label smoothing on the feature after BN + batch-hard triplet loss on the feature before
    it. Test: cosine distance on both features; the authors' code reports both. The feature after BN is the one that
    carries the plain names (`rank1`, `map`, ...), the other has the prefix `pre_bn/`.

    Args:
        network: gives the last feature map, (B, C, H, W).
        channels: C.
        optimizer: given the parameters, gives the optimiser.
        schedule: gives the factor of the learning rate in an epoch.
        smoothing: label smoothing of the cross entropy.
        margin: of the triplet loss.
    """

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
        smoothing: float = 0.1,
        margin: float = 0.3,
    ) -> None:
        super().__init__()
        self.backbone = network
        self.neck = nn.BatchNorm1d(channels)
        self.neck.bias.requires_grad_(False)
        self.classifier: nn.Linear | None = None  # the data say how many identities there are
        self.channels, self.optimizer, self.schedule = channels, optimizer, schedule
        self.smoothing = smoothing
        self.triplet = BatchHardTriplet(margin)
        self.after_bn, self.before_bn = RetrievalMetrics(), RetrievalMetrics()

    def setup(self, stage: str) -> None:
        if self.classifier is None:
            self.classifier = nn.Linear(self.channels, self.trainer.datamodule.num_classes, bias=False)  # type: ignore[attr-defined]
            # From a generator of its own: what was drawn before this differs between one process and several.
            nn.init.normal_(
                self.classifier.weight, std=0.001, generator=torch.Generator().manual_seed(torch.initial_seed())
            )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Args: images (B, 3, H, W), normalised. Returns the feature before and after BN, (B, C) each."""
        features = self.backbone(images.to(self.dtype))
        feature = features.mean((2, 3), dtype=torch.promote_types(features.dtype, torch.float32))
        return feature, self.neck(feature)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        labels = batch["label"]
        feature, normalised = self(batch["image"])
        assert self.classifier is not None
        identity = F.cross_entropy(self.classifier(normalised), labels, label_smoothing=self.smoothing)
        # The hardest images are looked for in the whole batch, so every process computes the whole batch's loss. The
        # gather adds the processes' gradients and DDP averages them, which makes the gradient that of one process.
        triplet = self.triplet(self._gather(feature), self._gather(labels))
        losses = {"loss": identity + triplet, "identity": identity, "triplet": triplet}
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=True)
        return losses

    def _gather(self, x: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return x
        gathered = self.all_gather(x, sync_grads=True)  # (processes, B, ...)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        before, after = self(batch["image"])
        for metric, feature in ((self.before_bn, before), (self.after_bn, after)):
            metric.update(feature, batch["identity"], batch["camera"], batch["query"], batch["index"])

    def on_test_epoch_end(self) -> None:
        for metric, prefix in ((self.after_bn, ""), (self.before_bn, "pre_bn/")):
            self.log_dict({prefix + name: value for name, value in metric.compute().items()}, rank_zero_only=True)
            metric.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)]
