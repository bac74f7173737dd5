"""The features of retrieval and the scores of their pairs, in full precision and bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

MEMORY = 2**27  # bytes of scores held at a time

Array = NDArray[Any] | Tensor


class NotFiniteError(ValueError):
    """There are features with NaN or infinity in them: their order means nothing."""


def chunk_rows(images: int, element_size: int, memory: int = MEMORY) -> int:
    """How many queries have their scores held at a time."""
    return max(memory // max(images * element_size, 1), 1)


def as_features(query: Array, gallery: Array) -> tuple[Tensor, Tensor]:
    """Both on the gallery's device, in float64 or float32."""
    images, queries = torch.as_tensor(gallery), torch.as_tensor(query)
    if queries.ndim != 2 or images.ndim != 2 or queries.shape[1] != images.shape[1]:
        shapes = f"{tuple(queries.shape)} and {tuple(images.shape)}"
        raise ValueError(f"query and gallery features must be (Q, D) and (N, D), not {shapes}")
    dtype = torch.promote_types(queries.dtype, images.dtype)
    dtype = dtype if dtype == torch.float64 else torch.float32
    return queries.to(images.device, dtype), images.to(dtype)


def squared_lengths(features: Tensor, name: str) -> Tensor:
    """(N,) squared lengths. In parts, through one buffer: the features are never held twice."""
    squares, buffer = features.new_empty(len(features)), features.new_empty(256, features.shape[1])
    for part, out in zip(features.split(256), squares.split(256), strict=True):
        torch.sum(torch.mul(part, part, out=buffer[: len(part)]), 1, out=out)
    finite = squares.isfinite()
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise NotFiniteError(f"{int((~finite).sum())} {name} features are not finite, the first at row {first}")
    return squares


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Neither TF32 nor autocast: a training setting must not change what is measured."""
    restore = _multiply_in_float32()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        restore()


def _multiply_in_float32() -> Callable[[], None]:
    """Gives what puts the settings back. A program that has set one backend's has no common one that could be asked."""
    backends: list[Any] = [getattr(of, "matmul", None) for of in (torch.backends.cuda, torch.backends.mkldnn)]
    if not all(hasattr(backend, "fp32_precision") for backend in backends):  # PyTorch 2.8
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        return partial(torch.set_float32_matmul_precision, precision)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"

    def restore() -> None:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision

    return restore


def scores_into(
    queries: Tensor, images: Tensor, query_squares: Tensor, image_squares: Tensor, metric: str, *, out: Tensor
) -> None:
    """(Q, N) cosine similarities, or negative Euclidean distances. In place: nothing else of this size is held."""
    if metric == "cosine":
        # The gallery is not copied to be normalised: its norms divide the columns.
        torch.mm(queries / query_squares.sqrt().clamp(min=1e-12)[:, None], images.T, out=out)
        out.div_(image_squares.sqrt().clamp(min=1e-12))
    else:
        torch.addmm(image_squares, queries, images.T, alpha=-2, out=out)
        for rows, squares in zip(out.split(16), query_squares.split(16), strict=True):  # few: they stay in the cache
            rows.add_(squares[:, None]).clamp_(min=0).sqrt_().neg_()
