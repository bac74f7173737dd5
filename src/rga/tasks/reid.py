"""Person re-identification: a network whose pooled feature identifies a person (section 4.1 of the paper)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from rga.errors import ConfigError
from rga.losses import BatchHardTriplet
from rga.metrics import RetrievalMetrics
from rga.metrics.scores import NotFiniteError
from rga.runs.queries import pack
from rga.tasks.task import Task


class ReID(Task):
    """Global average pooling, BNNeck and a bias-free classifier behind a backbone (Luo et al., CVPRW 2019).

    Training: cross entropy with label smoothing on the feature after BN + batch-hard triplet loss on the feature before
    it. Test: cosine distance on both features; the authors' code reports both. One of them carries the plain names
    (`rank1`, `map`, ...): by default that after BN; the other has the prefix `pre_bn/` (or `post_bn/`).

    The last three options are of the test alone: `rga test` takes them for a network that was trained without them.

    Args:
        smoothing: label smoothing of the cross entropy.
        margin: of the triplet loss.
        triplet_weight: of the triplet loss in the sum; the cross entropy has weight 1.
        feature: "after_bn" or "before_bn": which feature carries the plain names.
        flip: test with the mean of the features of an image and of its mirror image.
        rerank: also record `rerank/rank1`, `rerank/map`, ...: the metrics of the feature with the plain names after
            k-reciprocal re-ranking, see `rga.metrics.rerank`. The plain names never are those of a re-ranking.
        parts: the arguments of every `Task`.

    Raises:
        ValueError: an unknown feature.
    """

    def __init__(
        self,
        *,
        smoothing: float = 0.1,
        margin: float = 0.3,
        triplet_weight: float = 1.0,
        feature: Literal["after_bn", "before_bn"] = "after_bn",
        flip: bool = False,
        rerank: bool = False,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        if feature not in ("after_bn", "before_bn"):
            raise ValueError(f"unknown feature {feature!r}: choose after_bn or before_bn")
        self.feature, self.flip, self.rerank = feature, flip, rerank
        self.neck = nn.BatchNorm1d(self.channels)
        self.neck.bias.requires_grad_(False)
        self.classifier: nn.Linear | None = None  # the data say how many identities there are
        self.smoothing = smoothing
        self.triplet, self.triplet_weight = BatchHardTriplet(margin), triplet_weight
        self.after_bn, self.before_bn = RetrievalMetrics(), RetrievalMetrics()
        self.examples: list[tuple[int, list[tuple[int, bool]]]] = []  # after a test, see `RetrievalMetrics`

    def setup(self, stage: str) -> None:
        if self.classifier is None and stage != "test":
            self.classifier = nn.Linear(self.channels, self.num_classes, bias=False)
            with self.seeded():
                nn.init.normal_(self.classifier.weight, std=0.001)

    def complete(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        if "classifier.weight" in state:  # it takes no part in a test
            self.classifier = nn.Linear(self.channels, len(state["classifier.weight"]), bias=False)

    @classmethod
    def metric_names(cls, task: Mapping[str, Any], parts: Sequence[str]) -> tuple[str, ...]:
        other = "pre_bn/" if task.get("feature", "after_bn") == "after_bn" else "post_bn/"
        names = ("rank1", "rank5", "rank10", "map", "map_trapezoid", "minp")
        return tuple(prefix + name for prefix in ("", other, *["rerank/"] * bool(task.get("rerank"))) for name in names)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Args: images (B, 3, H, W), normalised. Returns the feature before and after BN, (B, C) each."""
        feature = self.pooled(images)
        if self.flip and not self.training:
            feature = (feature + self.pooled(images.flip(3))) / 2  # BN is affine here: so is the feature after it
        return feature, self.neck(feature)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        labels = batch["label"]
        feature, normalised = self(batch["image"])
        assert self.classifier is not None
        identity = F.cross_entropy(self.classifier(normalised), labels, label_smoothing=self.smoothing)
        # The hardest images are looked for in the whole batch, so every process computes the whole batch's loss. The
        # gather adds the processes' gradients and DDP averages them, which makes the gradient that of one process.
        triplet = self.triplet(self._gather(feature), self._gather(labels))
        return {"loss": identity + self.triplet_weight * triplet, "identity": identity, "triplet": triplet}

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
        named = self.feature == "after_bn"
        for metric, prefix in ((self.after_bn, "" if named else "post_bn/"), (self.before_bn, "pre_bn/" * named)):
            metric.rerank = self.rerank and not prefix
            metric.gallery_draws = self.trainer.datamodule.gallery_draws  # type: ignore[attr-defined]
            try:
                metrics = metric.compute()
            except NotFiniteError as error:
                raise ConfigError(
                    f"{error}: the weights are damaged, or too large for trainer.precision={self.trainer.precision}"
                ) from error
            if not prefix and metric.ranking and not metric.gallery_draws:  # draws give the ranks of no one query
                self.queries = pack(metric.ranking.average_precision, metric.ranking.first_match)
            if not prefix:
                self.examples = metric.examples
            self.log_dict({prefix + name: value for name, value in metrics.items()}, rank_zero_only=True)
            metric.reset()
