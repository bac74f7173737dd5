"""What goes wrong is one line: what, which file or setting, what to do. Mistakes of ours keep their traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from rga.cli.app import main
from rga.cli.problems import message_of, take_debug
from rga.errors import ConfigError, DataError
from rga.files import atomic_file
from rga.inference.figure3 import spread
from rga.losses import BatchHardTriplet
from rga.metrics.match_ranks import find_places
from rga.runs.compose import compose
from rga.runs.kinds import expect_kinds, expect_known
from rga.training import loop
from rga.training.checkpoints import AtomicCheckpointIO, time_limit


def caught(what: Any, *args: Any, **options: Any) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        what(*args, **options)
    return raised.value


def throw(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("no images in x"), ["no images in x"]),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), ["no space", "runs/x", "paths.runs"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ["no space", "resumes"]),
        (OSError(errno.EROFS, "Read-only file system", "runs/x"), ["no permission (runs/x)", "paths.runs=FOLDER"]),
        (OSError(errno.EFBIG, "File too large", "runs/x"), ["ulimit -f", "runs/x", "resumes"]),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), ["no permission (runs/x)", "paths.runs=FOLDER"]),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.pth"), ["No such file", "a.pth"]),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x/y"), ["x/y is a file, or lies in one"]),
        (FileExistsError(errno.EEXIST, "File exists", "x"), ["x is a file, or lies in one"]),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), ["x is a folder: name a file"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), ["out of memory", "recipe.batch", "ddp"]),
        (MemoryError(), ["memory is full", "recipe.batch"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ["recipe.identities"]),
        (RuntimeError("Found no NVIDIA driver on your system. Please"), ["trainer=auto", "--device cpu"]),
        (AssertionError("Torch not compiled with CUDA enabled"), ["one for CPUs"]),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), ["data.workers=0"]),
        (RuntimeError("Error(s) in loading state_dict for ReID:\n\tMissing"), ["rerun=true"]),
        (MisconfigurationException("No supported gpu backend\nfound!"), ["No supported gpu backend found!"]),
        (ModuleNotFoundError("No module named 'h5py'", name="h5py"), ["h5py", "pip install"]),
        (TypeError("f() got an unexpected keyword argument 'splt'"), ["'splt'", "an option in a config"]),
        (
            wandb.errors.CommError("Failed to get resume status: no such host"),
            ["wandb: Failed to get resume status", "logger.wandb.offline=true", "logger=csv"],
        ),
    ],
)  # fmt: skip
def test_what_is_told(error: BaseException, said: list[str]) -> None:
    text = message_of(caught(throw, error))
    assert text is not None
    assert "\n" not in text
    for words in said:
        assert words in text


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        AssertionError(),
        KeyError("x"),
        IndexError("list index out of range"),
        TypeError("unsupported operand"),
        ValueError("raised by a test, not by rga"),
        RuntimeError("shapes (3, 4) and (5,) not aligned"),
        ModuleNotFoundError("No module named 'rga.nothing'", name="rga.nothing"),
    ],
)
def test_mistakes_of_ours_are_not_told_away(error: BaseException) -> None:
    assert message_of(caught(throw, error)) is None


def test_a_mistake_while_an_error_is_handled_is_no_less_one() -> None:
    def handle() -> None:
        try:
            raise ConfigError("a setting")
        except ConfigError:
            _ = 1 / 0

    assert message_of(caught(handle)) is None


def test_what_rga_raises_is_for_people() -> None:
    """A ValueError of the package, about the user's data or options; not one that Python raises within it."""
    assert message_of(caught(BatchHardTriplet(0.3), torch.randn(4, 2), torch.tensor([1, 2, 3, 4]))) is not None
    assert message_of(caught(time_limit, "x")) is not None
    assert message_of(caught(spread, [Path("a")], "two")) is None


class Images(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise DataError("a.jpg does not decode")


def test_an_error_in_a_process_that_decodes_is_the_error() -> None:
    assert message_of(caught(list, DataLoader(Images(), num_workers=1))) == "a.jpg does not decode"


def test_a_component_that_cannot_be_built() -> None:
    text = message_of(caught(instantiate, {"_target_": "rga.attention.Nothing"}))
    assert text is not None
    assert "rga.attention.Nothing" in text
    assert "\n" not in text
    assert message_of(caught(instantiate, {"_target_": "operator.truediv", "_args_": [1, 0]})) is None


@pytest.mark.slow
@pytest.mark.parametrize("content", [torch.zeros(1000), torch.zeros(10_000_000)], ids=["small", "large"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: torch.Tensor) -> None:
    """/dev/full is one; a checkpoint's folder keeps what was there."""
    path = tmp_path / "last.ckpt"
    path.write_text("before")
    save = torch.save

    def full(checkpoint: Any, file: Any) -> None:
        with Path("/dev/full").open("wb") as target:
            save(checkpoint, target)
            target.flush()

    monkeypatch.setattr(torch, "save", full)
    text = message_of(caught(AtomicCheckpointIO().save_checkpoint, {"state_dict": content}, path))
    assert text is not None
    assert "no space is left on the disk" in text
    assert str(path) in text
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def write() -> None:
        with atomic_file(tmp_path / "file" / "run" / "result.json") as file:
            file.write(b"")

    text = message_of(caught(write))
    assert text is not None
    assert str(tmp_path / "file") in text


@pytest.mark.parametrize("content", [b"", b"hello", {"state_dict": {}}, [1, 2]])
def test_a_damaged_checkpoint(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "last.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    text = message_of(caught(AtomicCheckpointIO().load_checkpoint, path))
    assert text is not None
    assert str(path) in text
    assert "the run begins anew" in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe.epochs=two", "recipe.epochs=two: expected a whole number, such as recipe.epochs="),
        ("recipe.epochs=null", "recipe.epochs=null: expected a whole number"),
        ("recipe.epochs=2.5", "recipe.epochs=2.5: expected a whole number"),
        ("recipe.epochs=-1", "recipe.epochs=-1: expected at least 1"),
        ("recipe.optimizer.lr=fast", "recipe.optimizer.lr=fast: expected a number, such as"),
        ("recipe.optimizer=adam", "recipe.optimizer=adam: expected a mapping"),
        ("recipe.schedule.milestones=[1,x]", "expected a list of numbers"),
        ("seed=one", "seed=one: expected a whole number"),
        ("seed=-1", "seed=-1: expected at least 0"),
        ("seed=1.5", "seed=1.5: expected a whole number"),
        ("rerun=yes please", "expected true or false"),
        ("data.size=[64,wide]", "data.size=[64, 'wide']: expected a list of numbers"),
        ("data.workers=many", "data.workers=many: expected a whole number"),
        ("data.size=[64.5,32]", "data.size=[64.5, 32]: expected whole numbers, such as data.size="),
        ("task.margin=wide", "task.margin=wide: expected a number"),
        ("task.triplet_weight=-1", "task.triplet_weight=-1: expected at least 0"),
        ("attention.block.reduction=big", "attention.block.reduction=big: expected a whole number"),
        ("data.train_identities=abc", "data.train_identities=abc: expected a whole number, such as"),
        ("data.train_identities=32.0", "data.train_identities=32.0: expected a whole number, such as"),
        ("data.train_identities=0", "data.train_identities=0: expected at least 1"),
        ("+trainer.gradient_clip_val=abc", "trainer.gradient_clip_val=abc: expected a number"),
        ("trainer.log_every_n_steps=0", "expected at least 1"),
        ("+trainer.accumulate_grad_batches=two", "expected a whole number"),
    ],
)
def test_values_of_another_kind(cache: Path, tmp_path: Path, override: str, said: str) -> None:
    override = override.replace("yes please", "'yes please'")
    config = compose(["scale=demo", "attention=rga_sc", f"paths.runs={tmp_path}", override])
    error = caught(loop.run, OmegaConf.create(config))
    assert isinstance(error, ConfigError)
    assert said in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe.optimizer.lr=1", "attention.after=[layer1]", "trainer.devices=2", "trainer.channels_last=true"],
        ["data.demo=null", "data.cache=null", "recipe.augment=null", "backbone.weights=x.pth", "trainer.devices=[0,1]"],
        ["experiment=cityscapes", "head=aspp", "task.grid=false", "data.class_weights=null"],
        ["experiment=cifar_densenet", "scale=small"],
    ],
)
def test_values_that_make_sense(cache: Path, overrides: list[str]) -> None:
    expect_kinds(compose(overrides))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(cache: Path, tmp_path: Path, device: str) -> None:
    config = compose(["scale=demo", f"paths.runs={tmp_path}", f"trainer.accelerator={device}"])
    text = message_of(caught(loop.run, OmegaConf.create(config)))
    assert text is not None
    assert "accelerator" in text or "gpu" in text.lower()
    assert "\n" not in text


def test_debug_is_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RGA_DEBUG", raising=False)
    assert take_debug(["rga", "table", "1"]) == ["rga", "table", "1"]
    assert take_debug(["rga", "test", "--", "--debug"]) == ["rga", "test", "--", "--debug"]
    assert "RGA_DEBUG" not in os.environ
    monkeypatch.setenv("RGA_DEBUG", "")
    assert take_debug(["rga", "train", "--debug", "a=b"]) == ["rga", "train", "a=b"]
    assert os.environ["RGA_DEBUG"] == "1"


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Any:
    """Run `rga train` with a run that fails so; gives the exit status."""
    monkeypatch.setenv("RGA_DEBUG", "")
    monkeypatch.chdir(tmp_path)

    def command(how: Any, *words: str) -> int:
        def run(config: Any) -> None:
            how()

        monkeypatch.setattr(loop, "run", run)
        monkeypatch.setattr(sys, "argv", ["rga", "train", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return command


def test_a_failed_run_is_one_line(fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(lambda: throw(OSError(errno.ENOSPC, "No space left on device", "a\x1b[2Jb"))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"rga: no space is left on the disk (a\u001b[2Jb): free some space")


def test_a_mistake_of_ours_says_so(fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(lambda: find_places(None, None, None)) == 1  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1].startswith("rga: this is a mistake in rga")
    assert fails(lambda: 1 / 0) == 1  # of whoever
    assert capsys.readouterr().err.splitlines()[-1].startswith("rga: this error is not known to rga")


def test_debug_shows_the_traceback(fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(lambda: None)
    monkeypatch.setattr("rga.training.loop.run", lambda config: throw(ConfigError("a setting")))
    monkeypatch.setattr(sys, "argv", ["rga", "train", "--debug"])
    with pytest.raises(ConfigError, match="a setting"):
        main()


def test_a_config_that_is_no_yaml(fails: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own" / "attention").mkdir(parents=True)
    (tmp_path / "own" / "attention" / "mine.yaml").write_text("block: {\n")
    assert fails(lambda: None, "--config-dir", str(tmp_path / "own"), "attention=mine") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rga: ")
    assert "mine.yaml" in line


def interrupted_in_lightning() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize("how", [lambda: throw(KeyboardInterrupt()), interrupted_in_lightning])
def test_an_interrupted_run_says_how_to_go_on(fails: Any, how: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(how) == 130
    assert capsys.readouterr().err == "rga: interrupted; the same command resumes from what was saved\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+recipe.epoch=2"], r"recipe\.epoch: nothing reads this setting; is it recipe\.epochs\?"),
        (["+recipes=2"], r"recipes: nothing reads this setting; is it recipe\?"),
        (["+experiment.recipe.epochs=2"], "# @package _global_"),
        (["+attention.afer=[1]"], r"is it attention\.after\?"),
    ],
)
def test_settings_that_nothing_reads(cache: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expect_known(OmegaConf.create(compose([*overrides], resolve=False)))


def test_a_setting_of_ones_own_that_another_one_refers_to(cache: Path) -> None:
    expect_known(OmegaConf.create(compose(["+mine.rate=2", "recipe.optimizer.lr=${mine.rate}"], resolve=False)))


@pytest.mark.parametrize("experiment", ["reid", "cifar_resnet", "cifar_densenet", "cityscapes"])
def test_what_is_installed_is_known(cache: Path, experiment: str) -> None:
    for scale in ("paper", "small", "demo"):
        overrides = [f"experiment={experiment}", f"scale={scale}", "attention=rga_sc"]
        expect_known(OmegaConf.create(compose(overrides, resolve=False)))
        expect_known(OmegaConf.create(compose(overrides)))


def test_a_group_without_an_answer(cache: Path) -> None:
    text = message_of(caught(compose, ["attention=null"]))
    assert text is not None
    assert "such as attention=none" in text


def test_a_terminal_that_cannot_show_a_sign(cache: Path) -> None:
    """An error while a table is printed would lose the exit status of all its runs."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "rga", "table", "which_stage"]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert "\\u2013 no run yet" in shown
