# Two commands do everything by themselves: `make demo` and `make test`.
# PYTHON=  interpreter to build on (default: python3.13, 3.12, 3.11 or python3, the first >= 3.11)
# VENV=    environment (default .venv); empty: the active interpreter, nothing is installed
# TORCH=   auto | cpu | cuda | skip        ARGS=  passed on, as in `make demo ARGS=--fast`
# PART=, OUT=  of gpu-record: which part, and the folder of its file
PYTHON ?=
VENV ?= .venv
TORCH ?= auto
ARGS ?=
PART ?= correctness
OUT ?= runs/gpu-record

BOOT := $(or $(PYTHON),python3)
PY = $(if $(VENV),$(VENV)/bin/python,$(BOOT))
SETUP = $(BOOT) tools/setup_env.py --python "$(PYTHON)" --venv "$(VENV)" --torch "$(TORCH)"
FILES = forethought tests tools $(wildcard examples benchmarks studies)
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test study-smoke gpu-record check lint clean docs lock

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup:  ## make the environment (nothing is done while it is up to date)
	@$(SETUP)

setup-dev:  ## the same with the tools for tests and checks
	@$(SETUP) --dev

demo: setup  ## the whole method on a synthetic world, with a page to look at
	$(PY) -m forethought demo $(ARGS)

test: setup-dev  ## all tests, offline; skips are listed
	$(PYTEST) $(ARGS)

study-smoke: setup-dev  ## learning tests: each stage moves its metric, its broken twin does not
	OMP_NUM_THREADS=1 $(PY) -m pytest -v -m study --durations=0 tests/study $(ARGS)

gpu-record: setup  ## one short part on a GPU: PART=correctness|rollout|train|pipeline|report
	PYTHONPATH=.$(if $(PYTHONPATH),:$(PYTHONPATH)) $(PY) benchmarks/gpu_record.py $(PART) --out $(OUT) $(ARGS)

check: lint  ## format, lint, strict types, fast tests
	$(PYTEST) -q -m "not slow and not study" $(ARGS)

lint: setup-dev  ## format, lint and strict types only
	$(PY) -m ruff format --check $(FILES)
	$(PY) -m ruff check $(FILES)
	$(PY) -m mypy

clean:  ## remove the environment, caches and build folders
	rm -rf .venv .venv-lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find forethought tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

docs: setup  ## the table of configuration keys, from the code
	$(PY) tools/config_table.py

lock:  ## newest allowed versions into constraints.txt
	$(BOOT) tools/setup_env.py --python "$(PYTHON)" --venv .venv-lock --torch cpu --dev --lock
	rm -rf .venv-lock
