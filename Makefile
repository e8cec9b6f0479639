# The developer's commands; `make` alone prints them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# The demo shows generated pictures, or your own with  make demo FRAMES=folder QUERY=image.jpg ROI=x0,y0,x1,y1
FRAMES ?=
QUERY ?=
ROI ?=

# The set of weights of every command here: research, or free (docs/commercial.md), as  make demo WEIGHTS=free
WEIGHTS ?= $(or $(SLUICE_WEIGHTS),research)
export SLUICE_WEIGHTS := $(WEIGHTS)

.DEFAULT_GOAL := help
TESTS ?=
.PHONY: help install export demo test test-long test-kernels lint serve bench release clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed  ## make .venv with everything that the other commands need

$(VENV)/installed: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo "Sluice needs Python 3.11 (Triton's Python backend is built for it); got: $$($(PYTHON) --version 2>&1)." \
	         "Install python3.11 and python3.11-venv, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "The module venv is missing; on Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch comes first and by itself, because the other packages must accept its pinned version.
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 "numpy<2"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[serve,openvino,export,test]'
	@touch $@

export: install  ## turn the trained weights into the engines that Triton serves
	$(BIN)/python -m export --all

demo: export  ## store a drive, ask for an object, write demo/index.html
	$(BIN)/python -m demo $(if $(FRAMES),--frames '$(FRAMES)') $(if $(QUERY),--query '$(QUERY)') $(if $(ROI),--roi '$(ROI)')

test: export  ## the tests, the real server included, in under a quarter of an hour
	@# Two processes for the tests without a server; those of the server have both cores to themselves.
	$(BIN)/python -m pytest -m 'not serving and not long' -n 2 --dist loadfile
	$(BIN)/python -m pytest -m 'serving and not long'

test-long: export  ## the tests that take minutes each; a change must pass both
	$(BIN)/python -m pytest -m long

test-kernels: export  ## the tests under an old, a middling and this machine's kernel of OpenBLAS; only run by hand
	$(BIN)/python -m tests.kernels $(TESTS)

lint: install  ## check with ruff, ruff format and mypy; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: export  ## run the server on this machine, until Ctrl-C
	$(BIN)/sluice serve

bench: export  ## list the benchmarks; run one with  .venv/bin/python -m bench NAME
	@$(BIN)/python -m bench

release: export  ## put both repositories side by side into dist/repository
	$(BIN)/python -m sluice.server.release

clean:  ## remove all built files (not .venv)
	rm -rf build dist roots/*/dist .bench demo/index.html demo/select.html demo/segment.html demo/frames
	rm -f $(foreach root,. roots/*,$(root)/model_repository/*/1/model.onnx $(root)/model_repository/*/1/model.plan* $(root)/model_repository/*/1/model.rtx.*)
