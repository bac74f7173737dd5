"""Epochs of a fixed number of steps, for recipes that count steps."""

from collections.abc import Iterator

import torch
from torch.utils.data import DistributedSampler

from rga.data.sampler import Draw, expect_shares, generator


class Stream(DistributedSampler[Draw]):
    """Batches of one endless stream of shuffled passes over the images.

    Epoch e has the batches e * steps ... (e + 1) * steps - 1, so passes continue from one epoch to the next and every
    image is seen as often as the others. Everything is a function of (seed, epoch). Process r of W takes the places r,
    r + W, ... of each batch.

    Args:
        count: images.
        batch: images of a batch, over all processes.
        steps: batches of an epoch.
        seed: of the order.
        rank: this process.
        world_size: the number of processes.

    Raises:
        ConfigError: a batch cannot be divided among the processes.
    """

    def __init__(self, count: int, batch: int, steps: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        expect_shares(batch, world_size, "images", "recipe.batch")
        super().__init__(range(count), num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.count, self.batch, self.steps, self.world_size = count, batch, steps, world_size

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Draw]:
        length = self.steps * self.batch
        first, skipped = divmod(self.epoch * length, self.count)
        passes = -(-(skipped + length) // self.count)
        order = torch.cat([self._pass(number) for number in range(first, first + passes)])[skipped:].tolist()
        places = list(range(self.rank, self.batch, self.world_size))
        for step in range(self.steps):
            yield Draw([order[step * self.batch + place] for place in places], places, self.epoch, step)

    def _pass(self, number: int) -> torch.Tensor:
        return torch.randperm(self.count, generator=generator(self.seed, number))
