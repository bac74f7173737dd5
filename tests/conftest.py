"""What tests of several parts share."""

import os
import shutil
from pathlib import Path

import pytest

from rga.paths import CONF
from rga.training.engine import alone

TESTS = Path(__file__).parent

# Tests within a job of SLURM's, or in one of several processes, are no part of it: none is to put that job back into
# its queue.
_SLURM = {name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"}
for name in (os.environ.keys() - alone().keys()) | _SLURM:
    del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that send jobs to a SLURM, which may be a real one, run only if they are asked for: -m slurm."""
    if "slurm" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slurm")])
        items[:] = [item for item in items if not item.get_closest_marker("slurm")]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compositions for all tests: equal config trees compose once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's cache folder out of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache


@pytest.fixture
def small_conf(tmp_path: Path, cache: Path) -> Path:
    """A small config tree of the test's own (tests/tables/conf) with the real launcher's config."""
    conf = tmp_path / "conf"
    shutil.copytree(TESTS / "tables" / "conf", conf)
    shutil.copytree(CONF / "hydra", conf / "hydra")
    return conf
