"""The table of all blocks, before anything is measured: its rows, its column, the runs that count."""

from pathlib import Path

import pytest

from rga.errors import ConfigError
from rga.paths import CONF
from rga.tables import Table, fill
from rga.tables.zoo import zoo

NAMES = {path.stem for path in (CONF / "attention").glob("*.yaml")}


def names(table: Table) -> list[str]:
    return [row.name for row in table.rows]


def test_every_config_is_a_row() -> None:
    table, rest = zoo(["data.size=[64,32]", "seed=0,1"])
    assert rest == ["data.size=[64,32]", "seed=0,1"]
    assert names(table)[0] == "none"
    assert len(names(table)) == len(NAMES)
    assert set(names(table)) == NAMES


def test_blocks_can_be_chosen() -> None:
    table, rest = zoo(["attention=se,cbam", "scale=demo"])
    assert names(table) == ["none", "se", "cbam"]
    assert rest == ["scale=demo"]
    assert names(zoo(["attention=rga_sc"])[0]) == ["none", "rga_sc"]
    chosen = zoo(["attention=glob(rga_*,exclude=*_wo_*)"])[0]
    assert set(names(chosen)) == {"none"} | {name for name in NAMES if name.startswith("rga_") and "_wo_" not in name}


@pytest.mark.parametrize(
    ("overrides", "data", "metrics"),
    [
        ([], "market1501", {"rank-1": "rank1", "mAP": "map"}),
        (["data=market1501_holdout"], "market1501_holdout", {"rank-1": "rank1", "mAP": "map"}),
        (["experiment=cifar_resnet", "data=cifar100"], "cifar100", {"error": "error"}),
        (["experiment=cityscapes"], "cityscapes", {"mIoU": "miou"}),
    ],
)
def test_the_column(overrides: list[str], data: str, metrics: dict[str, str]) -> None:
    (column,) = zoo(overrides)[0].columns
    assert (column.data, column.metrics, column.of_the_paper) == (data, metrics, False)


@pytest.mark.usefixtures("cache")
def test_what_a_network_changes_of_a_block_counts(tmp_path: Path) -> None:
    """The rows are the runs of `rga train`: conf/attention_in has its effect, and so have overrides."""
    table, rest = zoo(
        ["attention=rga_sc", "experiment=cifar_resnet", "attention.after=[1,2]", f"paths.runs={tmp_path}"]
    )
    entry = fill(table, rest).lines[1].cells[0].entry
    assert entry is not None
    assert set(entry.overrides) == {"data=cifar10", "attention=rga_sc", *rest}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attention=glob(zz*)"], "names no choice"),
        (["attention=glob(zz"], "glob"),
        (["data=nothing"], "data/nothing"),
        (["task._target_=my.Task"], "which metrics of my.Task"),
    ],
)
def test_what_cannot_be_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        zoo(overrides)
