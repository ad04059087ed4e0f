# `make demo` and `make test` do everything from a fresh clone; both are quick the second time.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CONFIG ?= config/demo.yaml
# The name of the study, which the last file that names one decides.
STUDY = $(or $(lastword $(shell sed -n 's/^study: *\([^ ]*\).*/\1/p' $(CONFIG))),demo)

export PATH := $(BIN):$(PATH)

.PHONY: env check demo bench gpu gpu-bundle test torture test-cluster fuzz audit verify lint lock format clean

env: $(VENV)/.done

$(VENV)/.done: requirements.lock requirements-test.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: Python 3.11 to 3.14 is needed, but $(PYTHON) is $$($(PYTHON) -V); run 'make env PYTHON=/path/to/python3.11'"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock -r requirements-test.lock
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

# Installed = locked; licences; known vulnerabilities where a service answers (docs/licences.md).
audit: env
	python -m pip check
	pytest tests/project/test_project.py -k installed
	pip-licenses --format markdown
	@said=$$(pip-audit --no-deps --disable-pip --progress-spinner off -r requirements.lock -r requirements-test.lock 2>&1); \
	status=$$?; skipped=$$(grep -c "could not be audited" <<< "$$said"); echo -n "Known vulnerabilities: "; \
	if grep -q "^Found .* known vulnerabilit" <<< "$$said"; then grep -v "could not be audited" <<< "$$said"; exit 1; \
	elif [ $$status != 0 ]; then echo "NOT looked up, as pip-audit reached no service ($$(tail -n 1 <<< "$$said" | cut -d : -f 1))."; \
	elif [ $$skipped != 0 ]; then echo "$$skipped packages were NOT looked up, as the service does not know them; none in others."; \
	else echo "none."; fi

# Every checksum, score and table cell of a finished run again (docs/verify.md).
verify: env
	snakemake verify --configfile $(CONFIG)

lint: env
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow && mypy && deptry .

# The locks again, after a change of pyproject.toml; versions stay. UPGRADE=--upgrade renews all but torch.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" $(UPGRADE)
lock: env
	$(COMPILE) pyproject.toml --extra slurm --extra gpu --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra test --constraints requirements.lock --output-file requirements-test.lock
	rest=$$(grep -vxFf <(grep -v "^#" requirements.lock) requirements-test.lock) && echo "$$rest" > requirements-test.lock

format: env
	ruff format . && ruff check --fix . && snakefmt Snakefile workflow

# Removes everything that a run makes, models and scores included; asks for nothing.
clean:
	rm -rf work results/* .snakemake
