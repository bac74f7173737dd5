"""What Table 7 tells of its rows, against the networks that its rows build."""

from pathlib import Path

import pytest
import torch

from rga.network import build
from rga.runs.compose import compose
from rga.tables import Row, load

TABLE = load("7")


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.name)
def test_depth_and_parameters_are_those_of_the_built_network(row: Row, cache: Path) -> None:
    (cifar100,) = [column for column in TABLE.columns if column.data == "cifar100"]
    config = compose(TABLE.runnable(row, cifar100) or ())
    with torch.device("meta"):
        network, channels = build(config["backbone"], config["attention"], config["data"]["size"])
    parameters = sum(parameter.numel() for parameter in network.parameters()) + 100 * (channels + 1)  # the classifier
    depth, paper, ours = (text.removesuffix("M") for text in row.about)
    assert config["backbone"]["depth"] == int(depth.removesuffix("+4"))
    assert (config["attention"]["block"] is not None) == depth.endswith("+4")
    assert f"{parameters / 1e6:.{len(ours.partition('.')[2])}f}" == ours
    unit = 10 ** len(paper.partition(".")[2])
    rounded, cut = round(parameters / 1e6 * unit), int(parameters / 1e6 * unit)
    assert (round(float(paper) * unit) in (rounded, cut)) == (row.note is None), "a difference is told"


def test_a_residual_network_has_narrower_ratios(cache: Path) -> None:
    """s1 = s2 = 4 in the CIFAR ResNet, 8 in DenseNet, for every block that has them."""
    for attention in ("rga_s", "rga_c", "rga_sc", "rga_cs", "rga_parallel", "rga_s_wo_rel", "rga_c_wo_vis"):
        for experiment, ratio in (("cifar_resnet", 4), ("cifar_densenet", 8)):
            block = compose([f"experiment={experiment}", f"attention={attention}"])["attention"]
            assert (block["block"]["reduction"], block["block"]["squeeze"]) == (ratio, ratio)
            assert block["after"] == [1]
