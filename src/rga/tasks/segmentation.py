"""Scene segmentation: a network that gives every pixel a class (section 4.2 of the paper)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from rga.attention import AnySize
from rga.backbones.stages import stage_name
from rga.errors import ConfigError, DataError
from rga.examples import equally_distant
from rga.heads import Plain, Segmenter
from rga.metrics import intersection_over_union
from rga.tasks.scanning import Scan
from rga.tasks.task import Task

IGNORED = 255


class Segmentation(Task):
    """A head behind a dilated backbone and, beside its features, attention.

    Training: cross entropy over the pixels of a batch, ignored ones left out, weighted by class where the data module
    has weights, + `auxiliary` times that of a second head on stage 3. Test: mIoU over a whole part of the data from one
    confusion matrix, `miou` of the part that the data module lists first (val), `train/miou` and so on of others;
    `iou/CLASS` of each class that occurs.

    Args:
        head: called as `head(channels, classes)`.
        block: attention beside the features, called as `block(channels, size)`; None for none.
        grid: on which the block computes its weights, see `AnySize`; None: the feature map of the training crop;
            False: the block is used as it is, for those that are no gates and take any size.
        auxiliary: weight of the auxiliary loss; 0: none.
        auxiliary_stage: the stage behind which the auxiliary head is, by its module's name or the network's own count.
        window, scales, mirror: how test images are looked at, see `Scan`.
        parts: the arguments of every `Task`.
    """

    colours: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        *,
        head: Callable[[int, int], nn.Module],
        block: Callable[[int, tuple[int, int]], nn.Module] | None = None,
        grid: Sequence[int] | bool | None = None,
        auxiliary: float = 0.0,
        auxiliary_stage: int | str = "layer3",
        window: Sequence[int] = (1024, 2048),
        scales: Sequence[float] = (1.0,),
        mirror: bool = False,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.head = head
        if block is not None and grid is not False:
            block = partial(AnySize, block=block, grid=None if grid is True else grid)
        self.block = block
        self.auxiliary = auxiliary
        self.auxiliary_stage = auxiliary_stage
        self.scan = Scan(window, scales, mirror)
        self.register_buffer("class_weights", None)
        self.segmenter: Segmenter | None = None  # the data say how many classes there are
        self.confusion: Any = nn.ModuleList()  # a matrix for each part
        self.examples: dict[str, Tensor] = {}  # after a test, by name: the classes (H, W) of images of the first part

    def setup(self, stage: str) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.segmenter is None:
            try:
                with self.seeded():
                    self.build(data.size, torch.as_tensor(data.colours))
            except ValueError as error:
                hint = " (task.grid=false uses attention without AnySize)" if "AnySize" in str(error) else ""
                raise ConfigError(f"{error}{hint}") from error
        if len(self.colours) != self.num_classes:
            raise ConfigError(f"the network tells {len(self.colours)} classes apart, the data have {self.num_classes}")
        if not self.confusion:
            matrix = partial(MulticlassConfusionMatrix, ignore_index=IGNORED, validate_args=False)
            self.confusion.extend(matrix(self.num_classes) for _ in data.test)
        self.classes, self.parts = data.classes, data.test
        if data.class_weights is not None:
            self.register_buffer("class_weights", torch.tensor(data.class_weights), persistent=False)

    @property
    def trained(self) -> nn.Module:
        assert self.segmenter is not None
        return self.segmenter

    def complete(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        self.build(size, state["colours"])

    def build(self, size: tuple[int, int], colours: Tensor) -> None:
        """Put the heads behind the backbone; what `setup` does with what the data say.

        Args:
            size: (H, W) of the images in training.
            colours: of the classes, (K, 3) uint8, to draw with; kept in the checkpoint.
        """
        self.register_buffer("colours", colours)
        second = None
        if self.auxiliary:
            second = (stage_name(self.backbone, self.auxiliary_stage), partial(Plain, width=256))
        self.segmenter = Segmenter(self.backbone, size, len(colours), self.head, self.block, second)
        del self.backbone  # it is the segmenter's now, and has one name

    @classmethod
    def metric_names(cls, task: Mapping[str, Any], parts: Sequence[str]) -> tuple[str, ...]:
        return ("miou", *(f"{part}/miou" for part in parts[1:]))

    def forward(self, images: Tensor) -> Tensor:
        """Args: images (B, 3, H, W), normalised. Returns probabilities of the classes, (B, classes, H, W)."""
        assert self.segmenter is not None
        return self.scan(self.segmenter, images.to(self.dtype))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        assert self.segmenter is not None
        logits, labels = self.segmenter(batch["image"].to(self.dtype)), batch["label"]
        if not self.auxiliary:
            return {"loss": self._loss(logits, labels)}
        main, auxiliary = (self._loss(scores, labels) for scores in logits)
        return {"loss": main + self.auxiliary * auxiliary, "main": main, "auxiliary": auxiliary}

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the pixels of the global batch that are not ignored, each with the weight of its class.

        0 where all are ignored (none have no mean).
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORED, reduction="sum")
        counted = labels != IGNORED
        if weights is None:
            count = counted.sum().to(total.dtype)
        else:
            count = (weights[labels.where(counted, 0)] * counted).sum()
        if self.trainer.world_size > 1:
            # DDP averages over processes, each of which ignores another number of pixels.
            count = self.all_gather(count).mean()  # type: ignore[union-attr]
        return total / count.clamp(min=torch.finfo(count.dtype).tiny)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._classes(self(batch["image"]), batch, 0)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        probabilities = self(batch["image"])
        self.watch(probabilities)
        classes = self._classes(probabilities, batch, dataloader_idx)
        if dataloader_idx == 0 and batch_idx in equally_distant(int(self.trainer.num_test_batches[0])):
            self.examples[batch["name"][0]] = classes[0].to(torch.uint8).cpu()

    def _classes(self, probabilities: Tensor, batch: dict[str, Any], part: int) -> Tensor:
        """(B, H, W), counted in the matrix of a part."""
        classes: Tensor = probabilities.argmax(1)
        self.confusion[part].update(classes, batch["label"])
        return classes

    def on_validation_epoch_end(self) -> None:
        self._report(0, "val/")

    def on_test_epoch_end(self) -> None:
        self.expect_finite()
        for number, part in enumerate(self.parts):
            self._report(number, f"{part}/" if number else "", classes=number == 0)

    def _report(self, number: int, prefix: str, classes: bool = False) -> None:
        ious = intersection_over_union(self.confusion[number].compute())
        self.confusion[number].reset()
        if ious.isnan().all():
            raise DataError(f"no pixel of the split {prefix.strip('/') or self.parts[0]} counts, so it has no mIoU")
        values = {"miou": ious.nanmean()}
        if classes:
            values |= {f"iou/{name}": iou for name, iou in zip(self.classes, ious, strict=True) if not iou.isnan()}
        named = {prefix + name: value for name, value in values.items()}
        self.log_dict(named, rank_zero_only=True, logger=not prefix.startswith("val/"))  # Monitor logs those
