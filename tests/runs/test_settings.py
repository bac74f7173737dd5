"""What has the last word, how it is explained, and choices that do not belong together."""

from pathlib import Path

import pytest

from rga.errors import ConfigError
from rga.runs.compose import compose
from rga.runs.settings import explain

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of configs of one's own."""
    for name, text in {
        "experiment/mine.yaml": "# @package _global_\ndefaults: [reid, _self_]\nrecipe: {epochs: 120}\n",
        "attention/mine.yaml": "defaults: [rga_sc]\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("scale", ["paper", "small", "demo"])
def test_an_experiment_has_the_last_word_before_the_command_line(mine: Path, scale: str) -> None:
    asked = ["experiment=mine", f"scale={scale}"]
    assert compose(asked, config_dir=mine)["recipe"]["epochs"] == 120
    assert compose([*asked, "recipe.epochs=7"], config_dir=mine)["recipe"]["epochs"] == 7


def test_a_network_changes_blocks_that_derive_from_rga(mine: Path) -> None:
    for attention in ("rga_sc", "mine"):
        block = compose(["experiment=cifar_resnet", f"attention={attention}"], config_dir=mine)["attention"]["block"]
        assert (block["reduction"], block["squeeze"]) == (4, 4)
    block = compose(["attention=mine"], config_dir=mine)["attention"]["block"]
    assert (block["reduction"], block["squeeze"]) == (8, 8)


@pytest.mark.parametrize(("scale", "zero"), [("paper", False), ("small", True), ("demo", True)])
def test_how_gates_begin_is_the_scales(scale: str, zero: bool) -> None:
    for attention in ("rga_s", "rga_c_wo_rel", "rga_parallel", "nonlocal_rga_s"):
        asked = [f"attention={attention}", f"scale={scale}"]
        assert compose(asked)["attention"]["block"]["zero_init_last"] is zero
        assert (
            compose([*asked, "attention.block.zero_init_last=false"])["attention"]["block"]["zero_init_last"] is False
        )


@pytest.mark.parametrize(
    ("experiment", "data", "backbone"),
    [
        ("reid", "market1501_holdout", "mobilenetv2"),
        ("reid_tiny", "market1501_holdout", "tiny"),
        ("cityscapes", "camvid", "mobilenetv2"),
        ("cifar_resnet", "cifar10", "resnet20"),
    ],
)
def test_a_scale_chooses_data_and_network(experiment: str, data: str, backbone: str) -> None:
    config = compose([f"experiment={experiment}", "scale=small"])
    assert (config["data"]["name"], config["backbone"]["name"]) == (data, backbone)
    other = compose([f"experiment={experiment}", "scale=small", "backbone=resnet18"])
    assert (other["data"]["name"], other["backbone"]["name"]) == (data, "resnet18")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe.augment=null", "  recipe.augment is null (command line)"),
        ("~recipe.augment.erase", "  recipe.augment.erase is absent instead of 0.5 (command line)"),
    ],
)
def test_what_is_gone_is_explained(override: str, said: str) -> None:
    assert explain([override])[1:-1] == [said]


def test_what_nothing_reads_is_not_explained() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.epoch: nothing reads this setting; is it recipe\.epochs\?"):
        explain(["+recipe.epoch=1"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], []),
        (["scale=small"], []),
        (
            ["recipe.epochs=70"],
            ["but the learning rate never falls: the first of recipe.schedule.milestones is 80, and"],
        ),
        (
            ["recipe.epochs=10"],
            [
                "but the warm-up of 20 epochs (recipe.schedule.warmup) is not over after 10",
                "but the learning rate never",
            ],
        ),
    ],
)
def test_a_schedule_that_is_longer_than_the_training_is_told(overrides: list[str], said: list[str]) -> None:
    found = [line for line in explain(overrides) if line.startswith("but ")]
    assert len(found) == len(said)
    assert all(line.startswith(words) for line, words in zip(found, said, strict=True))


def test_an_explanation_reads_like_a_sentence() -> None:
    assert explain(["experiment=reid", "scale=small", "attention=rga_sc"]) == [
        "experiment=reid scale=small, where",
        "  data is market1501_holdout (experiment=reid, scale=small)",
        "  backbone is mobilenetv2 (experiment=reid, scale=small)",
        "  attention is rga_sc (command line)",
        "  data.size is [128, 64] instead of [256, 128] (scale=small)",
        "  attention.block.zero_init_last is true instead of false (scale=small)",
        "  recipe.epochs is 15 instead of 600 (scale=small)",
        "  recipe.schedule.warmup is 2 instead of 20 (scale=small)",
        "  recipe.schedule.milestones is [10, 13] instead of [80, 120, 160, 200, 240, 280, 320, 360] (scale=small)",
        "  recipe.schedule.gamma is 0.2 instead of 0.5 (scale=small)",
        "and every other value is as its file in conf/ has it",
    ]


def test_each_layer_is_named(mine: Path) -> None:
    lines = explain(["experiment=cifar_resnet", "attention=mine", "scale=demo", "recipe.epochs=4"], config_dir=mine)
    assert "  attention.block.reduction is 4 instead of 8 (backbone=demo/cifar_resnet)" in lines
    assert "  attention.after is [1] instead of [1, 2, 3, 4] (experiment=cifar_resnet)" in lines
    assert "  recipe.epochs is 4 instead of 164 (command line)" in lines
    assert "  recipe.batch is 16 instead of 128 (scale=demo)" in lines
    assert explain([]) == ["experiment=reid scale=paper: every value is as its file in conf/ has it"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data=cifar10"], "rga train experiment=cifar_resnet data=cifar10"),
        (["data=image_folder"], "For the data set: rga train experiment=image_folder data=image_folder. For"),
        (
            ["data=cifar100"],
            "rga train experiment=cifar_densenet data=cifar100 or rga train experiment=cifar_resnet data=cifar100. For",
        ),
        (["experiment=image_folder", "recipe=reid"], "recipe=cifar_resnet, recipe=image_folder"),
        (["experiment=cifar_resnet", "data=market1501"], "rga train experiment=reid data=market1501"),
        (["task=segmentation"], "rga train experiment=cityscapes"),
        (["recipe=cifar_resnet"], "recipe=reid"),
        (["experiment=cifar_resnet", "recipe=cityscapes"], "recipe=cifar_densenet, recipe=cifar_resnet"),
        (["head=aspp"], "head=ASPP is for segmentation"),
        (["task=segmentation", "data=cityscapes", "recipe=cityscapes"], "needs a head"),
    ],
)
def test_choices_that_do_not_belong_together(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose(overrides)
    assert told in str(error.value)
