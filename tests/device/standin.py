"""A device that computes on the CPU and behaves towards the CPU's tensors as a GPU does.

A backend of torch's PrivateUse1 in Python: inside `with Device() as device:` what is done with tensors of `DEVICE` is
done on the CPU, bit for bit. An operation that meets a tensor of the CPU as well raises `Mismatch`, as a GPU would; and
whatever would make the host wait for a GPU is counted in `device.waits`, with the place that asked.

The ways in are private ones of torch 2.15 and change the whole process: only for a process of its own.
"""

import collections
import traceback
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16, torch.float32]
torch._C._set_only_lift_cpu_tensors(True)

aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
SIZED_BY_VALUES = {  # how large the result is, only the device knows
    aten.nonzero.default,
    aten.masked_select.default,
    aten.unique_consecutive.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
}


class Mismatch(RuntimeError):
    """An operation on tensors of two devices."""


class OnDevice(torch.Tensor):
    """A tensor of the device, which keeps one of the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnDevice":
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self, **options: object) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")

    __array__ = numpy  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{function} outside of the device's mode")


class Device(TorchDispatchMode):
    """See the module.

    Attributes:
        waits: what the host would wait for, and where in this project's code, by how often.
        operations: that ran on the device, by how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: collections.Counter[str] = collections.Counter()
        self.operations: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        target = kwargs.get("device")
        to_here = target is not None and torch.device(target).type == NAME
        if not here and not to_here:
            return function(*args, **kwargs)
        self.operations[str(function)] += 1
        if function not in COPIES | INDEXING:
            others = [tuple(x.shape) for x in tensors if x.dim() and not isinstance(x, OnDevice)]
            if here and others:
                raise Mismatch(f"{function}: tensors of the device and of the CPU, {others}, at {_place()}")
        stays = self._count_waits(function, args, target is not None and not to_here)
        if to_here:
            kwargs["device"] = torch.device("cpu")
        outside = {id(tensor.inner): tensor for tensor in here}  # an operation in place gives its argument back
        done = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        return tree_map(
            lambda y: outside.get(id(y), OnDevice(y) if stays else y) if isinstance(y, torch.Tensor) else y, done
        )

    def _count_waits(self, function: Any, args: Any, away: bool) -> bool:
        """Count what the host waits for; gives whether the result stays on the device."""
        if function is aten._local_scalar_dense.default:
            self.waits[f"item at {_place()}"] += 1
        elif function is aten._to_copy.default and away:
            self.waits[f"to the CPU at {_place()}"] += 1
            return False
        elif function is aten.copy_.default and not isinstance(args[0], OnDevice):
            self.waits[f"copy_ to the CPU at {_place()}"] += 1
        elif function in SIZED_BY_VALUES:
            self.waits[f"{function} at {_place()}"] += 1
        elif function in INDEXING and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in tree_leaves(args[1])
        ):
            self.waits[f"a mask in {function} at {_place()}"] += 1
        return True


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, OnDevice) else x


def _place() -> str:
    """The line that asked: this project's, or else the last one that is not torch's."""
    frames = [frame for frame in traceback.extract_stack(limit=60) if frame.filename != __file__]
    ours = [frame for frame in frames if "/src/rga/" in frame.filename]
    outside = [frame for frame in frames if "/torch/" not in frame.filename]
    frame = (ours or outside or frames)[-1]
    return f"{frame.filename.rpartition('/src/')[2]}:{frame.lineno}"


def trainer(**settings: Any) -> Any:
    """A Lightning Trainer whose only device is this one."""
    from lightning.pytorch.accelerators import Accelerator
    from lightning.pytorch.strategies import SingleDeviceStrategy
    from lightning.pytorch.trainer import Trainer

    class Only(Accelerator):
        def setup_device(self, device: torch.device) -> None: ...

        def teardown(self) -> None: ...

        @staticmethod
        def parse_devices(devices: Any) -> int:
            return 1

        @staticmethod
        def get_parallel_devices(devices: Any) -> list[torch.device]:
            return [DEVICE]

        @staticmethod
        def auto_device_count() -> int:
            return 1

        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def name() -> str:
            return NAME

        def get_device_stats(self, device: Any) -> dict[str, Any]:
            return {}

    settings |= {"strategy": SingleDeviceStrategy(device=DEVICE, accelerator=Only()), "inference_mode": False}
    return Trainer(**{name: value for name, value in settings.items() if name not in ("accelerator", "devices")})
