"""What the benches of the attention share: where they run and in which number format."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from rga.bench.memory import saved_bytes

SIZE = (256, 128)  # (height, width) of the images
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
STAGES = {"layer1": (256, (64, 32)), "layer2": (512, (32, 16)), "layer3": (1024, (16, 8)), "layer4": (2048, (16, 8))}


def autocast(device: str, dtype: str) -> AbstractContextManager[Any]:
    """A mixed-precision context for bfloat16; nothing for float32."""
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype is float32 or bfloat16 (autocast), not {dtype!r}")
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == "bfloat16")


def saved_megabytes(network: nn.Module, x: Tensor, dtype: str) -> float:
    """Megabytes (1e6 bytes) that one forward keeps for its backward."""
    with autocast(x.device.type, dtype):
        return saved_bytes(network, x) / 1e6


def about(device: str) -> dict[str, Any]:
    """Device, threads and version, for the record."""
    where = torch.device(device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
