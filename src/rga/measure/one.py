"""One step, in a process that ends with whatever it breaks: `python -m rga.measure.one FUNCTION OPTIONS REPORT`."""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    """Call a function, MODULE:NAME, with options that are JSON, and write what it gives as JSON."""
    function, options, report = sys.argv[1:]
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name)(**json.loads(options))
    Path(report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
