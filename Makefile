# The project's own commands. Each sets up what it needs in .venv, so that none has to be run before another.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find rust -name '*.rs' -not -path '*/target/*') Cargo.toml Cargo.lock $(wildcard rust/*/Cargo.toml)

.PHONY: test rust-test python-test lint check build clean faults fuzz bench bench-engine reference
.DEFAULT_GOAL := test

SHELL := bash

# Of pip only what went wrong: not what it collects, that there is a newer one, or who runs it.
export PIP_QUIET ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export PIP_ROOT_USER_ACTION ?= ignore

test: rust-test python-test  ## set up, then every test; ends with pytest's summary

# One build for all of it: the switches that break a rule are off but in the tests that throw them.
rust-test:
	cargo test --workspace --features hpc-core/mutants --locked --quiet

# Half of their time the tests wait; a file stays in one process. 0 is all in one.
WORKERS ?= 2

python-test: build
	.ci/cpython-suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

build: $(VENV)/.built  ## the package, built into .venv

# Dependencies change with pyproject.toml only; the extension is rebuilt when a Rust source changed.
$(VENV)/.setup: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install 'maturin>=1.9,<2'
	touch $@

$(VENV)/.built: $(VENV)/.setup $(SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet --extras dev
	touch $@

lint: build  ## formats, lints, types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## every gate

# How many times as much as `make test` draws.
FUZZ ?= 100

fuzz: build  ## the property tests of every decoder, a Hub by its OpenAPI document, and its model, for long
	PROPTEST_CASES=$$((256 * $(FUZZ))) cargo test -p hpc-core --test laws --test well_formed --locked --quiet
	PROPTEST_CASES=$$((256 * $(FUZZ))) cargo test -p hpc-executor --test decoders --locked --quiet
	HPC_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz tests/model

faults: build  ## docs/faults.md from the names of the tests
	$(BIN)/python tests/fault_table.py > docs/faults.md.new && mv docs/faults.md.new docs/faults.md

reference: build  ## docs/reference/ from the code: commands, routes, Python, kinds of events
	$(BIN)/python tests/reference_pages.py

bench: build  ## the benchmark suite; figures in bench/README.md
	$(BIN)/python -m pytest bench --benchmark-enable -q -o python_files="bench_*.py" -o python_functions="bench_*" -o timeout=600

bench-engine:  ## the engine alone, beside other lattice crates; CPU time of one core
	cd bench/engine && cargo run --release --locked --quiet

clean:
	rm -rf $(VENV) target python/hpc/_core*.so
