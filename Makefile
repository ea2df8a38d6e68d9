# What a newcomer types: `make demo` and `make test`. Each sets up .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One pinned set for each Python: the newest releases of some packages drop the older ones.
TAG := $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-instructions test-arm64 check-pycuda check-tensorrt peers check fix wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv and install everything, pinned

$(READY): pyproject.toml constraints/$(TAG).txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints/$(TAG).txt --editable '.[dev]'
	@touch $@

constraints/$(TAG).txt:
	@echo "edgestill runs on Python 3.10, 3.11 and 3.12; '$(PYTHON)' is $(TAG)." >&2
	@echo "  hint: make PYTHON=python3.11 <target>" >&2
	@exit 2

demo: $(READY)  ## every stage on rendered data; writes demo-out/report.html
	$(BIN)/edgestill demo --out demo-out --force

test: $(READY)  ## the default tests: CPU, no network, minutes
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)  ## the rest of the tests: sweeps, and what takes minutes
	$(BIN)/python -m pytest -q -m "slow and not arm64"

test-instructions: $(READY)  ## pre- and post-processing take no more instructions than before; valgrind or perf
	$(BIN)/python -m benchmarks.instructions

test-arm64: $(READY)  ## the tests on an emulated ARM64 board: root on Debian or Ubuntu, network, minutes
	$(BIN)/python -m tests.arm64 check
	$(BIN)/python -m pytest -q -m arm64 tests/arm64

check-pycuda: $(READY)  ## CUDA sessions by pycuda and by our own calls on a stub; network, gcc, CUDA headers
	$(BIN)/python -m tests.cuda_sessions

check-tensorrt: $(READY)  ## compare with NVIDIA's TensorRT bindings of nine versions; network, gcc, minutes
	$(BIN)/python -m tests.tensorrt_bindings

peers: $(READY)  ## install the programs of `edgestill bench --peers` in .peers; network, 2.5 to 7 GB; yolo is AGPL
	$(BIN)/python -m benchmarks.peers.environments

check: $(READY)  ## lint, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fix: $(READY)  ## apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)  ## build dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the targets made
	rm -rf $(VENV) .peers demo-out dist build *.egg-info
