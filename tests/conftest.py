"""What tests of several parts share."""

import shutil
from pathlib import Path

import pytest

from rga.paths import CONF

TESTS = Path(__file__).parent


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
