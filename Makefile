# make demo    sample videos, untrained demo models, a ranking on the screen
# make test    linters, types, import rules, tests
# make bench   how fast it is, beside its baselines: three quarters of an hour
# make deploy  work pools, deployments and automations on the Prefect server of PREFECT_API_URL; for the
#              nightly run: make deploy SOURCE=s3://... OUTPUT=s3://... [SETTINGS=settings.yaml] [SCHEDULE=on|off]
# make chaos   fifty runs killed at random moments, and what the next run makes of it: twenty minutes
# Each sets up .venv first, on any machine with Python 3.11+.

PYTHON ?= python3
# Threads that wait spin by default, and take the cores from the others.
export OMP_WAIT_POLICY := PASSIVE

BIN := .venv/bin
# In their own order: pytest-xdist would begin with the files of most tests, and end with the longest.
FILES := --dist loadfile --no-loadscope-reorder
READY := .venv/.complete

.PHONY: setup demo test lint integration deploy bench chaos clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Setting up .venv: a few minutes, once"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt setuptools
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(READY)

demo: setup
	$(BIN)/hookline demo

test: setup lint
	$(BIN)/python -m pytest --numprocesses 3 $(FILES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

integration: setup
	$(BIN)/python -m pytest --numprocesses 3 $(FILES) -m integration tests/integration

deploy: setup
	$(BIN)/python -m deployments.deploy "$(SOURCE)" "$(OUTPUT)" $(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(SCHEDULE),--schedule "$(SCHEDULE)")

bench: setup
	$(BIN)/python benchmarks/speed.py

chaos: setup
	$(BIN)/python -m tests.integration.chaos --kills 50 --results benchmarks/results/chaos.json

clean:
	rm -rf .venv demo
