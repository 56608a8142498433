# A newcomer's two commands: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two test processes on two cores: more threads in each would only get in each other's way.
BENCHMARKS := $(filter-out benchmarks/programs.py,$(wildcard benchmarks/*.py))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# Each stands in a folder of its own: together they do not agree on what they need.
SERVICES := clearml==2.1.12 mlflow-skinny==3.17.2 trackio==0.43.0 wandb==0.31.0

.PHONY: services demo test long torture browser quick check wheel-test bench format board clean

demo: $(VENV)/installed  ## train on handwritten digits, watch everything, say what to open next
	$(BIN)/trainkit run +experiment=digits

board: $(VENV)/installed  ## the dashboard of every run under runs/
	$(BIN)/trainkit board runs

test: check  ## every check: style, types, tests (slow ones too; the rest: make long, make browser)
	$(PYTEST) -m "not browser and not long and not services and not torture"

long: $(VENV)/installed  ## the tests that are too long for make test
	$(PYTEST) -m long

torture: $(VENV)/installed  ## kill runs five hundred times, and at every file operation: hours
	$(PIP) install --constraint constraints.txt ckpt-chaos
	$(PYTEST) -m torture -s

services: $(VENV)/installed  ## the sinks of MLflow, W&B, ClearML and trackio, each offline and in a folder of its own
	for package in $(SERVICES); do \
	  folder=$(VENV)/services/$${package%%==*}; \
	  test -d $$folder || $(PIP) install --target $$folder $$package || { rm -rf $$folder; exit 1; }; \
	done
	TRAINKIT_SERVICES=$(CURDIR)/$(VENV)/services $(PYTEST) -m services

browser: $(VENV)/installed  ## the tests that look at the dashboard in Debian's chromium
	$(PYTEST) -m browser

quick: $(VENV)/installed  ## the tests without the slow ones
	$(PYTEST) -m "not slow and not long and not services and not browser and not torture"

check: $(VENV)/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel-test: $(VENV)/installed  ## build the wheel, install it in a clean environment, run it from an empty folder
	bash .ci/wheel-test $(BIN)/python

bench: $(VENV)/installed  ## what the monitoring costs, side by side with the alternatives
	for benchmark in $(BENCHMARKS); do echo; echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "trainkit needs Python 3.11 or newer; found $(PYTHON). Try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; a few minutes) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --use-pep517 --constraint constraints.txt --editable ".[dev]"
	@touch $@
