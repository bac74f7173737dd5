"""Read a file of weights and load it by name, with errors that say what does not fit."""

import logging
import pickle
import re
import shlex
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file
from torch import Tensor, nn

from rga.files import instead

_COUNTER = ".num_batches_tracked"
_ONE = ". Of several networks, write the one that is meant to a file of its own"
_KEPT_UNDER = ("state_dict", "model", "net", "model_state_dict", "network")  # by training code, beside an optimiser
_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
_BEHIND = ("classifier.", "fc.", "head.", "heads.", "bottleneck.", "bnneck.", "cls.", "feat_bn.", "neck.")  # a trunk

log = logging.getLogger("rga")

# Numbers such as the best rank-1, which training code likes to keep beside its weights, under the two names that numpy
# has had for their module. They are data: nothing of a file is run by them.
_NUMPY: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a .pth, .pt or .safetensors file, see `state_dict_of`.

    Nothing in the file is executed: torch.load with weights_only.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it holds no tensors by name that a network can have.
    """
    path = Path(file).expanduser()
    return state_dict_of(read_checkpoint(path), path)


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name in what a file holds: itself, or what is kept in it under one of the usual names.

    Names are without what DataParallel (`module.`) and torch.compile (`_orig_mod.`) add, however often they do.

    Raises:
        ValueError: there are no tensors by name, two of them have one name, or a network cannot have them: they are
            not finite or not there, sparse or quantised, or negative variances.
    """
    found = _search(content)
    if found is None:
        there = f"; it has {few([str(key) for key in content])}" if isinstance(content, Mapping) else ""
        raise ValueError(
            f"{path} holds no state dict: expected tensors by name, or such a dict under "
            f"{', '.join(_KEPT_UNDER)}{there}{_ONE}"
        )
    state, beside = found
    if beside:
        log.info("%s holds several state dicts: %s is taken, %s is not", path, *map(few, beside))
    averages = {"n_averaged"} if "n_averaged" in state else set()  # of torch's AveragedModel: a counter
    tensors = {_WRAPPED.sub("", name): tensor for name, tensor in state.items() if name not in averages}
    if len(tensors) + len(averages) < len(state):
        raise ValueError(
            f"{path} holds tensors whose names differ by 'module.' or '_orig_mod.' alone: it is of two models"
        )
    for what, is_so in _UNUSABLE.items():
        if bad := [name for name, tensor in tensors.items() if is_so(name, tensor)]:
            raise ValueError(f"{path} holds {what}: {few(bad)}")
    return tensors


def _search(content: Any, depth: int = 4) -> tuple[Mapping[str, Tensor], tuple[list[str], list[str]] | None] | None:
    """The state dict in what a file holds; and, where others lie beside it, its key and theirs.

    None: there is none, so deep; a dict may hold itself.
    """
    if not isinstance(content, Mapping) or not depth:
        return None
    if _is_state_dict(content):
        return content, None
    for key in _KEPT_UNDER:
        if (inside := _search(content.get(key), depth - 1)) is not None:
            others = [str(other) for other, value in content.items() if other != key and _is_state_dict(value)]
            return inside[0], ([key], others) if others else inside[1]
    return None


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _overflows(_: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.float().isfinite().all())


# What no network of floats can be filled with, in the order in which it is looked for; the last ones look at values.
_UNUSABLE: dict[str, Callable[[str, Tensor], bool]] = {
    "tensors without values, on the device 'meta'": lambda _, tensor: tensor.is_meta,
    "sparse or quantised tensors": lambda _, tensor: tensor.layout != torch.strided or tensor.is_quantized,
    "weights that are not finite, as of a run that diverged": _overflows,
    "negative variances": lambda name, tensor: name.endswith("running_var") and bool((tensor < 0).any()),
}


def _of_another_kind(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> list[str]:
    """Names of integers, bits or complex numbers where a network has real ones."""
    return [
        f"{name} is {str(values[name].dtype).removeprefix('torch.')}"
        for name, target in targets.items()
        if target.is_floating_point() and name in values and not values[name].is_floating_point()
    ]


def read_checkpoint(path: Path) -> Any:
    """What a .safetensors file, or one that torch.save wrote, holds: tensors and plain containers, on the CPU.

    Nothing in the file is executed: torch.load with weights_only, and numpy's numbers allowed.

    Raises:
        FileNotFoundError, ValueError: there is no such file, it is damaged, or it holds other objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path.absolute()}")
    if (other := instead(path)) is not None:
        raise ValueError(f"{path} is {other}")
    try:
        if path.suffix == ".safetensors":
            try:
                return load_file(path)
            except OSError:  # a disk whose files cannot be mapped into memory
                return load(path.read_bytes())
        if zipfile.is_zipfile(path) and (part := _damaged(path)) is not None:  # torch.load would not notice
            raise zipfile.BadZipFile(f"{part} in it has another checksum than when it was written")
        with torch.serialization.safe_globals(_NUMPY):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"(?:GLOBAL|to call|class) ([\w.]+\.\w+)", str(error)):
            program = (
                f"import torch; file = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
                f"found = next((file[key] for key in {_KEPT_UNDER} if key in file), file) if isinstance(file, dict) "
                "else file; state = found.state_dict() if hasattr(found, 'state_dict') else found; "
                "torch.save({'state_dict': {key: x for key, x in state.items() if torch.is_tensor(x)}}, "
                f"{str(path.with_name(f'{path.stem}-tensors.pth'))!r})"
            )
            raise ValueError(
                f"{path} holds, beside tensors, a Python object ({refused[1]}); it is not opened, because opening such "
                "an object can run anything. If you trust the file, write its tensors to another one: "
                f"{shlex.join(['python', '-c', program])}"
            ) from error
        raise ValueError(f"{path} is damaged, or no file of weights") from error
    except Exception as error:  # damaged bytes make the readers raise all sorts of things
        first = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged, cut off or no file of weights: {first}") from error


def _damaged(path: Path) -> str | None:
    """The first part of a zip file whose contents do not fit their checksum."""
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def few(names: Collection[str], most: int = 6) -> str:
    """Of many names a few."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def misfit(
    missing: Collection[str], unexpected: Collection[str], shapes: Collection[str] = (), kinds: Collection[str] = ()
) -> str:
    """The lines of an error: names that do not fit, of many a few; an empty text where all fit."""
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "of another kind": kinds}
    return "\n".join(f"  {what}: {few(names)}" for what, names in problems.items() if names)


def fill(targets: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Copy each tensor or array of `state` into the target of its name.

    Counters of BatchNorm may be missing all together: PyTorch before 0.4.1 had none, and evaluation needs none.

    Raises:
        ValueError: lists the names that are missing, unexpected or of another shape or kind of number; then nothing
            was copied.
    """
    values = {name: torch.as_tensor(value) for name, value in state.items()}
    if not any(name.endswith(_COUNTER) for name in values):
        targets = {name: target for name, target in targets.items() if not name.endswith(_COUNTER)}
    kinds = _of_another_kind(targets, values)
    shapes = [
        f"{name} {tuple(values[name].shape)} instead of {tuple(target.shape)}"
        for name, target in targets.items()
        if name in values and values[name].shape != target.shape
    ]
    if problems := misfit(targets.keys() - values.keys(), values.keys() - targets.keys(), shapes, kinds):
        raise ValueError(f"the parameters do not fit this model\n{problems}")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])


def load_weights(trunk: nn.Module, state: Mapping[str, Tensor], ignored: Collection[str], source: object) -> None:
    """Load `state` into `trunk` by name.

    Args:
        trunk: a network without its classifier.
        state: weights of the trunk, with or without a classifier and what other code for re-ID has behind a trunk; or
            of a larger model, such as fast-reid's, of which the trunk is one part (`backbone.`).
        ignored: names of modules, the classifier's, whose weights may be in `state`.
        source: where `state` is from, for the error.

    Raises:
        ValueError: lists the names that are missing or unexpected, the shapes that differ, or numbers of another kind.
    """
    wanted = trunk.state_dict()
    part = _part(state, wanted, source)
    heads = tuple(f"{part}{head}" for head in (*(f"{name}." for name in ignored), *_BEHIND))
    kept = {
        name.removeprefix(part): value
        for name, value in state.items()
        if name.startswith(part) and (name.removeprefix(part) in wanted or not name.startswith(heads))
    }
    if left := [name for name in state if name.removeprefix(part) not in kept]:
        log.info("of the weights in %s these are of no part of the backbone: %s", source, few(left))
    if kinds := _of_another_kind(wanted, kept):
        raise ValueError(
            f"the weights in {source} are not the real numbers of this network (a quantised model?): {few(kinds)}"
        )
    try:
        missing, unexpected = trunk.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the weights in {source} do not fit this network: {error}") from error
    if problems := misfit(missing, unexpected):
        raise ValueError(f"the weights in {source} do not fit this network\n{problems}")


def _part(state: Mapping[str, Tensor], wanted: Collection[str], source: object) -> str:
    """What stands in `state` before the names of a network; nothing, where it is of the network alone."""
    parts = {"", *(name[: dot.end()] for name in state for dot in re.finditer(r"\.", name))}
    found = {part: sum(f"{part}{name}" in state for name in wanted) for part in sorted(parts)}
    best = [part for part, count in found.items() if count == max(found.values())]
    if len(best) > 1 and "" not in best:
        raise ValueError(f"the weights in {source} are of several networks like this one: {few(best)}{_ONE}")
    return best[0]
