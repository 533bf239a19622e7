# make demo         sample videos, untrained demo models, a ranking on the screen
# make test         linters, types, import rules, tests
# make quick        the first minute of that: linters, types, import rules, tests of the core
# make integration  tests beside real servers, where radosgw, Redis, PostgreSQL and Chromium are installed
# make everything   all other tests of test and integration side by side: CI runs it after quick
# make lock         constraints.txt after pyproject.toml; with UPGRADE=--upgrade the newest of everything
# make schema       hookline/prefect.sql after the installed Prefect, when its migrations have changed
# make docs         the pages of docs/ as a site: site/index.html
# make bench        how fast it is, beside its baselines, how a night grows, how soon it starts, what it learns: an hour or more
# make deploy       work pool, deployments and automations on the Prefect server of PREFECT_API_URL; for the nightly
#                   run: make deploy SOURCE=s3://... OUTPUT=s3://... [SETTINGS=settings.yaml] [SCHEDULE=on|off|'0 2 * * *']
# make chaos        fifty runs killed at random moments, and what the next run makes of it: twenty minutes
# Each sets up .venv first, on any machine with Python 3.11+.

PYTHON ?= python3
# Threads that wait spin by default, and take the cores from the others.
export OMP_WAIT_POLICY := PASSIVE
# What pip installs here is compiled when it is first imported. Where this is set, that is lost, and every
# process compiles it all again: half the time that a server, a worker or a run needs to start.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
CORE := tests/core tasks/core
# Four for two cores: the longest tests wait for clocks, servers and pages most of their time.
# In the order of tests/conftest.py: pytest-xdist would begin with the files of most tests.
SIDE_BY_SIDE := --numprocesses 4 --dist loadfile --no-loadscope-reorder $(addprefix --ignore ,$(CORE))
READY := .venv/.complete

.PHONY: setup demo test quick lint core compiled integration everything lock schema deploy docs bench chaos clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Setting up .venv: a few minutes, once"
	@$(PYTHON) -m venv .venv
	@# uv takes a fraction of pip's time, but knows no settings of pip: a folder of wheels, with torch's build for
	@# CPUs in it, or another index.
	@$(PIP) --no-deps setuptools torch uv
	@$(BIN)/uv pip install --quiet --python .venv -c constraints.txt --no-build-isolation -e '.[dev]' \
	  || $(PIP) --no-build-isolation -e '.[dev]'
	@touch $(READY)

demo: setup
	$(BIN)/hookline demo

test: quick
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

quick: lint core

core: setup
	$(BIN)/python -m pytest $(CORE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/deptry hookline flows tasks deployments
	$(BIN)/mypy
	$(BIN)/lint-imports

# Everything is imported, and a server started, for the first time: compiled and migrated once, not by four at once.
compiled: setup
	$(BIN)/python -m pytest -m 'integration or not integration' -k test_nothing_to_rank_exits_with_1

integration: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m integration tests/integration

everything: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'integration or not integration'

lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --annotation-style line --quiet \
	  --custom-compile-command 'make lock' $(UPGRADE) --output-file constraints.txt
	@# torch pins its CUDA packages itself, and a CPU build of it has none.
	sed -E '/^(cuda-|nvidia-|triton==)/d' constraints.txt >constraints.new && mv constraints.new constraints.txt

deploy: setup
	$(BIN)/python -m deployments.deploy "$(SOURCE)" "$(OUTPUT)" $(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(SCHEDULE),--schedule "$(SCHEDULE)")

schema: setup
	$(BIN)/python -m tests.prefect_schema > prefect.new && mv prefect.new hookline/prefect.sql

docs: setup
	$(BIN)/python -m tests.docs.settings_page > docs/settings.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/nights.py
	$(BIN)/python benchmarks/estimates.py
	$(BIN)/python benchmarks/start.py
	PYTHONPATH=. $(BIN)/python benchmarks/learning.py

chaos: setup
	$(BIN)/python -m tests.integration.chaos --kills 50 --results benchmarks/results/chaos.json

clean:
	rm -rf .venv demo site
