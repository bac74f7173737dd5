"""`rga train`: a plain Hydra application, whose errors are one message."""

import functools
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from rga.cli import say
from rga.cli.problems import debugging, message_of, print_message


def train(context: typer.Context) -> None:
    """Train and test one run, or with -m a sweep: a plain Hydra application (rga train --help).

    rga train attention=rga_sc scale=demo

    rga train -m attention=none,rga_s,rga_c,rga_sc scale=demo

    rga train attention=rga_sc scale=small --explain    # trains nothing: what is set, and which layer says so
    """
    if "--explain" in context.args:
        say("\n".join(_explain([word for word in context.args if word != "--explain"])))
        return
    from rga.training.signals import not_begun, stopping

    with stopping(not_begun):
        import hydra

        from rga.paths import CONF
        from rga.runs.compose import expect_files_of_its_own
        from rga.runs.paths_in_overrides import quoted

        # hydra/launcher=ray, which is ours, is checked by the schema of Ray's launcher, as it should be.
        warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
        application = hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(task(list(sys.argv)))
        sweep, folder, others = _flags(context.args)
        if folder is not None:
            expect_files_of_its_own(folder)
        flags = [*(["-m"] if sweep else []), *([f"--config-dir={folder}"] if folder else [])]
        with _argv(["rga train", *flags, *quoted(others, sweep=sweep)]), _errors_as_they_are():
            application()


def _flags(words: list[str]) -> tuple[bool, str | None, list[str]]:
    """Whether it is a sweep, the further folder of configs, and the other words: overrides, and Hydra's other flags.

    Hydra takes overrides before or after its flags, but not on both sides.
    """
    sweep, folder, others = False, None, []
    following = iter(words)
    for word in following:
        flag, equals, value = word.partition("=")
        if word in ("-m", "--multirun"):
            sweep = True
        elif flag in ("-cd", "--config-dir") and (given := value if equals else next(following, "")):
            folder = given
        else:
            others.append(word)
    return sweep, folder, others


@contextmanager
def _errors_as_they_are() -> Iterator[None]:
    """Let Hydra raise what a run raises: it would print a traceback without its own part and end the process."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _explain(words: list[str]) -> list[str]:
    from rga.runs.settings import explain

    sweep, folder, overrides = _flags(words)
    if others := [*(["-m"] if sweep else []), *(word for word in overrides if word.startswith("-"))]:
        raise typer.BadParameter(
            f"--explain is of one run and takes overrides and --config-dir, not {' '.join(others)}"
        )
    return explain(overrides, config_dir=folder)


def task(argv: list[str]) -> Any:
    """`rga.training.loop.run` under the command line as given, which Lightning repeats to start further processes."""
    from rga.training import loop

    @functools.wraps(loop.run)
    def run(config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.errors import CompactHydraException
        from hydra.types import RunMode

        from rga.runs.repeated import expect_set_at_source

        try:
            given = HydraConfig.get()
            own = [source.path for source in given.runtime.config_sources if source.provider == "command-line"]
            expect_set_at_source(given.overrides.task, config_dir=own[0] if own else None)
            with _argv(argv):
                return loop.run(config)
        except Exception as error:
            text = message_of(error)
            if text is None or debugging():
                raise
            if HydraConfig.get().mode == RunMode.RUN:  # Hydra would say before it which overrides failed
                print_message(error)
                raise SystemExit(1) from error
            raise CompactHydraException(f"rga: {text}") from error  # of one job of a sweep

    return run


@contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before
