"""Read a file of weights and load it by name, with errors that say what does not fit."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".pth", ".pt", ".safetensors")


def is_file_name(weights: object) -> bool:
    """Whether `weights` names a file, existing or not, and not published weights such as IMAGENET1K_V1."""
    return isinstance(weights, (str, Path)) and (str(weights).endswith(SUFFIXES) or len(Path(weights).parts) > 1)


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a .pth, .pt or .safetensors file, also inside {"state_dict": ...}, without `module.` prefixes.

    Nothing in the file is executed: torch.load with weights_only.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it holds no tensors by name.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path.absolute()}")
    state = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: tensors by name, or such a dict under 'state_dict'")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_weights(trunk: nn.Module, state: Mapping[str, Tensor], ignored: Collection[str], source: object) -> None:
    """Load `state` into `trunk` by name.

    Args:
        trunk: a network without its classifier.
        state: weights of the trunk, with or without a classifier.
        ignored: names of modules, the classifier's, whose weights may be in `state`.
        source: where `state` is from, for the error.

    Raises:
        ValueError: lists the names that are missing or unexpected, or the shapes that differ.
    """
    kept = {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in ignored))}
    try:
        missing, unexpected = trunk.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the weights in {source} do not fit this network: {error}") from error
    if missing or unexpected:
        lists = [("missing", missing), ("unexpected", unexpected)]
        lines = [f"  {what}: {', '.join(names)}" for what, names in lists if names]
        raise ValueError(f"the weights in {source} do not fit this network\n" + "\n".join(lines))
