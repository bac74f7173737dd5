"""The gallery images that stand first for a few queries, to be looked at."""

import torch
from torch import Tensor

from rga.examples import COUNT, equally_distant
from rga.metrics.scores import full_precision, scores_into, squared_lengths

JUNK = -1  # as `rga.metrics.ranking` has it


def best_matches(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cams: Tensor,
    gallery_cams: Tensor,
    *,
    metric: str = "cosine",
    queries: int = COUNT,
    top: int = 10,
) -> list[tuple[int, list[tuple[int, bool]]]]:
    """The first `top` places of some queries, in the order of `evaluate_ranking` and without what that leaves out.

    Args:
        query, gallery: features, (Q, D) and (N, D).
        query_ids, gallery_ids, query_cams, gallery_cams: integers, (Q,) and (N,).
        metric: "cosine" or "euclidean".
        queries: how many, from equally distant places of the list.
        top: places of each.

    Returns:
        The place of a query, and the places in the gallery with whether they show its identity, best first.
    """
    places = torch.tensor(equally_distant(len(query), queries), device=query.device)
    part, images = query[places], gallery
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    part, images = part.to(dtype), images.to(dtype)
    scores = images.new_empty(len(part), len(images))
    with full_precision(images.device):
        squares = squared_lengths(part, "query"), squared_lengths(images, "gallery")
        scores_into(part, images, *squares, metric, out=scores)
    right = query_ids[places, None] == gallery_ids
    scores[(right & (query_cams[places, None] == gallery_cams)) | (gallery_ids == JUNK)] = -torch.inf
    values, order = scores.sort(dim=1, descending=True, stable=True)
    rows = zip(places.tolist(), values[:, :top].tolist(), order[:, :top].tolist(), right.tolist(), strict=True)
    return [
        (place, [(image, same[image]) for value, image in zip(scored, found, strict=True) if value > -torch.inf])
        for place, scored, found, same in rows
    ]
