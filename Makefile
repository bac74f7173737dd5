# Two commands do everything, each from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test fast slurm gpu browser lint format docs clean

demo: $(INSTALLED)
	$(BIN)/rga table 1 --run scale=demo data=market1501

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# What takes a minute or so, while one writes: neither the slow tests nor those that train in processes of their own.
fast: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'not slow' --ignore tests/training

# On a SLURM of this machine, which is started if none runs: that takes root, and SLURM's packages.
slurm: $(INSTALLED)
	tests/slurm/up.sh
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slurm --timeout 1800 tests/slurm

# What needs a GPU, on a machine that has one.
gpu: $(INSTALLED)
	$(BIN)/pytest -m gpu

# The report in Debian's chromium, which is installed if there is none: that takes root.
browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	command -v chromium || apt-get install --yes --no-install-recommends chromium
	$(BIN)/pytest -m browser tests/browser

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in site/. The banner that is silenced is about another project's version 2.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "rga needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (PyTorch is large: a few minutes, once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache
