"""The authors' published code, in double precision, is the reference (numbers in tests/fixtures/rga_*.npz)."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rga.attention import RGAC, RGAS, RGASC
from rga.interop import load_reference, reference_tensors

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("name", "kind"), [("rga_s", RGAS), ("rga_c", RGAC), ("rga_sc", RGASC), ("rga_sc_square", RGASC)]
)
def test_outputs_and_gradients(name: str, kind: type, memory_format: torch.memory_format) -> None:
    with np.load(DATA / f"{name}.npz") as file:
        numbers = {key: torch.from_numpy(file[key]) for key in file.files}
    channels, height, width, ratio, *_ = numbers["config"].tolist()
    block = kind(channels, (height, width), reduction=ratio, squeeze=ratio).double()
    load_reference(block, {key: value for key, value in numbers.items() if key.startswith("state/")})
    x = numbers["x"].contiguous(memory_format=memory_format).requires_grad_()

    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(block.eval()(x), numbers["y_eval"], **close)
    y = block.train()(x)
    torch.testing.assert_close(y, numbers["y_train"], **close)
    (y * numbers["cotangent"]).sum().backward()
    torch.testing.assert_close(x.grad, numbers["x_grad"], **close)
    gradients = reference_tensors(block, lambda tensor: tensor.grad)
    expected = {key.removeprefix("grad/"): value for key, value in numbers.items() if key.startswith("grad/")}
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, **close, msg=partial("{}: {}".format, key))
