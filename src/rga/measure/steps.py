"""What `rga measure` does, in its order: checks, benches, then trainings, the paper's Table 7 first. No torch."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rga.tables.run_plan import Planned, make_plan

# The rows of Table 7, those that matter most first; the others follow in the table's order.
_FIRST = (
    "ResNet (Baseline)", "ResNet + RGA-SC", "ResNet", "DenseNet-BC (k=12, Baseline)", "DenseNet-BC (k=12) + RGA-SC",
    "DenseNet-BC (k=12)",
)  # fmt: skip
_BLOCKS: Sequence[Mapping[str, Any]] = (
    {"dtype": "bfloat16", "memory_format": "channels_last"},
    {"dtype": "float32", "memory_format": "channels_last"},
    {"dtype": "bfloat16", "memory_format": "channels_last", "compile": True},
)
_NETWORKS: Sequence[Mapping[str, Any]] = (
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "compile": True, "nxn": False},
)
_HOLDOUT = ("data=market1501_holdout",)


@dataclass(frozen=True)
class Step:
    """Something that is measured in a process of its own.

    Args:
        name: what it is called in the record.
        function: MODULE:NAME of a function that gives a report; called with `options`.
        minutes: that it needs at least; with less left it is not begun.
    """

    name: str
    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 0.5

    @property
    def command(self) -> str:
        """What repeats it."""
        module, _, name = self.function.partition(":")
        given = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return shlex.join(["python", "-c", f"from {module} import {name}; print({name}({given}))"])


def measured(gpu: bool, device: str) -> list[Step]:
    """The checks and the benches. Without a GPU they are small: a try of the command, whose times are ratios."""
    checks = [
        Step(f"check {name}", f"rga.measure.checks:{name}", {"device": device}, 0.2 if gpu else 0.1)
        for name in ("formula", "single", "retrieval", "crops", "waits")
    ]
    common: dict[str, Any] = {"device": device, "batch": 64 if gpu else 1, "rounds": 10 if gpu else 1}
    blocks, networks = (_BLOCKS, _NETWORKS) if gpu else ([{"dtype": "float32"}], [{"dtype": "float32"}])
    attention = [
        Step(_named("bench attention", kind), "rga.bench.rga_blocks:main", {**common, **kind}, 1.5 if gpu else 0.3)
        for kind in blocks
    ]
    steps = [
        Step(_named("bench step", kind), "rga.bench.training_step:main", {**common, **kind}, 2.0 if gpu else 0.5)
        for kind in networks
    ]
    return [*checks, *attention, *steps]


def trainings(gpu: bool) -> list[Planned]:
    """Table 7 with the whole recipe, in bfloat16; then Table 1 on the holdout. Without a GPU, demo runs of both."""
    if not gpu:
        demo = {"7": ["scale=demo"], "1": ["scale=demo", "data=market1501", "seed=0"]}
        return [
            run for table, overrides in demo.items() for run in make_plan([table], overrides, counted="here").runs[:2]
        ]
    cifar = make_plan(["7"], ["trainer.precision=bf16-mixed", "seed=0"], counted="here").runs
    holdout = make_plan(["1"], ["scale=small", "seed=0", *_HOLDOUT], counted="here").runs
    return [*sorted(cifar, key=_place), *holdout]


def _place(run: Planned) -> int:
    row = run.cells[0].partition(": ")[2].rpartition(", ")[0]
    return _FIRST.index(row) if row in _FIRST else len(_FIRST)


def _named(what: str, kind: Mapping[str, Any]) -> str:
    return " ".join([what, *(key if value is True else str(value) for key, value in kind.items() if value)])
