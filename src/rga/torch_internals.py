"""What is used of PyTorch beside its public interface, all in one place. Read in torch 2.15; capped below 2.16."""

from collections.abc import ItemsView
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "BatchNorm",
    "TorchDispatchMode",
    "all_reduced",
    "assert_later",
    "check_channels",
    "forget_hooks",
    "has_hooks",
    "in_forward_mode",
    "in_functorch",
    "is_plain_linear",
    "meeting_place",
    "own_modules",
    "own_tensors",
    "run_what_does_not_compile",
    "schema",
    "storage_address",
    "tree_leaves",
]

check_channels = nn.SyncBatchNorm._check_non_zero_input_channels


def own_tensors(module: nn.Module) -> list[Tensor | None]:
    """Parameters and buffers of a module itself, also those that are not initialised yet."""
    return [*module._parameters.values(), *module._buffers.values()]


def own_modules(module: nn.Module) -> "ItemsView[str, nn.Module | None]":
    """The modules in a module under all their names; `named_children` gives one that has two names once."""
    return module._modules.items()


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody looks into a module's forward or backward."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks)


def forget_hooks(network: nn.Module) -> None:
    """Remove the hooks of forwards, but for those that compute weights, such as old spectral norms'."""
    for module in network.modules():
        module._forward_hooks.clear()
        for number, hook in list(module._forward_pre_hooks.items()):
            if not hasattr(hook, "compute_weight") and not hasattr(hook, "apply_mask"):
                del module._forward_pre_hooks[number]


def is_plain_linear(layer: nn.Module) -> bool:
    """Whether a layer does what its weight says: nothing has taken its place, and no hook computes the weight."""
    return type(layer).forward is nn.Linear.forward and not layer._parameters.keys() & {"weight_orig", "weight_g"}


def storage_address(storage: torch.UntypedStorage) -> int:
    """The address of a storage itself: its data have none on the device meta."""
    return storage._cdata


def schema(operation: Any) -> Any:
    """Name and arguments of an operation of the dispatcher."""
    return operation._schema


def in_forward_mode() -> bool:
    """Whether forward-mode differentiation is at work."""
    return forward_ad._current_level >= 0


def in_functorch() -> bool:
    """Whether a transform of torch.func is at work, which a plain `autograd.Function` does not know."""
    return torch._C._are_functorch_transforms_active()


def all_reduced(x: Tensor) -> Tensor:
    """The sum of a tensor over the default group of processes, by an operation that torch.compile knows."""
    group = dist.group.WORLD
    assert group is not None
    total: Tensor = collectives.wait_tensor(collectives.all_reduce(x, "sum", group))
    return total


def assert_later(condition: Tensor, message: str) -> None:
    """Fail where a boolean tensor is False; on a GPU when it gets there, so that the host does not wait for it."""
    torch._assert_async(condition, message)


def run_what_does_not_compile(allowed: bool) -> None:
    """Whether torch.compile runs as it is, with a warning, what it cannot compile; else that is an error."""
    torch._dynamo.config.suppress_errors = allowed


def meeting_place() -> dist.Store:
    """The store at which the processes of the default group have met.

    Raises:
        RuntimeError: the process that holds it is gone, or there is no group.
    """
    return dist.distributed_c10d._get_default_store()
