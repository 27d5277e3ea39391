# make demo   runs the demo pipeline (the first time: installs into .venv, some minutes)
# make test   runs all tests
# make test-interop   runs the tests that load exports in transformers (the first time: installs torch into .venv)
# All need Python 3.11 and nothing else.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
PROJECT := $(VENV)/.project-installed
DEV := $(VENV)/.dev-installed
INTEROP := $(VENV)/.interop-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.NOTPARALLEL:
.PHONY: help setup demo test test-interop lint format lock image-lock clean

help:
	@grep '^# make' Makefile | sed 's/^# //'

setup: $(PROJECT) $(DEV)

$(RUNTIME): requirements.lock
	@echo "Setting up $(VENV): the packages of requirements.lock, about 3.5 GB. This takes some minutes, once."
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11, or say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) is not Python 3.11."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is incomplete (Debian, Ubuntu: install python3.11-venv)."; rm -rf $(VENV); exit 1; }
	@$(INSTALL) --require-hashes -r requirements.lock
	@touch $@
	@echo "Set up."

$(PROJECT): pyproject.toml $(RUNTIME)
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Setting up $(VENV): the packages of requirements-dev.lock, for tests and lint."
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(INTEROP): requirements-interop.lock $(RUNTIME) $(DEV)
	@echo "Setting up $(VENV): the packages of requirements-interop.lock, for the tests that load exports in transformers."
	@$(INSTALL) --require-hashes -r requirements-interop.lock || { echo "docs/dependencies.md says where pip looks for torch's CPU build."; exit 1; }
	@touch $@

demo: $(PROJECT)
	@$(BIN)/albert pipeline run --config configs/pipelines/demo.yaml --span 1 --span 2 --span 2

test: setup
	@$(BIN)/python -m pytest

test-interop: setup $(INTEROP)
	@$(BIN)/python -m pytest -m interop tests

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Needs uv (https://docs.astral.sh/uv). Constraints and overrides stand in pyproject.toml. The registry's torch is the CUDA
# build: the interop lock names the CPU build instead, as pip finds it (docs/dependencies.md).
COMPILE := uv pip compile --quiet --generate-hashes --no-annotate --no-header \
	--python-version 3.11 --python-platform x86_64-unknown-linux-gnu
lock:
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	rm -rf build/torch
	$(PYTHON) -m pip download --quiet --no-deps --dest build/torch $$(grep -o 'torch==[^"]*' pyproject.toml)
	$(COMPILE) --extra interop pyproject.toml -c requirements.lock -c requirements-dev.lock -o requirements-interop.lock \
		--no-emit-package torch $$(sed -n 's/^\([^=]*\)==.*/--no-emit-package \1/p' requirements.lock requirements-dev.lock)
	printf 'torch==%s \\\n    --hash=sha256:%s\n' $$(ls build/torch | cut -d- -f2) $$(sha256sum build/torch/* | cut -c1-64) \
		>> requirements-interop.lock
	$(MAKE) image-lock

# The images have a glibc that takes wheels which requirements.lock does without; all else is as it is there. The GPU's lock
# names what it has beyond that (docs/image.md).
IMAGE_WHEELS := ml-metadata==1.21.0 tensorflow-data-validation==1.21.0
COMPILE_IMAGE := $(subst x86_64-unknown-linux-gnu,x86_64-manylinux_2_39,$(COMPILE)) --no-config \
	--overrides build/overrides.txt -c build/constraints.txt pyproject.toml
NOT_IMAGE_WHEELS := grep -v $(foreach wheel,$(IMAGE_WHEELS),-e '^$(firstword $(subst ==, ,$(wheel)))==')
image-lock:
	mkdir -p build
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["uv"]["override-dependencies"], sep="\n")' \
		| $(NOT_IMAGE_WHEELS) > build/overrides.txt
	printf '%s\n' $(IMAGE_WHEELS) >> build/overrides.txt
	sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' requirements.lock | $(NOT_IMAGE_WHEELS) > build/constraints.txt
	$(COMPILE_IMAGE) -o kubeflow/requirements-image.lock
	sed -i 's/^tensorflow==/tensorflow[and-cuda]==/' build/overrides.txt
	$(COMPILE_IMAGE) -o kubeflow/requirements-gpu.lock \
		$$(sed -n 's/^\([^=]*\)==.*/--no-emit-package \1/p' kubeflow/requirements-image.lock)

# What the demo made, and caches. The virtual environment stays: rm -r .venv to be rid of it.
clean:
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis albert_pipeline.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
