"""Person re-identification: a network whose pooled feature identifies a person (section 4.1 of the paper)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from rga.losses import BatchHardTriplet
from rga.metrics import RetrievalMetrics
from rga.tasks.task import Task


class ReID(Task):
    """Global average pooling, BNNeck and a bias-free classifier behind a backbone (Luo et al., CVPRW 2019).

    Training: cross entropy with label smoothing on the feature after BN + batch-hard triplet loss on the feature before
    it. Test: cosine distance on both features; the authors' code reports both. The feature after BN is the one that
    carries the plain names (`rank1`, `map`, ...), the other has the prefix `pre_bn/`.

    Args:
        smoothing: label smoothing of the cross entropy.
        margin: of the triplet loss.
        parts: the arguments of every `Task`.
    """

    def __init__(self, *, smoothing: float = 0.1, margin: float = 0.3, **parts: Any) -> None:
        super().__init__(**parts)
        self.neck = nn.BatchNorm1d(self.channels)
        self.neck.bias.requires_grad_(False)
        self.classifier: nn.Linear | None = None  # the data say how many identities there are
        self.smoothing = smoothing
        self.triplet = BatchHardTriplet(margin)
        self.after_bn, self.before_bn = RetrievalMetrics(), RetrievalMetrics()

    def setup(self, stage: str) -> None:
        if self.classifier is None:
            self.classifier = nn.Linear(self.channels, self.num_classes, bias=False)
            with self.seeded():
                nn.init.normal_(self.classifier.weight, std=0.001)

    def complete(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        if "classifier.weight" in state:  # it takes no part in a test
            self.classifier = nn.Linear(self.channels, len(state["classifier.weight"]), bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Args: images (B, 3, H, W), normalised. Returns the feature before and after BN, (B, C) each."""
        feature = self.pooled(images)
        return feature, self.neck(feature)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        labels = batch["label"]
        feature, normalised = self(batch["image"])
        assert self.classifier is not None
        identity = F.cross_entropy(self.classifier(normalised), labels, label_smoothing=self.smoothing)
        # The hardest images are looked for in the whole batch, so every process computes the whole batch's loss. The
        # gather adds the processes' gradients and DDP averages them, which makes the gradient that of one process.
        triplet = self.triplet(self._gather(feature), self._gather(labels))
        return {"loss": identity + triplet, "identity": identity, "triplet": triplet}

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
            metric.gallery_draws = self.trainer.datamodule.gallery_draws  # type: ignore[attr-defined]
            self.log_dict({prefix + name: value for name, value in metric.compute().items()}, rank_zero_only=True)
            metric.reset()
