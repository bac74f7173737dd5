"""Whether a finished run that is about to be reused was made of what is there now."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import weights_path
from rga.runs import Run
from rga.runs.identity import starting_weights, weights_file
from rga.runs.index import Index
from rga.runs.inputs import Inputs


def compare_reused(this: Run) -> str:
    """Compare what a finished run was made of with what is there now; gives what is to be said where that cannot be.

    Synthetic data are a function of the config, which is the run's name; a file of weights is compared all the same.

    Raises:
        InputsError: they are not the same.
    """
    data, weights = this.config["data"], starting_weights(this.config)
    index, gone = None, []
    if data.get("demo") is None:
        if Path(data["root"]).exists():
            index = _index(json.dumps({key: value for key, value in data.items() if key != "seed"}))
        else:
            gone.append(f"its data: nothing is at {data['root']}")
    if weights_file(weights) is not None and not _is_there(weights):
        gone.append(f"its weights: nothing is at {weights}")
        weights = None
    Inputs.of({**this.config, "backbone": {"weights": weights}}, index).check(this.folder)
    return f" (not compared with {'; nor with '.join(gone)})" if gone else ""


def _is_there(weights: Any) -> bool:
    try:
        return weights_path(weights).exists()
    except ConfigError:  # a run's folder from which the weights are gone
        return False


@lru_cache(maxsize=4)  # the finished runs of a sweep are of few data sets
def _index(data: str) -> Index:
    from rga.network import component

    found: Index = component(json.loads(data)).index()
    return found
