"""Time several candidates side by side, so that a slow minute of the machine hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def interleaved(candidates: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Run every candidate once per round, in turn, and give the seconds of each: {name: [s of round 1, ...]}.

    On a GPU the clock stops only when the device has finished. Every second round goes through the candidates
    backwards, so that none always runs on the caches that the same neighbour left. `warmup` rounds are not counted.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for index in range(-warmup, rounds):
        names = list(candidates)
        for name in names if index % 2 == 0 else reversed(names):
            synchronize()
            start = time.perf_counter()
            candidates[name]()
            synchronize()
            if index >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each candidate's seconds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def synchronize() -> None:
    """Wait for the GPU, if this process has used one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
