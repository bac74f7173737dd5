"""Evaluation of retrieval with the Market-1501 protocol (Zheng et al., ICCV 2015), in bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rga.metrics.match_ranks import Places, find_places
from rga.metrics.scores import MEMORY, Array, as_features, chunk_rows, full_precision, scores_into, squared_lengths

RANKS = 50
JUNK = -1  # the identity of gallery images that the protocol ignores altogether


@dataclass(frozen=True)
class RankingResult:
    """Retrieval metrics, fractions in 0..1, each a mean over the queries that have a true match.

    Attributes:
        cmc: (50,) float64, cumulative matching characteristic; `cmc[k - 1]` is the rank-k accuracy.
        map: mean of the step-wise average precision, as the field reports it today.
        map_trapezoid: mean of scikit-learn 0.18's `average_precision_score`: the area under the precision-recall curve
            by the trapezoid rule, thresholds closer than 1e-8 merged. The authors' code used it.
        minp: mean inverse negative penalty (Ye et al., 2020): matches over the rank of the last one.
        valid_queries: the number of queries that have a true match in the gallery.
        average_precision: (valid_queries,) float64, of which `map` is the mean, in the order of the queries.
        first_match: (valid_queries,) int64, the rank of the first true match of each, 1 = best.
    """

    cmc: NDArray[np.float64]
    map: float
    map_trapezoid: float
    minp: float
    valid_queries: int
    average_precision: NDArray[np.float64]
    first_match: NDArray[np.int64]

    def summary(self) -> dict[str, float]:
        """The metrics under the names that are logged."""
        ranks = {f"rank{k}": float(self.cmc[k - 1]) for k in (1, 5, 10)}
        return ranks | {"map": self.map, "map_trapezoid": self.map_trapezoid, "minp": self.minp}


@torch.no_grad()
def evaluate_ranking(
    query: Array,
    gallery: Array,
    query_ids: Array,
    gallery_ids: Array,
    query_cams: Array,
    gallery_cams: Array,
    *,
    metric: Literal["cosine", "euclidean"] = "cosine",
    memory: int = MEMORY,
) -> RankingResult:
    """Rank the gallery for every query and measure where the true matches stand.

    Gallery images of the query's own identity *and* camera are removed for that query; images of identity -1 (junk) are
    removed altogether; distractors (Market-1501 gives them the identity 0, which no query has) stay and count as wrong.
    Queries without a true match are left out. Entries of equal score are ordered by their place in the gallery, so the
    result is deterministic. Runs where the gallery is (CPU or GPU), in float64 for float64 features and in full float32
    otherwise, whatever the ambient autocast or TF32 setting. The query x gallery matrix is never held: queries are
    taken in chunks of `memory` bytes of scores, and no row is sorted (see `rga.metrics.match_ranks`).

    Args:
        query, gallery: features, (Q, D) and (N, D), numpy or torch.
        query_ids, gallery_ids, query_cams, gallery_cams: integers, (Q,) and (N,).
        metric: "cosine" (of the features normalised here) or "euclidean".
        memory: bytes of scores held at a time; changes no result beyond the rounding of the matrix product.

    Raises:
        ValueError: shapes that do not fit, features that are not finite, labels that are not integers, an unknown
            metric, or no query with a true match.

    Examples:
        >>> gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> query = torch.tensor([[1.0, 0.1]])  # nearest to the second image, then the first, then the third
        >>> ids, cameras = torch.tensor([8, 7, 7]), torch.tensor([1, 1, 2])
        >>> result = evaluate_ranking(query, gallery, torch.tensor([7]), ids, torch.tensor([0]), cameras)
        >>> result.cmc[:2].tolist(), round(result.map, 3)  # matches at ranks 1 and 3
        ([1.0, 1.0], 0.833)
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"unknown metric {metric!r}: choose cosine or euclidean")
    queries, images = as_features(query, gallery)
    labels = _Labels(query_ids, gallery_ids, query_cams, gallery_cams, len(queries), len(images))
    query_squares, image_squares = squared_lengths(queries, "query"), squared_lengths(images, "gallery")
    if not bool(labels.kept.all()):  # else the features are not copied
        kept = labels.kept.to(images.device)
        images, image_squares = images[kept], image_squares[kept]

    def chunks() -> Iterator[Tensor]:
        rows = chunk_rows(len(images), images.element_size(), memory)
        buffer = images.new_empty(min(rows, len(queries)), len(images))
        for part, squares in zip(queries.split(rows), query_squares.split(rows), strict=True):
            scores = buffer[: len(part)]
            with full_precision(images.device):
                scores_into(part, images, squares, image_squares, metric, out=scores)
            yield scores

    return _evaluate(chunks(), labels)


@torch.no_grad()
def evaluate_distances(
    distances: Array | Iterable[Tensor],
    query_ids: Array,
    gallery_ids: Array,
    query_cams: Array,
    gallery_cams: Array,
) -> RankingResult:
    """`evaluate_ranking` on distances that are there, such as those of `rerank`; smaller is nearer.

    Args:
        distances: (Q, N), numpy or torch, or chunks (q, N) of its rows in order; they are not changed.
        query_ids, gallery_ids, query_cams, gallery_cams: integers, (Q,) and (N,).

    Raises:
        ValueError: shapes that do not fit, distances that are NaN or infinite, labels that are not integers, or no
            query with a true match.

    Examples:
        >>> distances = torch.tensor([[0.2, 0.1, 0.3]])
        >>> ids, cameras = torch.tensor([7, 8, 7]), torch.tensor([1, 1, 2])
        >>> result = evaluate_distances(distances, torch.tensor([7]), ids, torch.tensor([0]), cameras)
        >>> result.cmc[:2].tolist(), round(result.map, 3)  # matches at ranks 2 and 3
        ([0.0, 1.0], 0.583)
    """
    if isinstance(distances, np.ndarray | Tensor):
        distances = [torch.as_tensor(distances)]
    labels = _Labels(query_ids, gallery_ids, query_cams, gallery_cams, len(query_ids), len(gallery_ids))
    return _evaluate((_as_scores(chunk, labels) for chunk in distances), labels)


def _as_scores(distances: Tensor, labels: "_Labels") -> Tensor:
    if distances.ndim != 2 or distances.shape[1] != len(labels.kept):
        raise ValueError(f"distances must be chunks (q, {len(labels.kept)}), not {tuple(distances.shape)}")
    if not bool(distances.isfinite().all()):
        raise ValueError("distances are NaN or infinite; the same identity in the same camera is left out in any case")
    if distances.dtype not in (torch.float32, torch.float64):
        distances = distances.float() if distances.is_floating_point() else distances.double()  # both exactly
    return -distances if bool(labels.kept.all()) else -distances[:, labels.kept.to(distances.device)]


class _Labels:
    """Who is on the images, and where: of the gallery without junk, but for `kept`, (N,) bool: what is no junk."""

    def __init__(
        self,
        query_ids: Array,
        gallery_ids: Array,
        query_cams: Array,
        gallery_cams: Array,
        queries: int,
        images: int,
    ) -> None:
        self.query_id, self.query_cam = (
            _label(query_ids, "query_ids", queries),
            _label(query_cams, "query_cams", queries),
        )
        image_id, image_cam = _label(gallery_ids, "gallery_ids", images), _label(gallery_cams, "gallery_cams", images)
        self.kept = image_id != JUNK
        image_id, self.image_cam = image_id[self.kept], image_cam[self.kept]
        self._by_identity = image_id.argsort(stable=True)
        self._sorted_ids = image_id[self._by_identity]

    def same_identity(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs of one identity: the row of a query, counted from `start`; the column of an image; and whether both
        are of the same camera. Rows ascending, then columns."""
        query_id, query_cam = self.query_id[start:stop], self.query_cam[start:stop]
        first = torch.searchsorted(self._sorted_ids, query_id)
        count = torch.searchsorted(self._sorted_ids, query_id, right=True) - first
        rows = torch.arange(len(query_id)).repeat_interleave(count)
        within = torch.arange(len(rows)) - (count.cumsum(0) - count)[rows]
        columns = self._by_identity[first[rows] + within]
        return rows, columns, query_cam[rows] == self.image_cam[columns]


def _evaluate(chunks: Iterable[Tensor], labels: _Labels) -> RankingResult:
    """The metrics from (q, N) scores of all queries in order, of which each is changed before the next is asked for."""
    parts, start, queries = [], 0, len(labels.query_id)
    for scores in chunks:
        stop = start + len(scores)
        rows, columns, same_camera = labels.same_identity(start, stop)
        start = stop
        if bool(same_camera.all()):
            continue  # nothing to find for these queries
        rows_here, columns_here, removed = (pairs.to(scores.device) for pairs in (rows, columns, same_camera))
        scores[rows_here[removed], columns_here[removed]] = -torch.inf
        places = find_places(scores, rows_here[~removed], columns_here[~removed])
        parts.append(_per_query(rows[~same_camera], Places(*(place.cpu() for place in places))))
    if start != queries:
        raise ValueError(f"there are distances of {start} queries, but labels of {queries}")
    if not parts:
        raise ValueError(
            f"none of the {queries} queries has a true match among the {len(labels.image_cam)} gallery images: "
            "the same identity seen by another camera"
        )
    first, step, trapezoid, inverse_penalty = (torch.cat(column) for column in zip(*parts, strict=True))
    hits = torch.bincount(first.clamp(max=RANKS), minlength=RANKS + 1)[:RANKS].cumsum(0)
    return RankingResult(
        cmc=(hits.double() / len(first)).numpy(),
        map=step.mean().item(),
        map_trapezoid=trapezoid.mean().item(),
        minp=inverse_penalty.mean().item(),
        valid_queries=len(first),
        average_precision=step.numpy(),
        first_match=(first + 1).numpy(),
    )


def _label(labels: Array, name: str, count: int) -> Tensor:
    try:
        given = torch.as_tensor(labels).cpu()
    except (TypeError, RuntimeError) as error:  # texts, None
        raise ValueError(f"{name} must be integers: {error}") from error
    if given.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one label per feature, not {tuple(given.shape)}")
    if given.is_floating_point() and not bool((given == given.round()).all()):  # NaN is unequal to itself
        raise ValueError(f"{name} must be integers")
    return given.long()


def _per_query(rows: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each query that has a match: rank of the first one (0 = best), both average precisions, inverse penalty."""
    _, rows, matches = rows.unique_consecutive(return_inverse=True, return_counts=True)
    span = int(places.end.max()) + 1
    order = (rows * span + places.rank).argsort()
    rank, start, end = (place[order] for place in places)
    offset = (matches.cumsum(0) - matches)[rows]
    found = torch.arange(1, len(rows) + 1) - offset  # 1, 2, ... within each query
    threshold = rows * span + start  # ascending, too
    found_before = torch.searchsorted(threshold, threshold) - offset
    found_after = torch.searchsorted(threshold, threshold, right=True) - offset
    # The precision-recall curve begins at recall 0 with precision 1.
    before = torch.where(start > 0, found_before.double() / start.clamp(min=1), 1.0)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(len(matches), dtype=torch.float64).index_add_(0, rows, values.double()) / matches

    last = matches.cumsum(0) - 1
    return (
        rank[last - matches + 1],
        mean(found / (rank + 1).double()),
        mean((before + found_after / end.double()) / 2),
        matches / (rank[last] + 1).double(),
    )
