"""From the name of a data set to its batches, at scale=demo: the config, the writer and the reader fit together."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from rga.data import check
from rga.runs.compose import compose

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize(
    ("name", "folder"), [("dukemtmc", "query"), ("msmt17_v1", "train/0000"), ("msmt17_v2", "mask_train_v2/0000")]
)
def test_a_demo_run_has_its_data(name: str, folder: str, tmp_path: Path) -> None:
    small = ["data.demo.identities=8", "data.demo.test_identities=3", "data.demo.images=2", "data.workers=0"]
    config = compose([f"data={name}", "scale=demo", f"paths.data={tmp_path}", *small])["data"]
    module = hydra.utils.instantiate(OmegaConf.create(config))
    module.prepare_data()
    module.setup("fit")
    assert (module.num_classes, module.summary["name"]) == (8, name)
    assert (tmp_path / "demo" / name / folder).is_dir()
    assert next(iter(module.train_dataloader()))["image"].shape[0] == 8 * 4
    tested = [int(identity) for batch in module.test_dataloader() for identity in batch["identity"]]
    assert len(tested) == module.summary["query"]["images"] + module.summary["gallery"]["images"]
    assert check(name, tmp_path / "demo" / name).ok


def test_the_paper_s_root_holds_both_versions(tmp_path: Path) -> None:
    one, two = (compose([f"data=msmt17_v{version}", f"paths.data={tmp_path}"])["data"] for version in (1, 2))
    assert one["root"] == two["root"] == f"{tmp_path}/msmt17"
    assert (one["name"], two["name"]) == ("msmt17_v1", "msmt17_v2")
