"""Launchers and sweepers of others: the same runs as with ours, whatever starts them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rga.runs import find_results
from training.command import _environment as environment
from training.command import command, train, what_counts

pytestmark = pytest.mark.slow
SEEDS = ["seed=0,1", "recipe.epochs=1"]


def results(folder: Path) -> list[Any]:
    return [what_counts(result) for results in find_results(folder).values() for result in results]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder of the data, and what counts of two runs that our own launcher has started."""
    folder = tmp_path_factory.mktemp("launchers")
    train(folder / "ours", *SEEDS, sweep=True)
    return folder, results(folder / "ours")


def test_joblib(expected: tuple[Path, list[Any]]) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder, counts = expected
    train(folder / "joblib", *SEEDS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", sweep=True)
    assert results(folder / "joblib") == counts


def test_ray_on_this_machine(expected: tuple[Path, list[Any]]) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    folder, counts = expected
    ray = ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=0", "hydra.launcher.ray.remote.num_cpus=1"]
    train(folder / "ray", *SEEDS, *ray, "+hydra.launcher.ray.init.include_dashboard=false", sweep=True)
    assert results(folder / "ray") == counts


def test_a_study_in_two_processes(expected: tuple[Path, list[Any]]) -> None:
    """They share the study by its storage and the runs by their folder: what the other one is making is no failure."""
    optuna = pytest.importorskip("optuna")
    folder, _ = expected
    optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", study_name="study", direction="maximize")
    study = [
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "hydra.sweeper.study_name=study",
        f"hydra.sweeper.storage=sqlite:///{folder / 'study.db'}", "hydra.sweeper.direction=maximize", "objective=map",
        "recipe.optimizer.lr=choice(0.001,0.002)", "hydra.sweeper.sampler.seed=1", "recipe.epochs=1",
    ]  # fmt: skip
    train(folder / "first", "recipe.epochs=1")  # the data, which both would write
    line = command(folder / "study", *study, sweep=True)
    both = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    (best,) = (folder / "study").rglob("optimization_results.yaml")
    assert "best_value" in best.read_text()
    made = [result for found in find_results(folder / "study").values() for result in found]
    assert 1 <= len(made) <= 2
    assert f"best_value: {max(result['metrics']['map'] for result in made)}" in best.read_text()


def test_what_is_not_installed(tmp_path: Path) -> None:
    """One line says what to install."""
    for launcher, module in (("slurm", "hydra_submitit_launcher"), ("ray", "hydra_ray_launcher")):
        code = f"""
import sys
sys.modules["hydra_plugins.{module}"] = None
sys.argv = ["rga", "train", "-m", "hydra/launcher={launcher}", "seed=0,1"]
from rga.cli.app import main
main()
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        assert "pip install 'rga[cluster]'" in done.stderr
        assert "Traceback" not in done.stderr
