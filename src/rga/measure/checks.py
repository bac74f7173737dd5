"""Whether a device computes what the CPU computes: checks that need neither data nor weights.

Each gives the values that it found; one that does not hold raises an `AssertionError` that says by how much.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rga.attention import RGASC
from rga.backbones import torchvision_trunk
from rga.bench.textbook.nxn import NxN, own_name
from rga.data.cifar.crops import Crops
from rga.interop import reference_tensors
from rga.losses import BatchHardTriplet
from rga.metrics import evaluate_ranking
from rga.plugin import plug

DOUBLE = 1e-10  # relative: products of a few hundred numbers in double precision
SINGLE = 1e-4  # the same in float32


def formula(device: str) -> dict[str, Any]:
    """RGA-SC on the device in double precision against the N x N form on the CPU: output and all gradients."""
    torch.manual_seed(0)
    block = RGASC(64, (16, 8)).double()
    oracle, x = NxN(block), torch.randn(4, 64, 16, 8, dtype=torch.float64)
    expected = _both_ways(oracle, x)
    return _close(_both_ways(block.to(device), x.to(device)), expected, DOUBLE, 1e-5)


def single(device: str) -> dict[str, Any]:
    """RGA-SC in float32, without TF32, on the device and on the CPU."""
    torch.manual_seed(0)
    block, x = RGASC(64, (16, 8)), torch.randn(4, 64, 16, 8)
    expected = _both_ways(block, x)
    with _float32():
        found = _both_ways(block.to(device), x.to(device))
    return _close(found, expected, SINGLE)


def retrieval(device: str) -> dict[str, Any]:
    """CMC and mAP of the same features on the device and on the CPU, in double precision: equal to 1e-12."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2200, 256, generator=generator, dtype=torch.float64)
    identities = torch.randint(0, 100, (2200,), generator=generator)
    cameras = torch.randint(0, 6, (2200,), generator=generator)

    def ranked(where: str) -> Any:
        moved = features.to(where)
        labels = [values[part] for values in (identities, cameras) for part in (slice(200), slice(200, None))]
        return evaluate_ranking(moved[:200], moved[200:], *labels)

    found, expected = ranked(device), ranked("cpu")
    difference = max(abs(found.map - expected.map), float(abs(found.cmc - expected.cmc).max()))
    assert difference < 1e-12, f"mAP and CMC differ by {difference:.1e}"
    return {"queries": found.valid_queries, "map": found.map, "difference": difference}


def waits(device: str) -> dict[str, Any]:
    """A training step of re-ID (ResNet-50 + RGA-SC, both losses, Adam) in which the host waits for nothing.

    On a GPU PyTorch raises at whatever waits (`torch.cuda.set_sync_debug_mode`).
    """
    torch.manual_seed(0)
    small = torch.device(device).type == "cpu"
    size, batch = ((64, 32), 8) if small else ((256, 128), 64)
    stages = {f"layer{n}": None for n in range(1, 5)}
    network = plug(torchvision_trunk("resnet50", last_stride=1), RGASC, list(stages), size).to(device).train()
    classifier, triplet = nn.Linear(2048, 100).to(device), BatchHardTriplet(0.3)
    optimizer = torch.optim.Adam([*network.parameters(), *classifier.parameters()], lr=1e-4)
    images = torch.randn(batch, 3, *size, device=device)
    labels = torch.arange(batch // 4, device=device).repeat_interleave(4)

    def step() -> None:
        optimizer.zero_grad()
        feature = network(images).mean((2, 3))
        loss = nn.functional.cross_entropy(classifier(feature), labels) + triplet(feature, labels)
        loss.backward()
        optimizer.step()

    step()
    if small:
        return {"steps": 1, "note": "runs; on a CPU there is nothing to wait for"}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step()
    except RuntimeError as error:
        raise AssertionError(f"a training step waits for the device: {error}") from error
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"steps": 3, "waits": 0}


def crops(device: str) -> dict[str, Any]:
    """Windows of CIFAR's images, cut on the device, against plain slices of the images on the CPU: equal.

    All windows together are one strided view of far more numbers than 32 bits count: CUDA then indexes in 64.
    """
    count = 5_000 if torch.device(device).type == "cpu" else 50_000
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    made = Crops(images, pad=4, mirror=0.5)
    some = torch.randint(count, (1000,), generator=generator)
    indices = torch.cat([torch.arange(8), some, torch.tensor([count - 1])])
    start = made.draw(indices, generator)
    plain, (image, _, row, _) = made.padded, made.padded.stride()
    expected = torch.stack(
        [plain[at // image, :, at % image // row :, at % image % row :][:, :32, :32] for at in start.tolist()]
    )
    found = made.to(device)(start.to(device)).cpu()
    assert torch.equal(found, expected), f"{int((found != expected).any(dim=(1, 2, 3)).sum())} windows differ"
    return {"windows": len(start), "numbers in the view": made.padded.numel() * 3 * 32 * 32}


CHECKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "formula": formula, "single": single, "retrieval": retrieval, "waits": waits, "crops": crops,
}  # fmt: skip


def _both_ways(block: RGASC | NxN, x: Tensor) -> dict[str, Tensor]:
    """The output and the gradients of the input and of the parameters, under the names of `NxN`; on the CPU."""
    x = x.detach().requires_grad_()
    block.zero_grad()
    y = block(x)
    y.square().sum().backward()
    assert x.grad is not None
    if isinstance(block, RGASC):
        gradients = {own_name(name): grad for name, grad in reference_tensors(block, lambda p: p.grad).items()}
    else:
        gradients = {name: parameter.grad for name, parameter in block.named_parameters() if parameter.grad is not None}
    found = {"output": y.detach(), "gradient of the input": x.grad}
    found |= {f"gradient of {name}": gradient for name, gradient in gradients.items()}
    return {name: value.cpu().clone() for name, value in found.items()}


def _close(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], bound: float, least: float = 1.0
) -> dict[str, Any]:
    """The largest difference of the output and of each gradient, relative to its largest number.

    Of a gradient to that, or to `least` of the largest number of all gradients where that is more: some are nothing
    but rounding.
    """
    largest = max(float(value.abs().max()) for name, value in expected.items() if name != "output")
    assert found.keys() == expected.keys()
    differences = {}
    for name, value in found.items():
        whole = max(float(expected[name].abs().max()), 0.0 if name == "output" else least * largest)
        differences[name] = float((value - expected[name]).abs().max()) / whole
        assert differences[name] < bound, f"{name} differs by {differences[name]:.1e}; {bound:.0e} is allowed"
    return {"relative difference": differences, "allowed": bound}


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
