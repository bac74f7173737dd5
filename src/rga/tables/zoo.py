"""The table of all attention blocks: a row for each choice of conf/attention, the chosen data set as its column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rga.errors import ConfigError
from rga.paths import CONF
from rga.tables.filling import is_hydra
from rga.tables.spec import Column, Row, Table

BARE = "none"  # the choice of conf/attention that leaves the network as it is
METRICS: Mapping[str, Mapping[str, str]] = {  # of a task: name in the table -> key among the metrics of a result
    "rga.tasks.ReID": {"rank-1": "rank1", "mAP": "map"},
    "rga.tasks.Classification": {"error": "error"},
    "rga.tasks.Segmentation": {"mIoU": "miou"},
}


def zoo(overrides: Sequence[str] = (), conf: Path = CONF) -> tuple[Table, list[str]]:
    """Make the table `attention`, to be filled as those of the paper are.

    Args:
        overrides: the user's. `attention=se,cbam` or `attention=glob(rga_*)` asks for these blocks alone, in the
            grammar of `rga train -m`; the bare network is always the first row.
        conf: the folder of `train.yaml`.

    Returns:
        The table, and the overrides that are left for `fill`.

    Raises:
        ConfigError: an override that names nothing, or a task whose metrics are not known here.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    chosen = [line for line in overrides if line.startswith("attention=")] or ["attention=glob(*)"]
    rest = [line for line in overrides if not line.startswith("attention=")]
    shared = [line for line in rest if not is_hydra(line) and not line.startswith("seed=")]
    with initialize_config_dir(str(conf), job_name="train", version_base="1.3"):
        try:
            parser = OverridesParser.create(GlobalHydra.instance().config_loader())
            (choice,) = parser.parse_overrides(chosen[-1:])
            sweep = choice.is_sweep_override()
            names = list(choice.sweep_string_iterator()) if sweep else [choice.get_value_element_as_str()]
            config = compose("train", shared, return_hydra_config=True)
        except HydraException as error:
            raise ConfigError(f"{' '.join([chosen[-1], *shared])}: {error}") from error
    if not names:
        raise ConfigError(f"{chosen[-1]} names no choice of conf/attention")
    task, data = config.task._target_, str(config.hydra.runtime.choices["data"])
    if "/" in data:  # such as paper/reid, which stands for another choice
        data = str(config.data.name)
    if task not in METRICS:
        raise ConfigError(f"which metrics of {task} to show is not known: add it to METRICS in {__file__}")
    rows = tuple(Row(name, (f"attention={name}",), ()) for name in dict.fromkeys([BARE, *names]))
    columns = (Column(data, data, METRICS[task], of_the_paper=False),)
    return Table("attention", "Attention blocks", "conf/attention", (), columns, rows), rest
