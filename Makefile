# `make train` and `make test` need nothing but Python 3.10 or newer with venv; uv is used when it is there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(shell command -v uv 2>/dev/null)

.PHONY: train test check bench learn lock clean

train: $(READY)
	$(BIN)/tensorq train CartPole-v1

test: $(READY)
	$(BIN)/pytest -n 2

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py

bench: $(READY)
	$(BIN)/python benchmarks/speed.py

learn: $(READY)
	$(BIN)/pytest -m learn

# Pinned, locked dependencies, each with the hashes of its files.
$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) from requirements.lock: TensorFlow is large, this takes a minute or more ..."
ifneq ($(UV),)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	touch $@

# Needs uv; resolves for every Python and platform at once.
lock:
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.10 \
		--extra video --extra box2d --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV)
