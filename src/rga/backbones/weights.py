"""Read a file of weights and load it by name, with errors that say what does not fit."""

import pickle
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".pth", ".pt", ".safetensors")
_COUNTER = ".num_batches_tracked"

# Numbers such as the best rank-1, which training code likes to keep beside its weights, under the two names that numpy
# has had for their module. They are data: nothing of a file is run by them.
_NUMPY: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


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
    state = read_checkpoint(path)
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: tensors by name, or such a dict under 'state_dict'")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def read_checkpoint(path: Path) -> Any:
    """What a .safetensors file, or one that torch.save wrote, holds: tensors and plain containers, on the CPU.

    Nothing in the file is executed: torch.load with weights_only, and numpy's numbers allowed.

    Raises:
        FileNotFoundError, ValueError: there is no such file, it is damaged, or it holds other objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path.absolute()}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_NUMPY):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"(?:GLOBAL|to call|class) ([\w.]+\.\w+)", str(error)):
            raise ValueError(
                f"{path} holds, beside tensors, a Python object ({refused[1]}); it is not opened, because opening such "
                "an object can run anything. If you trust the file, write its tensors to another one: python -c "
                f"\"import torch; file = torch.load('{path}', map_location='cpu', weights_only=False); "
                "torch.save({'state_dict': file['state_dict']}, 'converted.pth.tar')\""
            ) from error
        raise ValueError(f"{path} is damaged, or no file of weights") from error
    except Exception as error:  # damaged bytes make the readers raise all sorts of things
        first = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged, cut off or no file of weights: {first}") from error


def misfit(missing: Collection[str], unexpected: Collection[str], shapes: Collection[str] = (), most: int = 6) -> str:
    """The lines of an error: names that do not fit, of many a few; an empty text where all fit."""

    def few(names: Collection[str]) -> str:
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(sorted(names)[:most]) + more

    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return "\n".join(f"  {what}: {few(names)}" for what, names in problems.items() if names)


def fill(targets: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Copy each tensor or array of `state` into the target of its name.

    Counters of BatchNorm may be missing all together: PyTorch before 0.4.1 had none, and evaluation needs none.

    Raises:
        ValueError: lists the names that are missing, unexpected or of another shape; then nothing was copied.
    """
    values = {name: torch.as_tensor(value) for name, value in state.items()}
    if not any(name.endswith(_COUNTER) for name in values):
        targets = {name: target for name, target in targets.items() if not name.endswith(_COUNTER)}
    shapes = [
        f"{name} {tuple(values[name].shape)} instead of {tuple(target.shape)}"
        for name, target in targets.items()
        if name in values and values[name].shape != target.shape
    ]
    if problems := misfit(targets.keys() - values.keys(), values.keys() - targets.keys(), shapes):
        raise ValueError(f"the parameters do not fit this model\n{problems}")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])


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
    if problems := misfit(missing, unexpected):
        raise ValueError(f"the weights in {source} do not fit this network\n{problems}")
