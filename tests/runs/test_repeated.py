"""Settings that repeat another one are set where they come from."""

import re
from pathlib import Path

import pytest
import yaml

from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs.compose import compose
from rga.runs.repeated import REPEATED, expect_set_at_source
from rga.tables import fill, load
from rga.tables.conditions import compared
from rga.tables.notes import notes


def repeated(node: object, path: str) -> dict[str, str]:
    found = {}
    for name, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, str) and (whole := re.fullmatch(r"\$\{([a-z][\w.]*)\}", value)):
            found[f"{path}.{name}"] = whole[1]
        found |= repeated(value, f"{path}.{name}")
    return found


def test_the_list_is_that_of_the_configs() -> None:
    found: dict[str, str] = {}
    for group in ("task", "data", "backbone", "attention", "head", "recipe", "trainer"):
        for path in (CONF / group).glob("*.yaml"):
            found |= repeated(yaml.safe_load(path.read_text(encoding="utf-8")), group)
    assert found.pop("data.seed") == "seed"  # may be another one, and is named then
    assert found.pop("data.cache") == "paths.cache"  # acts on nothing
    assert found.pop("data.root") == "data.table"  # which says where the images are if nothing else does
    assert found == REPEATED


@pytest.mark.parametrize(
    ("override", "source"),
    [
        ("data.batch=8", "recipe.batch=..."),
        ("++task.head.width=64", "head.width=..."),
        ("+task.block.reduction=4", "attention.block.reduction=..."),
        ("backbone.trunk.depth=8", "backbone.depth=..."),
        ("backbone.trunk.weights=null", "backbone.weights=..."),
        ("backbone.trunk.name=resnet18", "backbone.name=..."),
    ],
)
def test_the_source_is_named(cache: Path, override: str, source: str) -> None:
    experiment = {"task": "cityscapes", "backbone": "cifar_resnet"}.get(re.sub(r"\W.*", "", override.lstrip("+")))
    experiment = "cityscapes" if "weights" in override else experiment or "cifar_resnet"
    timm = ["backbone=timm", "backbone.name=resnet50"] if "trunk.name" in override else []
    with pytest.raises(ConfigError, match=re.escape(source)):
        expect_set_at_source([f"experiment={experiment}", *timm, override])


def test_a_value_of_ones_own_may_be_set(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [market1501]\nidentities: 8\n")
    expect_set_at_source(["data=mine", "data.identities=4"], config_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"recipe\.identities=\.\.\."):
        expect_set_at_source(["data.identities=4"], config_dir=tmp_path)


def test_a_network_is_called_what_it_is(cache: Path) -> None:
    with pytest.raises(ConfigError, match="keep its old name"):
        expect_set_at_source(["backbone.trunk.name=resnet18"])
    expect_set_at_source(["backbone.trunk.name=resnet18", "backbone.name=resnet18"])
    with pytest.raises(ConfigError, match=r"backbone=timm backbone\.name=resnet18"):
        expect_set_at_source(["backbone.name=resnet18"])
    expect_set_at_source(["backbone=timm", "backbone.name=resnet18"])
    with pytest.raises(ConfigError, match="keep its old name"):
        fill(load("1"), ["backbone.trunk.name=resnet18"])
    with pytest.raises(ConfigError, match=r"repeats backbone\.depth"):
        fill(load("7"), ["backbone.trunk.depth=20"])


def test_what_is_not_the_papers_is_not_compared_with_it(cache: Path) -> None:
    def of(*overrides: str) -> str:
        return compared(compose(["data=market1501", "attention=rga_s", *overrides]))

    papers = of()
    for same in ("trainer.precision=bf16-mixed", "backbone.weights=/x/resnet50.pth", "data.root=/x", "seed=3"):
        assert of(same) == papers, same
    for other in (
        "backbone.trunk.last_stride=2",
        "backbone.weights=null",
        "backbone.weights=runs/0123456789ab/0",
        "data.train_identities=32",
        "recipe.identities=4",
        "recipe.augment.erase=0",
        "task.feature=before_bn",
        "task.flip=true",
        "+trainer.limit_train_batches=2",
        "trainer.sync_batchnorm=false trainer.devices=2",
    ):
        assert of(*other.split()) != papers, other


def test_a_table_with_other_settings_has_no_difference_to_the_paper(cache: Path) -> None:
    def comparable(*overrides: str) -> set[bool]:
        return {entry.comparable for entry in fill(load("3"), ["data=market1501", *overrides]).entries}

    assert comparable("trainer.precision=bf16-mixed") == {True}
    assert comparable("task.flip=true") == {False}
    told = notes(fill(load("3"), ["data=market1501", "task.flip=true"]))
    assert told[0].endswith("; here with task.flip=true")


def test_a_seed_of_the_data_alone_is_no_tables(cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.seed: the seeds of a table are those of its runs"):
        fill(load("3"), ["data=market1501", "data.seed=0"])
