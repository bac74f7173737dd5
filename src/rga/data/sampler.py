"""Which images make a batch, and which process sees which of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from rga.errors import ConfigError


class Draw(NamedTuple):
    """One process's part of one batch.

    `rows` are the places of its images in the global batch: what is sampled for the global batch (the augmentation) is
    sampled whole and these rows are taken, so that an image's augmentation does not depend on the number of processes.
    """

    indices: list[int]
    rows: list[int]
    epoch: int
    step: int


def generator(*key: int) -> torch.Generator:
    """A generator of its own for every key, such as (seed, epoch, step): independent of the global one."""
    # Mixed, because neighbouring seeds would be too alike; with the length, because a key and one with zeros after it
    # would be mixed to the same.
    state = int(np.random.SeedSequence((len(key), *key)).generate_state(1)[0])
    return torch.Generator().manual_seed(state)


def expect_shares(
    batch: int, processes: int, what: str, setting: str, *, nodes: int = 1, images: int | None = None
) -> None:
    """See that the processes can share a batch equally, and that each has a part of the last one.

    Args:
        batch: the size of the global batch.
        processes: of all nodes.
        what: a batch consists of, such as "identities".
        setting: the size's name in a config.
        nodes: machines, each with as many processes.
        images: of an epoch, where its last batch is the rest of them; None: all batches have one size.

    Raises:
        ConfigError: they cannot; with the settings near these that work.
    """

    def fit(size: int, count: int) -> bool:
        return size % count == 0 and not (images is not None and 0 < images % size < count)

    if fit(batch, processes):
        return
    multiple, end = batch // processes * processes, batch + 9 * processes
    smaller = next((size for size in range(multiple, 0, -processes) if fit(size, processes)), None)
    larger = next((size for size in range(multiple + processes, end, processes) if fit(size, processes)), None)
    sizes = [f"{setting}={size}" for size in (smaller, larger) if size]
    devices = [count for count in range(1, processes // nodes) if fit(batch, count * nodes)]
    works = [
        *([f"trainer.devices={' or '.join(map(str, devices))} with the batch as it is"] if devices else []),
        *([f"{' or '.join(sizes)}, which is another recipe and so another run"] if sizes else []),
    ]
    last = f", of which the last one has {images % batch}," if images is not None and batch % processes == 0 else ""
    raise ConfigError(
        f"a batch of {batch} {what}{last} cannot be divided among {processes} processes. "
        f"What can: {'; or '.join(works)}"
    )


# Both samplers are DistributedSamplers in name, because Lightning leaves those as they are; others it would divide
# once more among the processes.


class IdentityBatches(DistributedSampler[Draw]):
    """Batches of P identities with K images each, in the authors' epoch.

    An epoch visits every identity once, in random order, with K of its images: without replacement where it has K, with
    replacement where it has fewer. The last incomplete batch is left out. Everything is a function of (seed, epoch).
    Process r of W takes the identities r, r + W, ... of each batch.

    Args:
        labels: the identity of each image, any integers.
        identities: P, of the global batch.
        images: K.
        seed: of the order.
        rank: this process.
        world_size: the number of processes.

    Raises:
        ConfigError: P is not a multiple of the number of processes.
        ValueError: fewer identities than P.
    """

    def __init__(
        self,
        labels: Sequence[int],
        identities: int = 16,
        images: int = 4,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if identities < 1 or images < 1:
            raise ValueError(f"a batch needs at least one identity and one image, got {identities} x {images}")
        expect_shares(identities, world_size, "identities", "recipe.identities")
        groups: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            groups.setdefault(int(label), []).append(index)
        if len(groups) < identities:
            raise ValueError(
                f"a batch of {identities} identities needs as many, the training set has {len(groups)}: "
                f"recipe.identities={len(groups)} or fewer"
            )
        super().__init__(range(len(labels)), num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.groups = [torch.tensor(groups[label]) for label in sorted(groups)]
        self.identities, self.images, self.world_size = identities, images, world_size

    def __len__(self) -> int:
        return len(self.groups) // self.identities

    def __iter__(self) -> Iterator[Draw]:
        random = generator(self.seed, self.epoch)
        order = torch.randperm(len(self.groups), generator=random).tolist()
        chosen = [self._choose(self.groups[identity], random) for identity in order]
        for step in range(len(self)):
            places = range(self.rank, self.identities, self.world_size)
            yield Draw(
                indices=[index for place in places for index in chosen[step * self.identities + place]],
                rows=[place * self.images + image for place in places for image in range(self.images)],
                epoch=self.epoch,
                step=step,
            )

    def _choose(self, group: torch.Tensor, random: torch.Generator) -> list[int]:
        if len(group) >= self.images:
            picks = torch.randperm(len(group), generator=random)[: self.images]
        else:
            picks = torch.randint(len(group), (self.images,), generator=random)
        return [int(index) for index in group[picks]]


class Share(DistributedSampler[int]):
    """Every W-th element, from this process's rank on: each is seen once by one process, nothing is padded."""

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(range(count), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.mine = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine)
