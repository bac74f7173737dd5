"""Start a network from what a run has trained: its trunk, and its attention where that is the same block."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rga.backbones.weights import misfit, state_dict_of
from rga.inspection import ATTENTION, STAGE

log = logging.getLogger("rga")

_TRUNKS = ("segmenter.network.", "backbone.")  # where a task of this package has its network
_LIGHTNING = "pytorch-lightning_version"  # is in the checkpoint of a run and not in a plain file of weights


def state_of_run(content: object, file: Path) -> dict[str, Tensor] | None:
    """The tensors of the network in a run's checkpoint, by the network's names; None for another file of weights.

    Args:
        content: what `read_checkpoint` has read from the file.

    Raises:
        ValueError: as `state_dict_of`.
    """
    if not isinstance(content, Mapping) or _LIGHTNING not in content:
        return None
    state = state_dict_of(content, file)
    for start in _TRUNKS:
        if found := {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}:
            return found
    return None


def start_from(network: nn.Module, state: Mapping[str, Tensor], source: object, same_block: bool | None) -> None:
    """Fill a network, blocks behind its stages included, from that of a run, and log what was taken and what is new.

    The trunk has to fit entirely. Of a stage's block all is taken or nothing: it is new where the run has none there,
    another one, or one for maps of another size.

    Args:
        network: as `rga.network.build` makes it.
        state: see `state_of_run`.
        source: where it is from, for the log and the error.
        same_block: whether the run's block has the class and the options of the network's; None: that is not known,
            so names and shapes decide.

    Raises:
        ValueError: it is of another trunk; then nothing was filled.
    """
    targets = network.state_dict()
    (trunk, blocks), (their_trunk, their_blocks) = _parts(targets), _parts(state)
    shapes = [
        f"{name} {tuple(state[their_trunk[name]].shape)} instead of {tuple(targets[trunk[name]].shape)}"
        for name in trunk.keys() & their_trunk.keys()
        if state[their_trunk[name]].shape != targets[trunk[name]].shape
    ]
    if problems := misfit(trunk.keys() - their_trunk.keys(), their_trunk.keys() - trunk.keys(), shapes):
        raise ValueError(f"the run in {source} is of another trunk\n{problems}")
    filled = {trunk[name]: state[their_trunk[name]] for name in trunk}
    taken, new = [], []
    for stage, names in blocks.items():
        theirs = {rest: state[name] for rest, name in their_blocks.get(stage, {}).items()}
        if reason := _other(theirs, {rest: targets[name] for rest, name in names.items()}, same_block):
            new.append(f"the attention behind {stage} ({len(names)} tensors; {reason})")
        else:
            filled |= {names[rest]: value for rest, value in theirs.items()}
            taken.append(stage)
    with torch.no_grad():
        for name, value in filled.items():
            targets[name].copy_(value)
    also = f", and the attention behind {', '.join(taken)}" if taken else ""
    log.info("started from %s: %d tensors of the trunk%s", source, len(trunk), also)
    log.info("new: %s", "; ".join([*new, "heads and classifiers"]))
    if left := their_blocks.keys() - set(taken):
        log.info("not taken: the run's attention behind %s", ", ".join(sorted(left)))


def _parts(names: Iterable[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The trunk's tensors, and those of the blocks by their stages: by the names that a network without blocks has."""
    names = list(names)
    plugged = {name[: found.start()] for name in names for found in re.finditer(rf"\.{STAGE}\.", name)}
    trunk: dict[str, str] = {}
    blocks: dict[str, dict[str, str]] = {}
    for name in names:
        stage, found, rest = name.partition(f".{ATTENTION}.")
        if found and stage in plugged:
            blocks.setdefault(_plain(stage), {})[rest] = name
        else:
            trunk[_plain(name)] = name
    return trunk, blocks


def _plain(name: str) -> str:
    return re.sub(rf"\.{STAGE}(?=\.|$)", "", name)


def _other(theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], same_block: bool | None) -> str | None:
    """Why a block cannot begin as the run's."""
    if not theirs:
        return "the run has none there"
    if same_block is False or theirs.keys() != own.keys():
        return "the run's is another block"
    if any(theirs[name].shape != own[name].shape for name in own):
        return "the run's is for another size"
    return None
