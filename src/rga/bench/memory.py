"""Memory of a forward and backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rga.torch_internals import storage_address


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """Bytes that a forward keeps for its backward: each storage once, without parameters and buffers.

    Deterministic; also of a network and images on the device meta, where nothing is computed.
    """
    own = {storage_address(tensor.untyped_storage()) for tensor in [*network.parameters(), *network.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}  # holding them keeps an address from being used again

    def pack(tensor: Tensor) -> None:  # nothing goes into the graph: an output in its own node would never be freed
        storage = tensor.untyped_storage()
        if (address := storage_address(storage)) not in own:
            kept[address] = storage

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
        network(x)
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """The most that a call allocates on a GPU beyond what was allocated before it."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
