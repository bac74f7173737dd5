"""Time and memory of `evaluate_ranking` at a data set's real size, on random features."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from rga.metrics.ranking import JUNK, evaluate_ranking
from rga.metrics.scores import chunk_rows, squared_lengths

SLICE = 100  # queries that the textbook version ranks
Labels = tuple[Tensor, Tensor, Tensor, Tensor]  # query_ids, gallery_ids, query_cams, gallery_cams


class Size(StrEnum):
    market1501 = "market1501"
    msmt17 = "msmt17"


# Queries, gallery images, identities, cameras.
SIZES = {Size.market1501: (3_368, 19_732, 751, 6), Size.msmt17: (11_659, 82_161, 3_060, 15)}


def main(
    *,
    size: Size = Size.market1501,
    queries: int | None = None,
    gallery: int | None = None,
    dims: int = 2048,
    device: str = "cpu",
    splits: Path | None = None,
    rounds: int = 3,
    timed: int | None = None,
) -> dict[str, Any]:
    """Measure the ranking against the matrix product in it and against sorting every row; prints a table.

    Medians over `rounds` interleaved rounds. The matrix product is common to all ways of ranking, so it is in both
    sides of one ratio, and in none of the other.

    Args:
        size: the data set whose numbers of images, identities and cameras there are.
        queries, gallery, dims: other numbers of random features, their length.
        device: where they lie.
        splits: a folder with market1501_{queryID,queryCam,testID,testCam}.mat, whose identities and cameras (and
            counts) are used; without it, they are sampled evenly, and there is no junk.
        rounds: how often everything is timed.
        timed: queries that are timed, for all of which the seconds are given; without it all are timed. The memory
            always is that of all.

    Returns:
        The numbers of the table: seconds, ratios, and peak memory in MB (on the CPU that of a fresh process, the
        features and torch included; on a GPU what torch has allocated there).
    """
    if rounds < 1 or (timed is not None and timed < 1):
        raise ValueError("rounds and timed must be at least 1")
    many, images_there, identities, cameras = SIZES[size]
    queries, gallery = queries or many, gallery or images_there
    labels = random_labels(queries, gallery, identities, cameras) if splits is None else market_labels(splits)
    queries, gallery = len(labels[0]), len(labels[1])
    where = torch.device(device)
    memory = _peak_memory_in_a_fresh_process(labels, dims) if where.type == "cpu" else {}

    query, images = random_features(queries, dims, where, seed=0), random_features(gallery, dims, where, seed=1)
    taking_part = images[(labels[1] != JUNK).to(where)]
    timed = min(queries, timed or queries)
    some, some_labels = query[:timed], (labels[0][:timed], labels[1], labels[2][:timed], labels[3])
    rows = min(timed, SLICE)
    scores = (query[:rows] @ images.T).cpu().numpy()
    arrays = [label.numpy() for label in (labels[0][:rows], labels[1], labels[2][:rows], labels[3])]
    seconds: dict[str, list[float]] = {"total": [], "product": [], "textbook": []}
    for _ in range(rounds):
        scale = queries / timed
        once = _seconds(lambda: squared_lengths(images, "gallery"), where)  # however many the queries are
        ranked = _seconds(lambda: evaluate_ranking(some, images, *some_labels), where)
        seconds["total"].append((ranked - once) * scale + once)
        seconds["product"].append(_seconds(lambda: _product(some, taking_part), where) * scale)
        seconds["textbook"].append(_seconds(lambda: textbook(scores, *arrays), where) * queries / rows)
    total, product, sorting = (statistics.median(seconds[name]) for name in ("total", "product", "textbook"))
    ranking = max(statistics.median(map(float.__sub__, seconds["total"], seconds["product"])), 1e-9)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        evaluate_ranking(query, images, *labels)
        memory = {"peak_mb": torch.cuda.max_memory_allocated(where) / 1e6}

    report: dict[str, Any] = {
        "queries": queries,
        "gallery": gallery,
        "dims": dims,
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "timed_queries": timed,
        "total_s": total,
        "product_s": product,
        "ranking_s": ranking,
        "ranking_share": ranking / total,
        "textbook_ranking_s": sorting,
        "textbook_queries": rows,
        "ranking_speedup": sorting / ranking,
        "total_speedup": (sorting + product) / total,
        **memory,
    }
    _print(report)
    return report


@dataclass(frozen=True)
class _Curve:
    rank1: float
    map: float


def textbook(
    scores: NDArray[Any], q_ids: NDArray[Any], g_ids: NDArray[Any], q_cams: NDArray[Any], g_cams: NDArray[Any]
) -> _Curve:
    """The usual way, for comparison: sort the whole gallery for each query. (Q, N) scores, rank-1 and step-wise mAP."""
    first, precision = [], []
    for row, identity, camera in zip(scores, q_ids, q_cams, strict=True):
        order = np.argsort(-row)
        kept = (g_ids[order] != JUNK) & ~((g_ids[order] == identity) & (g_cams[order] == camera))
        match = g_ids[order][kept] == identity
        if match.any():
            hits = match.cumsum()
            first.append(match[0])
            precision.append((hits / np.arange(1, len(match) + 1))[match].mean())
    return _Curve(float(np.mean(first)), float(np.mean(precision)))


def random_labels(queries: int, gallery: int, identities: int, cameras: int) -> Labels:
    """Identities and cameras sampled evenly: about 26 gallery images per identity, as Market-1501 and MSMT17 have."""
    generator = torch.Generator().manual_seed(2)

    def draw(count: int, most: int) -> Tensor:
        return torch.randint(1, most + 1, (count,), generator=generator)

    return draw(queries, identities), draw(gallery, identities), draw(queries, cameras), draw(gallery, cameras)


def market_labels(folder: Path) -> Labels:
    """Market-1501's own identities and cameras, distractors (0) and junk (-1) included."""
    from scipy.io import loadmat

    def read(name: str) -> Tensor:
        content = loadmat(folder / f"market1501_{name}.mat")
        (array,) = (value for key, value in content.items() if not key.startswith("__"))
        return torch.from_numpy(array.ravel().astype(np.int64))

    return read("queryID"), read("testID"), read("queryCam"), read("testCam")


def random_features(count: int, dims: int, device: torch.device, seed: int) -> Tensor:
    """(count, dims) float32 of length 1, made without a second copy."""
    generator = torch.Generator(device).manual_seed(seed)
    features = torch.randn(count, dims, generator=generator, device=device)
    return features.div_(torch.linalg.vector_norm(features, dim=1, keepdim=True))


def _product(query: Tensor, images: Tensor) -> None:
    """The matrix product in the chunks of `evaluate_ranking`."""
    chunk = chunk_rows(len(images), images.element_size())
    buffer = images.new_empty(min(chunk, len(query)), len(images))
    for part in query.split(chunk):
        torch.mm(part, images.T, out=buffer[: len(part)])


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """On one thread of a processor the process's own seconds: a busy machine does not change the ratios."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def _peak_memory_in_a_fresh_process(labels: Labels, dims: int) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        before, peak = pool.submit(_peak_memory, [label.numpy() for label in labels], dims).result()
    return {"peak_mb": peak / 1e6, "peak_before_mb": before / 1e6}


def _peak_memory(labels: list[NDArray[Any]], dims: int) -> tuple[float, float]:
    """Peak bytes of this process with the features loaded, and after the evaluation."""
    cpu = torch.device("cpu")
    query, images = random_features(len(labels[0]), dims, cpu, 0), random_features(len(labels[1]), dims, cpu, 1)
    before = _peak_bytes()
    evaluate_ranking(query, images, *labels)
    return before, _peak_bytes()


def _peak_bytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss may hold that of the process which started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _print(report: dict[str, Any]) -> None:
    size = f"{report['queries']:,} x {report['gallery']:,}, {report['dims']:,} dimensions"
    part = f"; from {report['timed_queries']:,} queries" if report["timed_queries"] < report["queries"] else ""
    table = Table(title=f"Ranking {size}, {report['device']}, {report['threads']} threads{part}")
    table.add_column("")
    table.add_column("seconds", justify="right")
    table.add_column("against the textbook", justify="right")
    table.add_row("evaluate_ranking", f"{report['total_s']:.2f}", f"{report['total_speedup']:.1f} x")
    table.add_row("  its matrix product", f"{report['product_s']:.2f}", "")
    share = f"  the ranking ({report['ranking_share']:.0%})"
    table.add_row(share, f"{report['ranking_s']:.2f}", f"{report['ranking_speedup']:.1f} x")
    note = f"textbook ranking, from {report['textbook_queries']} queries"
    table.add_row(note, f"{report['textbook_ranking_s']:.2f}", "1.0 x")
    table.caption = f"peak memory {report['peak_mb']:,.0f} MB" if "peak_mb" in report else None
    Console().print(table)
