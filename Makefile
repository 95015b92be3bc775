# `make run` and `make test` work as the first command after a clone; Python 3.11 to 3.14 is all they need.

PYTHON ?= python3
UPGRADE ?= --upgrade
VENV := .venv
BIN := $(VENV)/bin
# What a learner needs is there; what tests, style checks and the website need is, too.
READY := $(VENV)/ready
READY_DEV := $(VENV)/ready-dev

# With another backend than the notebook's own, figures would not appear in the notebooks.
unexport MPLBACKEND

.DEFAULT_GOAL := help
.PHONY: help run lab doctor check test bench notebooks site lint lock clean gpu

help:  ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

run: $(READY)  ## run the notebooks in order and compare their estimates with the exact answers
	$(BIN)/python -m course_lib run

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/python -m course_lib lab

doctor: $(READY)  ## check that this machine is ready for the course
	$(BIN)/python -m course_lib doctor

check: $(READY)  ## try the course in a minute: estimates of each kind against exact answers, and a notebook
	$(BIN)/python -m course_lib check

# With COVERAGE="-m coverage run" as in .ci/run it is also measured what the tests reach.
test: $(READY_DEV)  ## prove all of it: the library, the notebooks, the command line, JupyterLab
	$(BIN)/python $(COVERAGE) -m pytest

bench: $(READY_DEV)  ## measure speed and memory against what a user would write instead
	$(BIN)/python -m pytest benchmarks -n 0 -s

notebooks: $(READY_DEV)  ## rebuild the notebooks that differ from notebooks/source
	$(BIN)/python -m course_lib build

site: $(READY_DEV)  ## build the website into build/site
	$(BIN)/python site/build.py

lint: $(READY_DEV)  ## check style, types and the import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

# One version of each package for every Python and system, so that everyone sees the same numbers.
# `make lock UPGRADE=` keeps what is pinned and adds what is new in pyproject.toml.
lock:  ## choose the newest versions of all packages anew
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--fork-strategy fewest $(UPGRADE) --no-annotate --custom-compile-command "make lock" \
		--quiet --output-file constraints.txt

clean:  ## remove what was built and installed here
	rm -rf $(VENV) build

# install.py writes these files last, so that an interrupted installation goes on. `make GPU=1 run` asks it every time,
# because what is there may be the build without CUDA.
$(READY): install.py pyproject.toml requirements.txt constraints.txt $(if $(GPU),gpu)
	@$(PYTHON) install.py $(if $(GPU),--gpu)

$(READY_DEV): install.py pyproject.toml requirements.txt requirements-dev.txt constraints.txt $(if $(GPU),gpu)
	@$(PYTHON) install.py --dev $(if $(GPU),--gpu)

gpu:
