"""A member of each of timm's families trains a step with RGA-SC behind its stages, or is refused with the reason.

docs/backbones.md lists them, and says what happens here. After a wanted change, or with a new version of timm:
RGA_WRITE_BACKBONES=1 pytest -n0 tests/backbones/test_timm_families.py, and read the difference. A new family needs a
line first, with a small member.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from rga.attention import RGASC
from rga.backbones import timm_trunk
from rga.backbones.stages import own_stages, pretrained_config
from rga.errors import ConfigError
from rga.network import build
from rga.plugin import output_shapes

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
SIZES = ((96, 64), (128, 128), None)  # None: that it was made for, where it can be built for no other
BLOCK = {"_target_": "rga.attention.RGASC", "_partial_": True}
MINUTES = {"sequencer"}  # its LSTMs are slow to inspect: it is tried where the page is written
WRITING = bool(os.environ.get("RGA_WRITE_BACKBONES"))
LINE = re.compile(r"^\| (\w+) \| `([\w.]+)` \|.*\|$", re.MULTILINE)
LINES = {found[1]: (found[2], found[0]) for found in LINE.finditer(PAGE.read_text(encoding="utf-8"))}


def line(family: str, member: str) -> str:
    """What the page says: the stages and what becomes of them; trains a step where they can have blocks."""
    problem = ""
    for size in SIZES:
        options: dict[str, Any] = {}
        with torch.device("meta"):
            try:
                trunk = timm_trunk(member)
                own = pretrained_config(trunk)
                if size is not None and own.get("fixed_input_size"):
                    trunk = timm_trunk(member, **(options := {"img_size": list(size)}))
                height, width = size or own["input_size"][1:]
                shapes, names = output_shapes(trunk, (height, width)), own_stages(trunk)
            except Exception as error:  # what timm raises that cannot build it for this size
                problem = str(error)
                continue
        if shapes[""] is None:
            return f"| {family} | `{member}` | | | refused: it ends in something else than a feature map |"
        maps = [number for number, name in enumerate(names, 1) if shapes.get(name) is not None]
        after = maps if len(maps) <= 6 else [len(maps) * part // 4 for part in range(1, 5)]
        node = {"_target_": "rga.backbones.timm_trunk", "_convert_": "all", "name": member, **options}
        backbone = {"name": member, "trunk": node, "stages": list(range(1, len(names) + 1))}
        try:
            network, channels = build(backbone, {"block": BLOCK, "after": after}, (height, width))
        except ConfigError as error:
            problem = str(error).removeprefix(f"backbone={member}: ")
            continue
        shown = names if len(names) <= 6 else [names[0], "...", names[-1]]
        start = f"| {family} | `{member}` | {height} x {width} | {' '.join(f'`{name}`' for name in shown)} |"
        if not after:
            return f"{start} refused: none of these puts out one feature map |"
        train_a_step(network, channels, (height, width), len(after))
        return f"{start} trains after {', '.join(map(str, after))} |"
    return f"| {family} | `{member}` | | | refused: {problem.partition('. ')[0]} |"


def train_a_step(network: torch.nn.Module, channels: int, size: tuple[int, int], blocks: int) -> None:
    torch.manual_seed(0)
    found = [module for module in network.modules() if isinstance(module, RGASC)]
    assert len(found) == blocks
    before = [[parameter.detach().clone() for parameter in block.parameters()] for block in found]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    features = network.train()(torch.randn(2, 3, *size))
    assert features.shape[:2] == (2, channels)
    loss = features.square().mean()
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    for block, old in zip(found, before, strict=True):
        assert any(not parameter.equal(value) for parameter, value in zip(block.parameters(), old, strict=True))
        assert all(parameter.isfinite().all() for parameter in block.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("family", LINES)
def test_what_the_page_says(family: str) -> None:
    if family not in timm.list_modules():
        pytest.skip("not in this version of timm")
    if family in MINUTES and not WRITING:
        pytest.skip("takes minutes")
    member, written = LINES[family]
    found = line(family, member)
    if WRITING:
        PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(written, found), encoding="utf-8")
    else:
        assert found == written


def test_every_family_is_in_the_page() -> None:
    """With the version of timm that the page names."""
    (version,) = re.findall(r"timm (\d+\.\d+\.\d+)", PAGE.read_text(encoding="utf-8"))
    if version != timm.__version__:
        pytest.skip(f"the page is of timm {version}")
    assert sorted(LINES) == sorted(timm.list_modules())
    assert all(member in timm.list_models(module=family) for family, (member, _) in LINES.items())
