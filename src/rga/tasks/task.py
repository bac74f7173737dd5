"""What the tasks share: a network to train, its optimiser and its schedule."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from rga.errors import ConfigError
from rga.inspection import attention_blocks
from rga.lightning_internals import batches_of_the_epoch


class Task(pl.LightningModule):
    """A backbone with attention, and what the configs say about training it.

    A task adds its head, `training_step` (the losses by name, "loss" is minimised) and `test_step`. The training loop
    logs nothing by itself: `rga.training.monitor.Monitor` averages the losses on the device and reads them rarely.

    Args:
        network: gives the last feature map, (B, C, H, W).
        channels: C.
        optimizer: given the parameters, gives the optimiser.
        schedule: gives the factor of the learning rate at a time in epochs, see `rga.training.schedules`.
        attention_lr: a further factor, for the parameters of modules named `attention`, as `plug` names them: where
            they alone are new, they may need larger steps than a network that is trained already.
    """

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[float], float],
        attention_lr: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = network
        self.channels, self.optimizer, self.schedule = channels, optimizer, schedule
        self.attention_lr = attention_lr
        self.prepared: Callable[[nn.Module], None] | None = None
        self.damaged: Tensor | None = None  # in a test: how many images have outputs that are not finite
        self.queries: dict[str, str] | None = None  # after a test by queries: what each gave, see `rga.runs.queries`

    @classmethod
    def metric_names(cls, task: Mapping[str, Any], parts: Sequence[str]) -> tuple[str, ...]:
        """What a test gives, with these settings of the task, on these splits; `iou/CLASS` besides. (): not known."""
        return ()

    @property
    def trained(self) -> nn.Module:
        """All of the network that has operations to fuse, after `setup`; a linear classifier has none."""
        return self.backbone

    def configure_model(self) -> None:
        """Where Lightning lets a network be changed: all its parts are there, and nothing knows its parameters yet."""
        if self.prepared is not None:
            self.prepared(self.trained)
            self.prepared = None

    @property
    def num_classes(self) -> int:
        """What the data say, once they are set up."""
        return int(self.trainer.datamodule.num_classes)  # type: ignore[attr-defined]

    def complete(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        """Add what otherwise `setup` does with what the data say, as large as in a checkpoint, to load that.

        Args:
            state: the checkpoint's tensors by name.
            size: (H, W) of the images.

        Raises:
            KeyError: the checkpoint lacks what says how large a part is.
        """
        raise NotImplementedError

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Sample from the run's seed, whatever was sampled before: that differs between one process and several."""
        seed = torch.initial_seed()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield

    def pooled(self, images: Tensor) -> Tensor:
        """The mean of the feature map, at least in single precision: (B, 3, H, W) to (B, C)."""
        features = self.backbone(images.to(self.dtype))
        mean: Tensor = features.mean((2, 3), dtype=torch.promote_types(features.dtype, torch.float32))
        return mean

    def watch(self, outputs: Tensor) -> None:
        """Count the images, (B, ...), whose outputs are not finite: the class of a NaN would be the first one."""
        damaged = (~outputs.flatten(1).isfinite().all(1)).sum()
        self.damaged = damaged if self.damaged is None else self.damaged + damaged

    def expect_finite(self) -> None:
        """See, at the end of a test and in all processes, that `watch` has found nothing.

        Raises:
            ConfigError: outputs of some images are not finite.
        """
        if self.damaged is None:
            return
        damaged, self.damaged = self.damaged, None
        if self.trainer.world_size > 1:
            damaged = self.all_gather(damaged).sum()  # type: ignore[union-attr]
        count = int(damaged)
        if count:
            raise ConfigError(
                f"the outputs of {count:,} images to test on are not finite: the weights are damaged, or too large for "
                f"trainer.precision={self.trainer.precision}"
            )

    def configure_optimizers(self) -> Any:
        groups: tuple[list[Tensor], list[Tensor]] = ([], [])
        of_blocks = {id(parameter) for block in attention_blocks(self).values() for parameter in block.parameters()}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups[self.attention_lr != 1 and id(parameter) in of_blocks].append(parameter)
        factors = [self._factor, lambda step: self.attention_lr * self._factor(step)]
        what = "recipe.optimizer"
        try:
            optimizer = self.optimizer([{"params": group} for group in groups if group])
            what = "recipe.schedule"
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors[: len(optimizer.param_groups)])
        except (TypeError, ValueError) as error:  # an option that it does not have, or not with this value
            raise ConfigError(f"{what}: {error}") from error
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _factor(self, step: int) -> float:
        # Nothing is known of an epoch's length before the first step, and nothing needs to be.
        if not step:
            return self.schedule(0.0)
        steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return self.schedule(step / steps)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Give every step the mean gradient of the batches that it accumulates.

        Lightning divides by `accumulate_grad_batches` also where fewer are left at the end of an epoch.
        """
        planned = self.trainer.accumulate_grad_batches
        if planned > 1:
            done = batches_of_the_epoch(self.trainer) // planned * planned  # batches of the epoch's steps before
            loss = loss * (planned / min(planned, self.trainer.num_training_batches - done))
        super().backward(loss, *args, **kwargs)
