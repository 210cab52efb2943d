# `make train` and `make test` need nothing but Python 3.10 or newer with venv; uv is used when it is there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTABLE := $(VENV)/.testable
EXTRAS := $(VENV)/.extras
UV := $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: train test check bench learn extras lock clean

train: $(READY)
	$(BIN)/tensorq train CartPole-v1

test: $(TESTABLE)
	$(BIN)/pytest -n 2

check: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py

bench: $(TESTABLE)
	$(BIN)/python benchmarks/speed.py

learn: $(EXTRAS)
	$(BIN)/pytest -m learn

# What optional features need, and the tests of those; without it these tests are skipped.
extras: $(EXTRAS)

# Pinned, locked dependencies, each with the hashes of its files: of the package, of its tests, of its extras.
$(READY): requirements/package.lock pyproject.toml
	@echo "setting up $(VENV): TensorFlow is large, this takes a minute or more ..."
ifneq ($(UV),)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(TESTABLE): requirements/test.lock $(READY)
	$(INSTALL) --require-hashes -r $<
	touch $@

$(EXTRAS): requirements/extras.lock $(TESTABLE)
	$(INSTALL) --require-hashes -r $<
	touch $@

# Needs uv; resolves for every Python and platform at once, the same versions in all three.
COMPILE = uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.10
lock:
	$(COMPILE) --group build pyproject.toml -o requirements/package.lock
	$(COMPILE) --group build --group test pyproject.toml -c requirements/package.lock -o requirements/test.lock
	$(COMPILE) --extra all --group build --group test --group extras pyproject.toml \
		-c requirements/test.lock -o requirements/extras.lock

clean:
	rm -rf $(VENV)
