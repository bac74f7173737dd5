"""Whatever ends a run, nothing is lost: runs, sweeps and workers are ended at random places until they are finished.

    python experiments/kills.py FOLDER [--kills 100] [--seed 0]

Three things are made over and over on small synthetic data, each in a folder of its own: a run, a sweep of two seeds,
and two workers that share a plan. While one is made, it is ended at random times by SIGKILL, SIGTERM or SIGUSR1, or the
disk is full (a file takes all that is left of it, until it has ended), and started again by the same command. When it
is finished, metrics and curves have to be those of undisturbed runs, bit for bit, and the files those of one that was
never ended. FOLDER is on a small disk of its own, for which `mount -t tmpfs -o size=256m tmpfs FOLDER` will do.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OVERRIDES = [
    "scale=demo", "data.size=[64,32]", "recipe.identities=4", "recipe.epochs=8", "trainer.accelerator=cpu",
    "trainer.checkpoint_minutes=0",
    "++data.demo={identities: 20, test_identities: 6, images: 4, distractors: 2, junk: 1, seed: 0}",
]  # fmt: skip
ENDS = ("SIGKILL", "SIGTERM", "SIGUSR1", "full disk")
RGA = [sys.executable, "-m", "rga"]


class Scene:
    """Something that is made: its commands, which run side by side, and the folder of its runs."""

    def __init__(self, folder: Path, commands: Callable[[list[str]], list[list[str]]]) -> None:
        self.runs = folder / "runs"
        self.overrides = [*OVERRIDES, f"paths.runs={self.runs}", f"paths.data={folder.parent / 'data'}"]
        self.commands = commands(self.overrides)

    def start(self) -> list["subprocess.Popen[bytes]"]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.runs.parent}
        return [subprocess.Popen(command, **quiet) for command in self.commands]  # type: ignore[call-overload]

    def made(self) -> dict[str, Any]:
        """What counts of every result."""
        found = {}
        for path in sorted(self.runs.glob("*/*/result.json")):
            result = json.loads(path.read_text())
            curve = [{key: entry[key] for key in entry if key != "images_per_second"} for entry in result["curve"]]
            found[f"{path.parent.parent.name}/{path.parent.name}"] = (result["metrics"], curve)
        return found

    def files(self) -> set[str]:
        """All files of its runs but for consoles and CSV logs, of which each start makes new ones."""
        files = (path.relative_to(self.runs).as_posix() for path in self.runs.glob("[0-9a-f]*/**/*") if path.is_file())
        return {name for name in files if "console" not in name and "/csv/" not in name}


def scenes(folder: Path) -> dict[str, Callable[[], Scene]]:
    plan = folder / "plan.jsonl"
    return {
        "run": lambda: Scene(folder / "run", lambda given: [[*RGA, "train", *given]]),
        "sweep": lambda: Scene(folder / "sweep", lambda given: [[*RGA, "train", "-m", "seed=0,1", *given]]),
        "workers": lambda: Scene(folder / "workers", lambda given: [[*RGA, "work", str(plan)]] * 2),
    }


def end(process: "subprocess.Popen[bytes]", how: str, folder: Path) -> None:
    if how != "full disk":
        process.send_signal(getattr(signal, how))
        process.wait()
        return
    ballast = folder / "ballast"
    try:
        with ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 2**16)
                file.flush()
    except OSError:
        process.wait()
    finally:
        ballast.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder, draw = options.folder.absolute(), random.Random(options.seed)
    if shutil.disk_usage(folder).total > 2**30:
        parser.error(f"{folder} is on a disk of more than a GiB, which would be filled: mount a small one")
    os.environ["OMP_NUM_THREADS"] = "1"

    for name in ("run", "sweep", "workers"):
        (folder / name).mkdir()
    makers = scenes(folder)
    given = makers["workers"]().overrides
    rows = ["3", "data=market1501", "seed=0", *given]
    subprocess.run([*RGA, "plan", *rows, "--out", str(folder / "plan.jsonl")], check=True, cwd=folder)
    whole, seconds = {}, {}
    for name, maker in makers.items():
        scene, begun = maker(), time.monotonic()
        for process in scene.start():
            assert process.wait() == 0, f"{name}, undisturbed, ended with {process.returncode}"
        whole[name], seconds[name] = (scene.made(), scene.files()), time.monotonic() - begun
        print(f"{name}, undisturbed: {len(whole[name][0])} runs", flush=True)

    kills: collections.Counter[str] = collections.Counter()
    finished: collections.Counter[str] = collections.Counter()
    while kills.total() < options.kills:
        name = draw.choice(list(makers))
        scene, starts = makers[name](), 0
        shutil.rmtree(scene.runs)
        while len(scene.made()) < len(whole[name][0]):
            processes, starts = scene.start(), starts + 1
            assert starts < 100, f"{name} is never finished"
            until = time.monotonic() + draw.uniform(0, seconds[name])
            while time.monotonic() < until and any(process.poll() is None for process in processes):
                time.sleep(0.05)
            for process in processes:
                if process.poll() is None and kills.total() < options.kills:
                    how = draw.choice(ENDS)
                    end(process, how, folder)
                    kills[how] += 1
            for process in processes:
                process.wait()
        for process in scene.start():  # finds all finished
            assert process.wait() == 0, f"{name}, finished, ended with {process.returncode}"
        finished[name] += 1
        assert scene.made() == whole[name][0], f"{name}: other results than undisturbed"
        assert scene.files() == whole[name][1], f"{name}: other files: {scene.files() ^ whole[name][1]}"
        print(f"{name}: as undisturbed after {starts} starts; {kills.total()} of {options.kills} kills", flush=True)
    print(f"kills: {dict(kills)}; made to the end: {dict(finished)}; all results and files as undisturbed")


if __name__ == "__main__":
    main()
