"""Ranks in a gallery of one image of each identity, sampled several times: CUHK03's classic protocol."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rga.metrics.ranking import JUNK, RANKS, evaluate_ranking
from rga.metrics.scores import Array


def single_gallery_shot(
    query: Array,
    gallery: Array,
    query_ids: Array,
    gallery_ids: Array,
    query_cams: Array,
    gallery_cams: Array,
    *,
    draws: int = 10,
    seed: int = 0,
    metric: Literal["cosine", "euclidean"] = "cosine",
) -> NDArray[np.float64]:
    """The cumulative matching characteristic in galleries of one image of each identity, a mean over several draws.

    As Li et al. (DeepReID, CVPR 2014) evaluate CUHK03: an image of one camera is looked for among one image of each
    identity from the others. In each draw, all queries of a camera see the same gallery. (Torchreid draws anew for each
    query, and lets other people's images from the query's own camera into the gallery: its metrics differ a little.)
    Queries of whom no other camera has an image are left out; images of identity -1 (junk) are no part of a gallery.

    Args:
        query, gallery: features, (Q, D) and (N, D), numpy or torch; the same images may be in both.
        query_ids, gallery_ids, query_cams, gallery_cams: integers, (Q,) and (N,).
        draws: galleries that the mean is over.
        seed: of the draws. It is none of a run's: every run is measured with the same galleries.
        metric: "cosine" or "euclidean", see `evaluate_ranking`.

    Returns:
        (50,) float64; `[k - 1]` is the rank-k accuracy.

    Raises:
        ValueError: less than one draw, no query that another camera has seen, or what `evaluate_ranking` refuses.

    Examples:
        >>> features = torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
        >>> ids, cameras = torch.tensor([7, 7, 8]), torch.tensor([0, 1, 1])
        >>> float(single_gallery_shot(features[:1], features[1:], ids[:1], ids[1:], cameras[:1], cameras[1:])[0])
        1.0
    """
    if draws < 1:
        raise ValueError(f"the gallery is sampled at least once, not {draws} times")
    features, images = torch.as_tensor(query), torch.as_tensor(gallery)
    query_id, query_cam = _labels(query_ids, features), _labels(query_cams, features)
    image_id, image_cam = _labels(gallery_ids, images), _labels(gallery_cams, images)
    random = np.random.default_rng(seed)
    hits, ranked = np.zeros(RANKS), 0
    for _ in range(draws):
        for camera in np.unique(query_cam):
            others = np.flatnonzero((image_cam != camera) & (image_id != JUNK))
            sampled = others[one_of_each(image_id[others], random)]
            asking = np.flatnonzero((query_cam == camera) & np.isin(query_id, image_id[sampled]))
            if not len(asking):
                continue
            result = evaluate_ranking(
                features[torch.from_numpy(asking)],
                images[torch.from_numpy(sampled)],
                query_id[asking],
                image_id[sampled],
                query_cam[asking],
                image_cam[sampled],
                metric=metric,
            )
            hits += result.cmc * len(asking)
            ranked += len(asking)
    if not ranked:
        raise ValueError(f"none of the {len(features)} queries is in the gallery with an image from another camera")
    return hits / ranked


def one_of_each(identities: NDArray[Any], random: np.random.Generator) -> NDArray[np.int64]:
    """The place of one image of each identity, sampled evenly among those of its own; ascending."""
    order = random.permutation(len(identities))
    _, first = np.unique(identities[order], return_index=True)
    return np.sort(order[first])


def _labels(labels: Array, features: torch.Tensor) -> NDArray[Any]:
    given = torch.as_tensor(labels).cpu().numpy()
    if given.shape != (len(features),):
        raise ValueError(f"labels must have shape ({len(features)},), one per feature, not {given.shape}")
    return given
