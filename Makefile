# `make demo` and `make test` do everything from a fresh clone; both are quick the second time.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CONFIG ?= config/demo.yaml
# The name of the study, which the last file that names one decides.
STUDY = $(or $(lastword $(shell sed -n 's/^study: *\([^ ]*\).*/\1/p' $(CONFIG))),demo)

export PATH := $(BIN):$(PATH)

.PHONY: env check demo bench gpu gpu-bundle test torture test-cluster fuzz audit verify lint format clean

env: $(VENV)/.done

$(VENV)/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: Python 3.11 to 3.14 is needed, but $(PYTHON) is $$($(PYTHON) -V); run 'make env PYTHON=/path/to/python3.11'"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: env
	snakemake --cores all --configfile $(CONFIG)
	@echo "Done. Everything on one page: results/$(STUDY)/report.html (tables/, figures in plots/ and claims/ beside it)"

# This suite beside sentence-transformers and mteb, in one run; on a machine that does nothing else (docs/speed.md).
bench: env
	python -m causal2vec.bench --config $(CONFIG) --output results/bench

# All that needs a GPU, checked and measured with random weights in eight minutes (docs/gpu.md).
gpu: env
	python -m causal2vec.bench --gpu --output results/gpu

# The same for a machine without a network: dist/gpu-bundle.tar.gz, to be unpacked there.
gpu-bundle: env
	python -m causal2vec.bench.gpu.bundle --output dist/gpu-bundle

# Style, types, and the tests that need no model, in under two minutes.
check: lint
	OMP_NUM_THREADS=1 pytest --quick -n 2

test: env
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder

# Kills at every kind of moment, signals, full disks, flipped bits, two runs at once (docs/reliability.md): a quarter of an hour.
# TORTURE_SEED=1 kills elsewhere, TORTURE_KILLS=60 more often.
torture: env
	OMP_NUM_THREADS=1 pytest -m torture -n 2 --dist loadfile tests/torture

# A real Slurm of two pretended nodes on this machine; as root on Debian it is installed where it is missing.
test-cluster: env
	pytest -m cluster tests/cluster

# Inputs without end for the two parsers that read foreign bytes, two minutes each (docs/reliability.md).
fuzz: env
	python tests/fuzz/run.py archives --seconds 120
	python tests/fuzz/run.py results --seconds 120

# Installed = locked, unchanged, still offered; known vulnerabilities where a service answers; licences (docs/safety.md).
audit: env
	python -m causal2vec.audit

# Every checksum, score and table cell of a finished run again (docs/verify.md).
verify: env
	snakemake verify --configfile $(CONFIG)

lint: env
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow && mypy

format: env
	ruff format . && ruff check --fix . && snakefmt Snakefile workflow

# Removes everything that a run makes, models and scores included; asks for nothing.
clean:
	rm -rf work results/* .snakemake
