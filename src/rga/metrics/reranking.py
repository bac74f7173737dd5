"""k-reciprocal re-ranking (Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017)."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from torch import Tensor

from rga.metrics.scores import MEMORY, Array, as_features, chunk_rows, full_precision, squared_lengths

_ROWS = 512  # images whose sets of neighbours are compared at a time


@torch.no_grad()
def rerank(
    query: Array,
    gallery: Array,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    metric: Literal["cosine", "euclidean"] = "cosine",
    memory: int = MEMORY,
) -> Iterator[Tensor]:
    """The distances of queries to the gallery, weighed with those of their sets of k-reciprocal neighbours.

    As the authors' public code has it: squared Euclidean distances, divided by each image's largest; neighbours
    expanded by those of their half-sized sets that overlap by more than two thirds; weights exp(-distance); the mean
    over the `k2` nearest; the Jaccard distance. Queries and gallery form one set, so the result depends on all of them.
    Equal distances are in the order of the images, queries first.

    No matrix of distances is ever held: (Q + N)^2 distances are computed in chunks, of which the nearest neighbours
    stay, and the sets are sparse. Runs where the gallery is (CPU or GPU), in the precision of `evaluate_ranking`; the
    sparse part on the CPU.

    Args:
        query, gallery: features, (Q, D) and (N, D), numpy or torch. Junk is best left out: it would be a neighbour.
        k1: nearest neighbours that may be reciprocal, the image itself not counted.
        k2: images (the image itself is one) over which sets are averaged; 1 is none.
        weight: of the plain distance, lambda in the paper; the rest is that of the Jaccard distance.
        metric: "cosine" (features are normalised here) or "euclidean".
        memory: bytes of a chunk of distances, of which a few are held.

    Returns:
        Chunks (q, N) of the rows of the (Q, N) distances, in order: for `evaluate_distances`, or `torch.cat`. What is
        wrong with the arguments is said at once, the work begins with the first chunk.

    Raises:
        ValueError: shapes that do not fit, features that are not finite, an unknown metric, k1, k2 or weight out of
            range.

    Examples:
        >>> query, gallery = torch.rand(5, 8), torch.rand(30, 8)
        >>> torch.cat(list(rerank(query, gallery))).shape  # for `rga.metrics.evaluate_distances`
        torch.Size([5, 30])
    """
    if not (isinstance(k1, int) and isinstance(k2, int)) or k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        got = f"k1={k1}, k2={k2}, weight={weight}"
        raise ValueError(f"k1 and k2 are at least 1, whole numbers, and weight is in 0..1, got {got}")
    distances = _Distances(query, gallery, metric, memory)
    if not (len(distances.queries) and len(distances.images)):
        raise ValueError("there are no queries or no gallery images to rank")
    return _rerank(distances, k1, k2, weight)


@torch.no_grad()
def _rerank(distances: "_Distances", k1: int, k2: int, weight: float) -> Iterator[Tensor]:
    queries = len(distances.queries)
    neighbours, largest = _nearest(distances, max(k1 + 1, k2))
    sets = _sets(distances, neighbours, largest, k1)
    if k2 > 1:
        count, width = neighbours[:, :k2].shape
        near = neighbours[:, :k2].numpy().ravel()
        share = np.full(len(near), 1 / width, sets.dtype)
        sets = csr_array((share, near, np.arange(0, len(near) + 1, width)), shape=(count, count)) @ sets
    query_sets, by_member = sets[:queries], sets[queries:].tocsc()
    del sets
    for part in torch.arange(queries).split(distances.chunk):
        chunk = distances(part)[:, queries:] / largest[part, None].to(distances.device)
        jaccard = torch.empty(chunk.shape, dtype=chunk.dtype)
        for row, index in zip(jaccard, part.tolist(), strict=True):
            row[:] = torch.from_numpy(_jaccard(query_sets, by_member, index))
        yield chunk.mul_(weight).add_(jaccard.to(chunk.device), alpha=1 - weight)


class _Distances:
    """Squared Euclidean distances of all images, queries first, computed a few rows at a time.

    Attributes:
        queries, images: the features; they are neither copied nor normalised in place.
        chunk: how many rows are computed at a time.
    """

    def __init__(self, query: Array, gallery: Array, metric: str, memory: int) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"unknown metric {metric!r}: choose cosine or euclidean")
        self.queries, self.images = as_features(query, gallery)
        self.squares = torch.cat((squared_lengths(self.queries, "query"), squared_lengths(self.images, "gallery")))
        lengths = self.squares.sqrt().clamp(min=1e-12) if metric == "cosine" else torch.ones_like(self.squares)
        self.squares /= lengths**2
        self.factors = 1 / lengths
        self.device, self.count = self.images.device, len(self.squares)
        self.chunk = min(chunk_rows(self.count, self.images.element_size(), memory), self.count)
        self._buffer = self.images.new_empty(0)

    def __call__(self, rows: Tensor) -> Tensor:
        """(R, Q + N) distances of some images, R at most `chunk`; valid until the next call."""
        if not len(self._buffer):
            self._buffer = self.images.new_empty(self.chunk, self.count)
        out, rows = self._buffer[: len(rows)], rows.to(self.device)
        features = self[rows] * (-2 * self.factors[rows, None])
        queries = len(self.queries)
        with full_precision(self.device):
            torch.mm(features, self.queries.T, out=out[:, :queries])
            torch.mm(features, self.images.T, out=out[:, queries:])
        torch.addcmul(self.squares, out, self.factors, out=out)
        out.add_(self.squares[rows, None]).clamp_(min=0)
        return out.scatter_(1, rows[:, None], 0)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(R, D) the features of some images."""
        last = len(self.queries) - 1
        queries, images = self.queries[rows.clamp(max=last)], self.images[(rows - last - 1).clamp(min=0)]
        return torch.where((rows <= last)[:, None], queries, images)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """(P,) distances of pairs of images."""
        parts = []
        for a, b in zip(first.to(self.device).split(_ROWS), second.to(self.device).split(_ROWS), strict=True):
            difference = self[a] * self.factors[a, None] - self[b] * self.factors[b, None]
            parts.append(difference.square_().sum(1))
        return torch.cat(parts).cpu()


def _nearest(distances: _Distances, count: int) -> tuple[Tensor, Tensor]:
    """The nearest images of each, itself included, (n, count) int64; and the distance of the farthest, (n,)."""
    count = min(count, distances.count)
    near, far = [], []
    for rows in torch.arange(distances.count).split(distances.chunk):
        chunk = distances(rows)
        values, index = chunk.topk(count, largest=False)
        order = index.argsort(1)
        order = order.gather(1, values.gather(1, order).argsort(dim=1, stable=True))
        index = index.gather(1, order)
        # Which of those as far as the last one are among the nearest is not for topk to decide.
        last = values.amax(1)
        tied = ((chunk <= last[:, None]).sum(1) > count).nonzero()[:, 0]
        index[tied] = chunk[tied].argsort(dim=1, stable=True)[:, :count]
        near.append(index.cpu())
        far.append(chunk.amax(1).cpu())
    farthest = torch.cat(far)
    return torch.cat(near), farthest.where(farthest > 0, 1)  # all images are equal: every distance is 0


def _sets(distances: _Distances, neighbours: Tensor, largest: Tensor, k1: int) -> csr_array:
    """Each image's expanded k-reciprocal neighbours, as rows of weights that sum to 1; (n, n), sparse."""
    near, half = neighbours[:, : k1 + 1], neighbours[:, : round(k1 / 2) + 1]  # round half to even, as numpy.around
    mutual, half_mutual = _reciprocal(near), _reciprocal(half)
    pairs = []
    for rows in torch.arange(len(near)).split(_ROWS):
        own = near[rows].where(mutual[rows], -1)  # (R, K) with -1 for none
        theirs = half[near[rows]].where(half_mutual[near[rows]] & mutual[rows][:, :, None], -1)  # (R, K, H)
        common = (theirs[..., None] == own[:, None, None]).any(3) & (theirs >= 0)
        joins = 3 * common.sum(2) > 2 * (theirs >= 0).sum(2)
        members = torch.cat((own, theirs.where(joins[:, :, None], -1).flatten(1)), 1)
        pair = rows[:, None] * len(near) + members
        pairs.append(pair[members >= 0].unique())
    pair = torch.cat(pairs)
    image, member = pair.div(len(near), rounding_mode="floor"), pair % len(near)
    weights = torch.exp(-distances.between(image, member) / largest[image])
    weights /= torch.zeros_like(largest).index_add_(0, image, weights)[image]
    return csr_array((weights.numpy(), (image.numpy(), member.numpy())), shape=(len(near), len(near)))


def _reciprocal(near: Tensor) -> Tensor:
    """Of which of its neighbours an image is a neighbour, too: (n, K) bool."""
    parts = [(near[near[rows]] == rows[:, None, None]).any(2) for rows in torch.arange(len(near)).split(_ROWS)]
    return torch.cat(parts)


def _jaccard(query_sets: csr_array, by_member: csc_array, query: int) -> NDArray[np.floating[Any]]:
    """(N,) the Jaccard distances of the set of one query and that of each gallery image.

    Args:
        query_sets: the queries' sets as rows, (Q, n).
        by_member: the gallery's sets, (N, n), by columns: which of them an image is a member of.
    """
    own = slice(query_sets.indptr[query], query_sets.indptr[query + 1])
    parts = [slice(*by_member.indptr[member : member + 2]) for member in query_sets.indices[own]]
    if not parts:
        return np.ones(by_member.shape[0])
    theirs = np.concatenate([by_member.data[part] for part in parts])
    images = np.concatenate([by_member.indices[part] for part in parts])
    mine = query_sets.data[own].repeat([part.stop - part.start for part in parts])
    common = np.bincount(images, np.minimum(mine, theirs), by_member.shape[0])
    return 1 - common / (2 - common)
