"""Stands for `rga train` in the tests of the launcher: its attention says how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rga.runs import Run
from rga.runs.compose import compose


def main() -> None:
    config = compose([line for line in sys.argv[2:] if not line.startswith("hydra.")], conf=sys.argv[1])
    block = (config["attention"]["block"] or {}).get("_target_", "none")
    run = Run(config["paths"]["runs"], config)
    if block == "broken":
        print("computing\nValueError: the loss is not finite")
        print("\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.")
        sys.exit(3)
    if block == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if block == "slow":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(config["paths"]["runs"], "pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(60)
    environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    run.write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "environment": environment, "arguments": sys.argv[2:]})


if __name__ == "__main__":
    main()
