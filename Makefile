# `make run` and `make test` work as the first command after a clone; Python >= 3.11 is all they need.

PYTHON ?= python3
UPGRADE ?= --upgrade
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# With another backend than the notebook's own, figures would not appear in the notebooks.
unexport MPLBACKEND

.DEFAULT_GOAL := help
.PHONY: help run test lab doctor bench notebooks lint lock clean

help:  ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

run: $(READY)  ## run the notebooks in order and compare their estimates with the exact answers
	$(BIN)/python -m course_lib run

# With COVERAGE="-m coverage run" as in .ci/run it is also measured what the tests reach.
test: $(READY)  ## prove all of it: the library, the notebooks, the command line, JupyterLab
	$(BIN)/python $(COVERAGE) -m pytest

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

doctor: $(READY)  ## check that this machine is ready for the course
	$(BIN)/python -m course_lib doctor

bench: $(READY)  ## measure speed and memory against what a user would write instead
	$(BIN)/python -m pytest benchmarks -n 0 -s

notebooks: $(READY)  ## rebuild the notebooks that differ from notebooks/source
	$(BIN)/python -m course_lib build

lint: $(READY)  ## check style, types and the import rules
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

# Written last: an interrupted installation leaves no such file, and the next call starts afresh.
$(READY): pyproject.toml requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The course needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try `make PYTHON=python3.12`." % sys.version_info[:2])'
	@echo "Installing the course into $(VENV): once, for a minute or two."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
