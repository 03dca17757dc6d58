# Every target sets up what it needs: make demo, make test.
# PYTHON=python3.12 chooses the interpreter. TORCH_INDEX=URL takes torch from that package index.

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
RUN := $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
TESTS := $(RUN) -m pytest -n auto --dist worksteal
COMPAT := .venv-compat
FUZZ_MINUTES ?= 10
FUZZ_FAMILIES ?=

# A thread that waits gives its core away; by default it spins, which on a busy machine takes longer
# than the work itself.
export OMP_WAIT_POLICY ?= PASSIVE

# The tests start some hundred processes: without compiled files each compiles the package again,
# and pytest rewrites every assertion again.
unexport PYTHONDONTWRITEBYTECODE

# Tests write and flush thousands of small files, which a disk in use by others makes them wait for:
# they lie in memory where there is room. What passes removes its own.
ROOMY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 8 * 1024 * 1024 { print "/dev/shm" }')
export PYTEST_DEBUG_TEMPROOT ?= $(ROOMY)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types cpu unit gpu bench bench-gpu docs notebooks golden compat fuzz soak clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

define require_python
	@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(1) is $$($(1) --version 2>&1 || true); curate needs Python 3.11 or newer;" \
	       "$(2)" >&2; exit 1; }
endef

# torch alone and first, pinned: nothing that is installed after it can bring another build of it.
# Of the 18,000 files that pip would compile, one after the other, a third is ever imported.
$(VENV)/.stamp: pyproject.toml constraints.txt
	$(call require_python,$(PYTHON),name one: make PYTHON=python3.12)
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(call require_python,$(RUN),remove the folder $(VENV) and run make again)
	$(PIP) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -e ".[cpu,encoder,dev]"
	@touch $@

demo: $(VENV)/.stamp  ## pool, tiny model, scores, three methods and what each kept
	$(VENV)/bin/curate demo

# mypy has one thread, and tests that wait leave a core idle: both at once take less time.
test: lint  ## lint, then every test that needs no GPU, with the types checked beside them
	$(MAKE) --jobs=2 types cpu

cpu: $(VENV)/.stamp  ## every test that needs no GPU
	$(TESTS) -m "not gpu"

# Lint comes first: rule A005 finds a module that shadows the standard library without importing it.
lint: $(VENV)/.stamp  ## ruff, rules and format, then the layers of curate
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(VENV)/.stamp  ## mypy --strict
	$(RUN) -m mypy

unit: $(VENV)/.stamp  ## the tests alone, without the slow ones
	$(TESTS) -m "not gpu and not slow"

soak: $(VENV)/.stamp  ## kill commands at random moments for SOAK_MINUTES (30), count where it landed
	$(RUN) tests/soak.py

gpu: $(VENV)/.stamp  ## the tests that need a CUDA device
	$(RUN) -m pytest -m gpu

bench: $(VENV)/.stamp  ## speed and memory, as ratios
	$(RUN) jobs/bench --keep

bench-gpu: $(VENV)/.stamp  ## what a GPU makes of the pass, in five minutes
	$(RUN) jobs/bench --device cuda

docs: $(VENV)/.stamp  ## write the generated parts of the documentation, and build its site
	$(RUN) jobs/docs.py
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

notebooks: $(VENV)/.stamp  ## execute the notebooks of reports/ that changed, on the demo
	$(RUN) jobs/notebooks.py

golden: $(VENV)/.stamp  ## accept the present human-facing texts; review the diff
	$(RUN) jobs/docs.py
	CURATE_GOLDEN=write $(RUN) -m pytest -q -k golden

$(COMPAT)/.stamp: constraints.txt
	$(call require_python,$(PYTHON),name one: make PYTHON=python3.12)
	@test -x $(COMPAT)/bin/python || $(PYTHON) -m venv $(COMPAT)
	$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check "duckdb>=1.4,<1.5"
	@touch $@

compat: $(VENV)/.stamp $(COMPAT)/.stamp  ## a store goes from DuckDB 2 to 1.4 and back
	$(RUN) jobs/compat.py $(COMPAT)/bin/python

fuzz: $(VENV)/.stamp  ## hostile input for every reader: FUZZ_MINUTES=10 FUZZ_FAMILIES="json csv"
	$(RUN) jobs/fuzz $(FUZZ_FAMILIES) --minutes $(FUZZ_MINUTES)

clean:  ## remove the environments and every cache
	rm -rf $(VENV) $(COMPAT) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
