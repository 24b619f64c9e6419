# Everything a person or a machine does here. A fresh machine needs a Rust toolchain, CPython 3.11
# or later with venv and pip, make and bash; all else goes into .venv.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
# How long `make soak` takes.
MINUTES ?= 5
# Arguments for pytest, e.g. make test-python ARGS='-k map'.
ARGS ?=

RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) $(shell find src -name '*.rs' 2>/dev/null)

.PHONY: help setup build develop compiled demo test test-rust test-python lint fmt types bench bench-quick bench-core soak clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: develop  ## build everything and run the main job on an embedded cluster
	$(BIN)/python examples/tour.py

test: lint types test-rust test-python  ## pass all checks and all tests

setup: $(STAMPS)/setup  ## make the virtual environment

$(STAMPS)/setup: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "oarlock needs CPython 3.11 or later; $(PYTHON) is $$($(PYTHON) --version)." \
		          "Say which: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making $(VENV) and installing what the build and the tests need."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/requirements.py test lint > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	@mkdir -p $(STAMPS) && touch $@

develop: $(STAMPS)/develop  ## build the extension in release mode into the virtual environment

$(STAMPS)/develop: $(STAMPS)/setup $(RUST_SOURCES)
	@test -e $@ || echo "The first build takes about three minutes; later ones build what changed."
	@# Its pip would name each optional requirement that it leaves out.
	source $(BIN)/activate && PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
		maturin develop --release --quiet
	@touch $@

# As pip does with a wheel. Where Python is told to write no byte code, each start of an engine would
# compile the sources anew, and the benchmark would measure that.
compiled: develop
	@$(BIN)/python -m compileall -q python/oarlock benchmarks

build: $(STAMPS)/setup  ## build the wheel into dist/
	source $(BIN)/activate && maturin build --release --out dist

test-rust:  ## test the Rust core; needs no Python
	cargo test --no-default-features --quiet

# A machine that tests for others is to try broken networks too, and to fail where it cannot.
test-python: export OARLOCK_NETWORK ?= $(CI)
test-python: develop  ## test the package on real processes; ARGS goes to pytest
	@scripts/network-tools
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMPS)/setup  ## check format and style, Rust and Python
	@scripts/cargo-if-present fmt --check
	@scripts/cargo-if-present clippy --quiet --no-default-features --all-targets -- -D warnings
	@scripts/cargo-if-present clippy --quiet -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: develop  ## check types, and the stubs against the compiled module
	$(BIN)/mypy
	$(BIN)/stubtest oarlock._oarlock --mypy-config-file pyproject.toml \
		--allowlist scripts/stubtest-allowlist.txt --ignore-unused-allowlist

fmt: $(STAMPS)/setup  ## put the sources into format
	@scripts/cargo-if-present fmt
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

bench: compiled  ## compare with other tools that are installed
	$(BIN)/python -m benchmarks

bench-quick: compiled  ## the same in a minute
	$(BIN)/python -m benchmarks --quick

soak: compiled  ## load clusters with everything at once for MINUTES=5 and see what grows
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

bench-core:  ## time the Rust core alone; needs no Python
	cargo bench --no-default-features --bench core
	cargo bench --no-default-features --bench counts -- --rates

clean:  ## remove everything that was built
	rm -rf $(VENV) target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/oarlock/_oarlock*.so
