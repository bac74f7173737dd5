"""What the pages say can be done: commands compose, examples run, links resolve, and what is named is there."""

import doctest
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

import rga
from rga.cli.app import _BENCHES, Bench, app
from rga.paths import CONF, EXPERIMENTS
from rga.runs.compose import compose
from rga.runs.settings import explain
from rga.tables import load
from rga.tables.filling import is_hydra
from rga.tables.spec import Table
from rga.tables.zoo import zoo

ROOT = EXPERIMENTS.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), EXPERIMENTS / "README.md"])
OWN = {"mine": {"block": {"_target_": "my_blocks.Mine", "_partial_": True}, "after": [1]}}  # what docs/zoo.md adds
FOLDERS = (ROOT, ROOT / "src" / "rga", CONF)  # to which the names of files in pages are relative

pytestmark = pytest.mark.usefixtures("cache")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each `rga ...`, without variables before it and comments behind it."""
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
            for name in ("rga", ".venv/bin/rga"):
                if name in words[:2] or words[:1] == [name]:
                    yield words[words.index(name) + 1 :]
            if words[-1:] and "-m rga" in line:  # torchrun ... -m rga train ...
                yield words[words.index("rga") + 1 :]


COMMANDS = [pytest.param(words, id=" ".join([page.stem, *words])) for page in PAGES for words in commands(page)]


def test_pages_have_commands() -> None:
    """Were the pages written in another way, nothing would be tested."""
    assert len(COMMANDS) > 60


@pytest.fixture
def own_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_conf"
    (folder / "attention").mkdir(parents=True)
    for name, content in OWN.items():
        (folder / "attention" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_line_understands(words: list[str], own_configs: Path) -> None:
    """The command is parsed, and not run; its overrides are composed for the run, or for all rows of the table."""
    command = typer.main.get_command(app)
    context = command.make_context("rga", words[:1], resilient_parsing=True)
    name, rest = words[0], words[1:]
    command = command.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, f"there is no rga {name}"
    if hasattr(command, "commands"):  # rga data check
        name, rest = rest[0], rest[1:]
        command = command.get_command(context, name)
        assert command is not None, f"there is no rga {' '.join(words[:2])}"
    parsed = command.make_context(name, list(rest), parent=context)
    overrides = [word for word in parsed.params.get("overrides") or [] if "=" in word]
    if name == "train":
        train(list(rest), own_configs)
    elif name == "cost":
        zoo(overrides)
    elif name in ("table", "figure") and (of := parsed.params.get("name") or parsed.params.get("number")):
        own_block = [word for word in overrides if name == "figure" and word.startswith("attention=")]
        row_of(load(of, kind=name), [word for word in overrides if word not in own_block])
        compose(own_block)
    elif name == "bench":
        bench(rest)
    elif overrides:
        compose(overrides)


def row_of(table: Table, overrides: Sequence[str]) -> None:
    """One of the runs that a table asks for."""
    row = next(row for row in reversed(table.rows) if row.overrides is not None)
    column = next(column for column in table.columns if column.data is not None)
    runnable = table.runnable(row, column)
    assert runnable is not None
    compose([*runnable, *(first_of_sweep(word) for word in overrides if not is_hydra(word))])


def train(words: Sequence[str], own_configs: Path) -> None:
    words, config_dir = list(words), None
    if "--config-dir" in words:
        place = words.index("--config-dir")
        assert words[place + 1] == own_configs.name
        words, config_dir = [*words[:place], *words[place + 2 :]], own_configs
    options = {word for word in words if word.startswith("-")}
    assert options <= {"-m", "--help", "--explain"}
    overrides = [word for word in words if word not in options and not is_hydra(word)]
    if "-m" in options:
        OverridesParser.create().parse_overrides(overrides)
        overrides = [first_of_sweep(word) for word in overrides]
    compose(overrides, config_dir=config_dir)
    if "--explain" in options:
        assert explain(overrides, config_dir=config_dir)


def first_of_sweep(override: str) -> str:
    key, _, value = override.partition("=")
    if glob := re.fullmatch(r"glob\((.*)\)", value):
        return f"{key}={min(path.stem for path in (CONF / key).glob(glob[1] + '.yaml'))}"
    return override if value.startswith(("[", "{")) else f"{key}={value.partition(',')[0]}"


def bench(words: Sequence[str]) -> None:
    measure = typer.Typer()
    measure.command()(importlib.import_module(f"rga.bench.{_BENCHES[Bench(words[0])]}").main)
    typer.main.get_command(measure).make_context(words[0], list(words[1:]))


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{page.stem}-{n}")
        for page in PAGES
        for n, block in enumerate(blocks(page, "python"))
    ],
)
def test_python_runs(page: Path, block: str) -> None:
    """Without downloads."""
    exec(compile(block.replace("pretrained=True", "pretrained=False"), str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}; there are {anchors(linked)}"


def anchors(page: Path) -> list[str]:
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "CHANGELOG"], ids=lambda page: page.stem)
def test_what_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`([^`\n]+)`", of_this_code(text(page))):
        if re.fullmatch(r"rga(\.\w+)+", name):
            pkgutil.resolve_name(name)
        elif re.fullmatch(r"[\w-]+(/[\w.-]+)*/[\w-]+\.(py|yaml|md|ipynb|svg|npz)", name) and not invented(name):
            assert any((folder / name).exists() for folder in FOLDERS), f"{page.name}: {name}"


def invented(name: str) -> bool:
    """Files that a reader is to write."""
    return "NAME" in name or name.startswith("my_conf/")


def of_this_code(page: str) -> str:
    """A page without the columns of its tables that are about others' code (docs/fidelity.md)."""
    lines, first = [], 0
    for line in page.splitlines():
        cells = line.split(" | ") if line.startswith("|") else []
        if "here" in cells:
            first = cells.index("here")
        lines.append(" | ".join(cells[first:]) if cells else line)
        first = first if cells else 0
    return "\n".join(lines)


def documented() -> list[str]:
    """The modules of the library parts whose examples are run."""
    names = ["rga.plugin"]
    for package in ("rga.attention", "rga.metrics"):
        inside = pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
        names += [package, *(module.name for module in inside)]
    return names


@pytest.mark.parametrize("name", documented())
def test_examples_of_docstrings(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not failed


def test_public_functions_have_examples() -> None:
    """Of the plugin and the metrics each; the blocks are used alike, and the package shows how."""
    for module in (rga.plugin, rga.metrics):
        for name in getattr(module, "__all__", ["plug", "output_shapes", "is_channels_last"]):
            if name != "RankingResult":
                assert ">>>" in getattr(module, name).__doc__, name
