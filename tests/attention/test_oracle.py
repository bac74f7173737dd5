"""Our form against the N x N form of the formulae: outputs, statistics and gradients, on random shapes and ratios."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rga.attention import RGAC, RGAS, RGASC
from rga.bench.textbook.nxn import NxN
from rga.interop import reference_tensors

small = st.integers(1, 9)
switches = st.sampled_from([{}, {"relation": False}, {"vision": False}])


@pytest.mark.slow
@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from([RGAS, RGAC, RGASC]),
    channels=st.integers(1, 40),
    size=st.tuples(small, small),
    batch=st.integers(2, 4),
    ratios=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    options=switches,
    channels_last=st.booleans(),
    training=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equal(
    kind: type,
    channels: int,
    size: tuple[int, int],
    batch: int,
    ratios: tuple[int, int],
    options: dict[str, bool],
    channels_last: bool,
    training: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"reduction": ratios[0], "squeeze": ratios[1], **({} if kind is RGASC else options)}
    ours = kind(channels, size, **arguments).double().train(training)
    for tensor in reference_tensors(ours).values():  # neither ones nor zeros in the BatchNorms
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.2 if tensor.dim() == 1 else torch.randn_like(tensor))
    plain = NxN(ours).train(training)
    x = torch.randn(batch, channels, *size, dtype=torch.double)
    x = (x.to(memory_format=torch.channels_last) if channels_last else x).requires_grad_()
    cotangent = torch.randn_like(x)

    y, expected = ours(x), plain(x)
    # BatchNorm over a handful of values divides by a small deviation: what is rounding before it grows behind it.
    torch.testing.assert_close(y, expected, rtol=1e-7, atol=1e-9)
    (x_grad,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
    (expected_grad,) = torch.autograd.grad(expected, x, cotangent, retain_graph=True)
    scale = 1 + expected_grad.abs().max().item()
    torch.testing.assert_close(x_grad, expected_grad, rtol=0, atol=1e-6 * scale)
    y.backward(cotangent)
    expected.backward(cotangent)
    gradients = reference_tensors(ours, lambda tensor: tensor.grad)
    for name, parameter in plain.named_parameters():
        kind_, part, rest = name.split(".", 2)
        scale = 1 + parameter.grad.abs().max().item()
        torch.testing.assert_close(gradients[f"{part}_{kind_}.{rest}"], parameter.grad, rtol=0, atol=1e-6 * scale)
    statistics = reference_tensors(ours)
    for name, buffer in plain.named_buffers():
        kind_, part, rest = name.split(".", 2)
        torch.testing.assert_close(statistics[f"{part}_{kind_}.{rest}"], buffer, rtol=1e-7, atol=1e-9)
