"""Image classification: a network whose pooled feature is classified linearly (section 4.3 of the paper)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from rga.errors import ConfigError
from rga.tasks.task import Task


class Classification(Task):
    """Global average pooling and a linear classifier behind a backbone, as ResNet and DenseNet have it.

    Training: cross entropy. Test: `error`, the share of images whose most probable class is wrong, and `top5_error`,
    that of those whose five most probable ones are, where there are more than five. The test split is also looked at
    during training (`val/error` in the curve), but nothing is chosen by it: the result is the error after the last
    epoch.

    Args:
        smoothing: label smoothing of the cross entropy.
        parts: the arguments of every `Task`.
    """

    def __init__(self, *, smoothing: float = 0.0, **parts: Any) -> None:
        super().__init__(**parts)
        self.smoothing = smoothing
        self.classifier: nn.Linear | None = None  # the data say how many classes there are
        self.answers = torch.empty(0, 0, dtype=torch.long)  # after a test: images by true class and answer

    def setup(self, stage: str) -> None:
        if self.classifier is None:
            self.classifier = nn.Linear(self.channels, self.num_classes)
            bound = self.channels**-0.5  # torch's own, and that of the reference implementations of both networks
            with self.seeded():
                nn.init.uniform_(self.classifier.weight, -bound, bound)
            nn.init.zeros_(self.classifier.bias)
        if self.classifier.out_features != self.num_classes:
            raise ConfigError(
                f"the network tells {self.classifier.out_features} classes apart, the data have {self.num_classes}"
            )
        accuracy = partial(MulticlassAccuracy, self.num_classes, average="micro", validate_args=False)
        self.top1, self.top5 = accuracy(), accuracy(top_k=5) if self.num_classes > 5 else None
        self.confusion = MulticlassConfusionMatrix(self.num_classes, validate_args=False)

    def complete(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        self.classifier = nn.Linear(self.channels, len(state["classifier.weight"]))

    @classmethod
    def metric_names(cls, task: Mapping[str, Any], parts: Sequence[str]) -> tuple[str, ...]:
        return "error", "top5_error"

    def forward(self, images: Tensor) -> Tensor:
        """Args: images (B, 3, H, W), normalised. Returns the logits, (B, classes)."""
        assert self.classifier is not None
        logits: Tensor = self.classifier(self.pooled(images))
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        logits, labels = self(batch["image"]), batch["label"]
        weight = self._weight(labels)
        error = (logits.detach().argmax(1) != labels).float().mean()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        return {"loss": weight * loss, "error": weight * error}

    def _weight(self, labels: Tensor) -> Tensor | float:
        """Of this process's mean in the mean over processes: in an epoch's last batch some may have an image more."""
        if self._trainer is None or self.trainer.world_size == 1:
            return 1.0
        count = torch.tensor(float(len(labels)), device=labels.device)
        return count / self.all_gather(count).mean()  # type: ignore[union-attr]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._count(batch)

    def _count(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self(batch["image"])
        for metric in (self.top1, self.top5):
            if metric is not None:
                metric.update(logits, batch["label"])
        return logits

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self._count(batch)
        self.watch(logits)
        self.confusion.update(logits.argmax(1), batch["label"])

    def on_validation_epoch_end(self) -> None:
        self._report("val/")

    def on_test_epoch_end(self) -> None:
        self.expect_finite()
        self._report("")
        self.answers = self.confusion.compute().cpu()
        self.confusion.reset()

    def _report(self, prefix: str) -> None:
        for name, metric in (("error", self.top1), ("top5_error", self.top5)):
            if metric is None:
                continue
            wrong = 1 - metric.compute().double()
            self.log(prefix + name, wrong, rank_zero_only=True, logger=not prefix)  # Monitor logs val/
            metric.reset()
