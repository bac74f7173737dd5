import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rga.data.sampler import IdentityBatches, Share, expect_shares, generator
from rga.errors import ConfigError

LABELS = [label for label in range(11) for _ in range(1 + label % 6)]  # one to six images of an identity


def test_an_epoch_visits_every_identity_once_with_k_images() -> None:
    sampler = IdentityBatches(LABELS, identities=3, images=4)
    batches = list(sampler)
    assert len(sampler) == len(batches) == 3  # 11 identities: the last two are left out
    seen = [LABELS[index] for batch in batches for index in batch.indices]
    assert set(Counter(seen).values()) == {4}
    assert len(set(seen)) == 9
    for batch in batches:
        assert batch.rows == list(range(12))
        for place in range(3):
            group = batch.indices[4 * place : 4 * place + 4]
            label = LABELS[group[0]]
            assert {LABELS[index] for index in group} == {label}
            if LABELS.count(label) >= 4:
                assert len(set(group)) == 4  # without replacement


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_processes_share_the_batch_of_one(world: int, each: int, images: int, seed: int, epoch: int) -> None:
    if world * each > 11:
        return
    samplers = [
        IdentityBatches(LABELS, world * each, images, seed, r, w)
        for r, w in [(0, 1), *((r, world) for r in range(world))]
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    whole, *shares = (list(sampler) for sampler in samplers)
    for step, batch in enumerate(whole):
        together = sorted(
            (row, index) for share in shares for row, index in zip(share[step].rows, share[step].indices, strict=True)
        )
        assert together == list(zip(batch.rows, batch.indices, strict=True))
        labels = [{LABELS[index] for index in share[step].indices} for share in shares]
        assert sum(len(part) for part in labels) == len(set().union(*labels))  # disjoint identities


def test_a_function_of_seed_and_epoch_only() -> None:
    def epoch(seed: int, number: int) -> list[list[int]]:
        sampler = IdentityBatches(LABELS, 4, 2, seed)
        sampler.set_epoch(number)
        return [draw.indices for draw in sampler]

    state = torch.get_rng_state()
    assert epoch(0, 5) == epoch(0, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert epoch(0, 5) != epoch(0, 6)
    assert epoch(0, 5) != epoch(1, 5)


def test_every_key_has_its_own_numbers() -> None:
    keys = [(0,), (0, 0), (0, 0, 0), (0, 0, 1), (0, 1), (1,), (1, 0), (1, 0, 0)]
    assert len({float(torch.rand((), generator=generator(*key))) for key in keys}) == len(keys)
    assert torch.rand((), generator=generator(3, 4)) == torch.rand((), generator=generator(3, 4))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="16 identities needs as many, the training set has 11"):
        IdentityBatches(LABELS, identities=16)
    with pytest.raises(ConfigError, match="8 identities cannot be divided among 3 processes"):
        IdentityBatches(LABELS, identities=8, world_size=3)
    with pytest.raises(ValueError, match="at least one"):
        IdentityBatches(LABELS, identities=0)


@pytest.mark.parametrize(
    ("processes", "nodes", "devices", "sizes"),
    [
        (3, 1, "1 or 2", "15 or recipe.identities=18"),
        (5, 1, "1 or 2 or 4", "15 or recipe.identities=20"),
        (6, 1, "1 or 2 or 4", "12 or recipe.identities=18"),
        (7, 1, "1 or 2 or 4", "14 or recipe.identities=21"),
        (6, 2, "1 or 2", "12 or recipe.identities=18"),  # of each node
        (32, 4, "1 or 2 or 4", "32"),
    ],
)
def test_processes_that_cannot_share_a_batch_are_told_what_works(
    processes: int, nodes: int, devices: str, sizes: str
) -> None:
    expected = f"trainer.devices={devices} with the batch as it is; or recipe.identities={sizes}, which is another"
    with pytest.raises(ConfigError, match=re.escape(expected)) as raised:
        expect_shares(16, processes, "identities", "recipe.identities", nodes=nodes)
    told = str(raised.value)
    assert "\n" not in told
    for size in re.findall(r"recipe.identities=(\d+)", told):
        expect_shares(int(size), processes, "identities", "recipe.identities", nodes=nodes)
    for count in devices.split(" or "):
        expect_shares(16, int(count) * nodes, "identities", "recipe.identities", nodes=nodes)


def test_more_nodes_than_a_batch_has_parts() -> None:
    with pytest.raises(ConfigError, match=r"What can: recipe\.batch=3, which"):
        expect_shares(2, 3, "images", "recipe.batch", nodes=3)


def test_shares_of_the_test_images_are_disjoint_and_complete() -> None:
    assert sorted(index for rank in range(3) for index in Share(11, rank, 3)) == list(range(11))
    assert [len(Share(11, rank, 3)) for rank in range(3)] == [4, 4, 3]
