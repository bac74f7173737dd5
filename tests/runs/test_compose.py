"""Composing a config without running it, and the cache of compositions."""

from pathlib import Path

import pytest

import rga.runs.compose
from rga.errors import ConfigError
from rga.runs.compose import compose


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of compositions that only the test sees."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_composes_and_resolves(small_conf: Path) -> None:
    config = compose(["attention=rga_s", "paths.data=/d", "seed=3"], conf=small_conf)
    assert config["attention"] == {"block": {"_target_": "rga_s"}, "after": [1, 2, 3, 4]}
    assert config["data"]["root"] == "/d/market1501"
    assert config["data"]["seed"] == 3
    assert "hydra" not in config


def test_the_cache_gives_the_same_and_notices_changes(small_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compose(["attention=rga_s"], conf=small_conf)
    with monkeypatch.context() as patch:
        patch.setattr(rga.runs.compose, "_compose", lambda *_: pytest.fail("not from the cache"))
        assert compose(["attention=rga_s"], conf=small_conf) == first
    (small_conf / "attention" / "rga_s.yaml").write_text("block: {_target_: another}\nafter: []\n")
    assert compose(["attention=rga_s"], conf=small_conf)["attention"]["block"] == {"_target_": "another"}
    (small_conf / "attention" / "new.yaml").write_text("block: null\nafter: [1]\n")
    assert compose(["attention=new"], conf=small_conf)["attention"]["after"] == [1]


def test_the_cache_keeps_no_resolved_values(small_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_conf / "task" / "reid.yaml").write_text("loss: ${oc.env:RGA_TEST}\n")
    for value in ("one", "two"):
        monkeypatch.setenv("RGA_TEST", value)
        assert compose([], conf=small_conf)["task"]["loss"] == value


def test_the_cache_may_be_damaged_or_forbidden(small_conf: Path, own_cache: Path) -> None:
    first = compose([], conf=small_conf)
    (kept,) = own_cache.rglob("*.json")
    kept.write_text("{")
    assert compose([], conf=small_conf) == first
    for path in sorted(own_cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    own_cache.rmdir()
    own_cache.write_text("a file where a folder is needed")
    assert compose([], conf=small_conf) == first


def test_the_cache_forgets_old_states(small_conf: Path, own_cache: Path) -> None:
    for number in range(12):
        (small_conf / "task" / "reid.yaml").write_text(f"loss: {number}\n" + "#" * number)
        compose([], conf=small_conf)
    assert len(list((own_cache / "rga" / "configs").iterdir())) == 8


def test_a_further_folder_of_configs(small_conf: Path, tmp_path: Path) -> None:
    more = tmp_path / "my configs"
    (more / "attention").mkdir(parents=True)
    (more / "attention" / "mine.yaml").write_text("block: {_target_: mine}\nafter: [4]\n")
    assert compose(["attention=mine"], conf=small_conf, config_dir=more)["attention"]["after"] == [4]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attenton=none", "attenton"),
        ("attention=no_such", "no_such"),
        ("task.loss.x=1", "loss"),
        ("attention=none,rga_s", "multirun"),
        ("paths.data=${nothing}", "nothing"),
    ],
)
def test_a_wrong_override_is_named(small_conf: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose([override], conf=small_conf)


def test_a_broken_file_is_named(small_conf: Path) -> None:
    (small_conf / "attention" / "rga_s.yaml").write_text("block: {a: 1")
    with pytest.raises(ConfigError, match=r"rga_s\.yaml"):
        compose(["attention=rga_s"], conf=small_conf)


def test_a_user_without_a_home(small_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is a number: without a cache."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert compose([], conf=small_conf)["data"]["root"].endswith("market1501")
