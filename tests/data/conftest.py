from pathlib import Path

import pytest

from rga.data.demo import writers


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo set, not to be changed."""
    root = tmp_path_factory.mktemp("demo") / "market1501"
    return writers.write_market1501(root, identities=9, test_identities=4, images=2, distractors=5, junk=3)
