"""Retrieval metrics as a torchmetrics class that also works across processes."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributed import all_gather_object
from torchmetrics import Metric

from rga.metrics.best_matches import best_matches
from rga.metrics.ranking import JUNK, RankingResult, evaluate_distances, evaluate_ranking
from rga.metrics.reranking import rerank
from rga.metrics.single_shot import single_gallery_shot


class RetrievalMetrics(Metric):
    """Rank-1, -5, -10, mAP (step-wise and trapezoid) and mINP of a query and a gallery set; see `evaluate_ranking`.

    Features stay on the device they come from and are evaluated there (`compute_on_cpu=True`, an option of every
    torchmetrics class, moves them to the CPU). The shares of the processes may differ in size and may be empty. With
    `index`, the result does not depend on the number of processes: an image that two of them have seen (a sampler that
    pads) counts once, and the order, which decides between equal scores, is that of the index.

    Args:
        metric: "cosine" or "euclidean".
        kwargs: options of `torchmetrics.Metric`.

    Attributes:
        gallery_draws: where it is not 0, the ranks are those of `single_gallery_shot` with so many draws; the other
            metrics are still those of the whole gallery.
        rerank: whether there are also `rerank/map`, ...: the metrics after `rga.metrics.rerank` with its defaults, in
            the whole gallery (so with `gallery_draws` they have no ranks). Junk is nobody's neighbour.
        ranking: after `compute()`, what `evaluate_ranking` gave, with the average precision of each query.
        examples: after `compute()`, some queries with their best matches, see `best_matches`, by their index.

    Examples:
        >>> metrics = RetrievalMetrics()
        >>> features = torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
        >>> ids, cameras = torch.tensor([7, 7, 8]), torch.tensor([0, 1, 1])
        >>> metrics.update(features, ids, cameras, is_query=torch.tensor([True, False, False]))
        >>> metrics.compute()["rank1"].item()
        1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    features: list[Tensor]
    identities: list[Tensor]
    cameras: list[Tensor]
    is_query: list[Tensor]
    index: list[Tensor]

    def __init__(self, metric: Literal["cosine", "euclidean"] = "cosine", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"unknown metric {metric!r}: choose cosine or euclidean")
        self.metric: Literal["cosine", "euclidean"] = metric
        self.gallery_draws = 0
        self.rerank = False
        self.ranking: RankingResult | None = None
        self.examples: list[tuple[int, list[tuple[int, bool]]]] = []
        for name in ("features", "identities", "cameras", "is_query", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, features: Tensor, identities: Tensor, cameras: Tensor, is_query: Tensor, index: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            features: (B, D); half precision is kept as it is and evaluated in float32.
            identities, cameras: (B,) int64.
            is_query: (B,) bool; the others belong to the gallery.
            index: (B,) int64, the image's place in the test set; for all batches or for none.
        """
        if features.ndim != 2 or any(len(x) != len(features) for x in (identities, cameras, is_query)):
            shapes = ", ".join(str(tuple(x.shape)) for x in (features, identities, cameras, is_query))
            raise ValueError(f"expected (B, D), (B,), (B,), (B,), not {shapes}")
        if index is None:
            index = torch.full_like(identities, -1)
        self.features.append(features.detach())
        for kept, values in ((self.identities, identities), (self.cameras, cameras), (self.index, index)):
            kept.append(values.to(torch.long, copy=True))  # tensors of a loader's workers hold files open
        self.is_query.append(is_query.to(torch.long, copy=True))  # not bool: not every backend gathers that

    def compute(self) -> dict[str, Tensor]:
        """Fractions in 0..1, float64 scalars (float32 on MPS): rank1, rank5, rank10, map, map_trapezoid, minp.

        Raises:
            ValueError: no images, an index for some of the images only, and what `evaluate_ranking` refuses.
        """
        if len(self.features) == 0:
            raise ValueError("no images: call update() with query and gallery images before compute()")
        identities, cameras = _joined(self.identities), _joined(self.cameras)
        index = _joined(self.index)
        is_query, chosen = _joined(self.is_query).bool(), self._chosen(index)
        query, gallery = chosen[is_query[chosen]], chosen[~is_query[chosen]]
        features = _joined(self.features)
        sets = [values[part] for values in (features, identities, cameras) for part in (query, gallery)]
        result = self.ranking = evaluate_ranking(*sets, metric=self.metric)
        asked, answers = (index[part].tolist() for part in (query, gallery))
        self.examples = [
            (asked[place], [(answers[image], right) for image, right in found])
            for place, found in best_matches(*sets, metric=self.metric)
        ]
        if self.gallery_draws:
            cmc = single_gallery_shot(*sets, draws=self.gallery_draws, metric=self.metric)
            result = replace(result, cmc=cmc)
        metrics = result.summary()
        if self.rerank:
            metrics |= {f"rerank/{name}": value for name, value in self._reranked(*sets).items()}
        dtype = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        return {name: torch.tensor(value, dtype=dtype, device=self.device) for name, value in metrics.items()}

    def _reranked(self, query: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor, *cams: Tensor) -> Any:
        kept = gallery_ids != JUNK
        distances = rerank(query, gallery if bool(kept.all()) else gallery[kept], metric=self.metric)
        metrics = evaluate_distances(distances, query_ids, gallery_ids[kept], cams[0], cams[1][kept]).summary()
        return {name: x for name, x in metrics.items() if not (self.gallery_draws and name.startswith("rank"))}

    @staticmethod
    def _chosen(index: Tensor) -> Tensor:
        """The positions of the distinct images, in the order of their index."""
        unknown = index < 0
        if bool(unknown.all()):
            return torch.arange(len(index), device=index.device)
        if bool(unknown.any()):
            raise ValueError("index was given (and at least 0) for some images only: give it for all or for none")
        order = index.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = index[order][1:] != index[order][:-1]
        return order[first]

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather; a process that has seen no image takes part with an empty share of the others' shape and type."""
        mine = (self.features[0].shape[1], self.features[0].dtype) if self.features else None
        group = kwargs.get("process_group") or self.process_group
        kinds: list[Any] = [None] * torch.distributed.get_world_size(group)
        all_gather_object(kinds, mine, group=group)
        kind = next((kind for kind in kinds if kind is not None), None)
        if kind is None:
            return
        if mine is None:
            self.features = [torch.empty((0, kind[0]), dtype=kind[1], device=self.device)]
            for name in ("identities", "cameras", "is_query", "index"):
                setattr(self, name, [torch.empty(0, dtype=torch.long, device=self.device)])
        super()._sync_dist(*args, **kwargs)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state: batches before a gather, one tensor after it."""
    if isinstance(state, Tensor):
        return state
    if len(state) > 1:
        state[:] = [torch.cat(state)]  # in place of the batches, so that they are not held twice
    return state[0]
