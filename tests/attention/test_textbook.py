"""The textbook forms that `rga bench blocks` compares with compute what our blocks compute; and what ours keep."""

import copy
import json

import pytest
import torch

from rga.bench import zoo_blocks
from rga.bench.memory import saved_bytes
from rga.bench.textbook import FORMS
from rga.errors import ConfigError

from .test_zoo import FILES, images, perturb

CHANNELS, SIZE = 32, (16, 10)


def test_every_block_that_is_not_rga_has_a_textbook_form() -> None:
    assert set(FORMS) == {name for name in FILES if not name.startswith("rga_")}


@pytest.mark.parametrize("name", FORMS)
def test_same_numbers(name: str) -> None:
    """In training mode, where BatchNorm makes statistics of its own: outputs, and gradients of the input."""
    ours = zoo_blocks.pair_of(name, CHANNELS, SIZE)["ours"].double()
    perturb(ours)
    textbook = FORMS[name](ours)
    assert sum(p.numel() for p in textbook.parameters()) == sum(p.numel() for p in ours.parameters())
    results = []
    for block in (copy.deepcopy(ours), textbook):
        x = images(3, CHANNELS, SIZE).double().requires_grad_()
        y = block(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        results.append((y, gradient))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(FORMS) - {"scse"}))  # which keeps its gate: half the time, twice the memory
def test_ours_keep_no_more(name: str) -> None:
    """Activation memory; 5 % are for vectors and small matrices, which large maps do not notice."""
    x = images(2, 64, (16, 10)).requires_grad_()
    kept = {side: saved_bytes(block, x) for side, block in zoo_blocks.pair_of(name, 64, (16, 10)).items()}
    assert kept["ours"] <= 1.05 * kept["textbook"]


def test_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(zoo_blocks, "STAGES", {"small": (CHANNELS, SIZE)})
    report = zoo_blocks.main(["simam", "lka"], batch=2, rounds=2, memory_format="channels_last")
    assert json.loads(json.dumps(report)) == report
    assert list(report["blocks"]) == ["simam", "lka"]
    for stages in report["blocks"].values():
        row = stages["small"]
        assert 0 < row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]
        assert set(row["seconds"]) == set(row["saved_mb"]) == {"ours", "textbook"}
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["simam", "small"],
        ["lka", "small"],
    ]
    with pytest.raises(ConfigError, match=r"no textbook form of sea; there are .*, se,"):
        zoo_blocks.main(["sea"])
