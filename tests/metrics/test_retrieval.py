"""The torchmetrics class: batches, doubles, and several processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, distributed

from rga.metrics import RetrievalMetrics, evaluate_distances, evaluate_ranking, rerank

DATA = Path(__file__).parents[1] / "fixtures"


def reference() -> tuple[tuple[Tensor, ...], dict[str, float]]:
    """The columns of update() for the small reference case, and the metrics."""
    with np.load(DATA / "retrieval_small.npz") as file:
        z = {key: torch.as_tensor(file[key]) for key in file.files}
    columns = [torch.cat((z["query" + end], z["gallery" + end])) for end in ("", "_id", "_cam")]
    count = len(columns[0])
    columns += [torch.arange(count) < len(z["query"]), torch.arange(count)]
    names = ("query", "gallery", "query_id", "gallery_id", "query_cam", "gallery_cam")
    return tuple(columns), evaluate_ranking(*(z[name] for name in names)).summary()


def test_equals_the_function_whatever_the_batches() -> None:
    columns, expected = reference()
    metric = RetrievalMetrics()
    for batch in zip(*(column.split(33) for column in columns), strict=True):
        metric.update(*batch[:4])
    metrics = metric.compute()
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, abs=1e-12)
    assert all(value.dtype == torch.float64 for value in metrics.values())
    metric.reset()
    with pytest.raises(ValueError, match="no images"), pytest.warns(UserWarning, match="before the ``update``"):
        metric.compute()


def test_index_drops_doubles_and_restores_the_order() -> None:
    columns, expected = reference()
    shuffled = torch.cat((torch.randperm(len(columns[0])), torch.arange(50)))  # fifty images twice
    metric = RetrievalMetrics()
    metric.update(*(column[shuffled] for column in columns))
    assert {name: value.item() for name, value in metric.compute().items()} == expected


def test_nothing_of_a_batch_is_kept() -> None:
    """A tensor of a loader's worker holds a file open for as long as it lives."""
    columns, _ = reference()
    metric = RetrievalMetrics()
    metric.update(*columns)
    kept = [metric.identities, metric.cameras, metric.is_query, metric.index]
    for (mine,), given in zip(kept, columns[1:], strict=True):
        assert mine.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()


def test_compute_on_cpu_and_euclidean() -> None:
    columns, expected = reference()
    columns = (torch.nn.functional.normalize(columns[0]), *columns[1:])  # on the sphere both rank alike
    metric = RetrievalMetrics("euclidean", compute_on_cpu=True)
    metric.update(*columns)
    assert metric.compute()["map"].item() == pytest.approx(expected["map"], abs=1e-12)


def test_reranked_figures_have_names_of_their_own_and_no_junk() -> None:
    columns, _ = reference()
    features, identities, cameras, is_query, index = columns
    identities = identities.clone()
    identities[-40:] = -1
    metric = RetrievalMetrics()
    metric.update(features, identities, cameras, is_query, index)
    plain = metric.compute()
    metric.rerank, metric._computed = True, None
    metrics = metric.compute()
    assert {name: metrics.pop(name) for name in plain} == plain
    kept = ~is_query & (identities != -1)
    sets = [values[part] for values in (features, identities, cameras) for part in (is_query, kept)]
    reranked = evaluate_distances(rerank(*sets[:2]), *sets[2:]).summary()
    assert {name: value.item() for name, value in metrics.items()} == {f"rerank/{k}": v for k, v in reranked.items()}
    metric.gallery_draws, metric._computed = 2, None
    assert {name for name in metric.compute() if name.startswith("rerank/")} == {
        "rerank/map",
        "rerank/map_trapezoid",
        "rerank/minp",
    }


def test_bad_batches() -> None:
    columns, _ = reference()
    metric = RetrievalMetrics()
    with pytest.raises(ValueError, match="expected"):
        metric.update(columns[0], columns[1][:-1], *columns[2:])
    metric.update(*columns)
    metric.update(*columns[:4])
    with pytest.raises(ValueError, match="for all or for none"):
        metric.compute()


def _process(rank: int, folder: str, cuts: list[int]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(cuts) - 1)
    columns, expected = reference()
    order = torch.randperm(len(columns[0]), generator=torch.Generator().manual_seed(0))
    share = order[cuts[rank] : cuts[rank + 1] + 10 if cuts[rank + 1] > cuts[rank] else cuts[rank]]  # ten seen twice
    metric = RetrievalMetrics()
    for batch in zip(*(column[share].split(20) for column in columns), strict=True):
        if len(batch[0]):
            metric.update(*batch)
    with torch.no_grad():
        metrics: dict[str, Any] = {name: value.item() for name, value in metric.compute().items()}
    assert metrics == expected
    metric.reset()
    assert metric.features == []
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*before the ``update``")
@pytest.mark.parametrize("cuts", [[0, 70, 240], [0, 240, 240]], ids=["uneven", "one without images"])
def test_two_processes_give_what_one_gives(tmp_path: Path, cuts: list[int]) -> None:
    mp.start_processes(_process, args=(str(tmp_path), cuts), nprocs=2, start_method="fork")
