# make run    set up and open the window with the example study; without a display, run the
#             example in the terminal into crumple-example/
# make test   set up and run every check and test
# make docs   write what the program knows of itself into docs/, and build the pages into site/
# make models train the bundled models again
# make bench  print timings
# make parity print our attacks beside the reference implementations; takes most of an hour
# make clean  remove what was built here
#
# PYTHON=...   the interpreter for .venv (3.11 or newer); found if not given
# PIP_ARGS=... further arguments to pip install, for example the index of a smaller build of torch

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install $(PIP_ARGS)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
EXAMPLE := crumple-example
STUDY := resources/studies/example.toml
CRUMPLE := $(BIN)/crumple

.PHONY: run test docs models bench parity clean
.DELETE_ON_ERROR:

run: $(VENV)/.run-stamp
	@if [ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		$(BIN)/python packaging/check_qt.py && $(CRUMPLE) gui --study $(STUDY); \
	else \
		$(MAKE) --no-print-directory example; \
	fi

.PHONY: example
example: $(VENV)/.run-stamp
	@mkdir -p $(EXAMPLE)
	@echo "No display: running $(STUDY) here, into $(EXAMPLE)/."
	$(CRUMPLE) run $(STUDY) --db $(EXAMPLE)/crumple.db
	$(CRUMPLE) results --db $(EXAMPLE)/crumple.db --format markdown > $(EXAMPLE)/results.md
	$(CRUMPLE) results --db $(EXAMPLE)/crumple.db --format csv > $(EXAMPLE)/results.csv
	$(CRUMPLE) chart --kind pareto --db $(EXAMPLE)/crumple.db --out $(EXAMPLE)/chart.svg
	$(CRUMPLE) chart --kind pareto --db $(EXAMPLE)/crumple.db --out $(EXAMPLE)/chart.png
	@cat $(EXAMPLE)/results.md
	@echo "Table, chart and database are in $(EXAMPLE)/."

test: $(VENV)/.test-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -m "not bench" -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

docs: $(VENV)/.test-stamp
	$(BIN)/python -m docs.tools.reference
	$(BIN)/python -m sphinx -q -W --keep-going -d site/.doctrees docs site

# The pictures of the pages: the study of the README and the example are run first.
.PHONY: screenshots
screenshots: $(VENV)/.test-stamp
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m docs.tools.screenshots

models: $(VENV)/.run-stamp
	$(BIN)/python -m engine.training.bundled

bench: $(VENV)/.test-stamp
	QT_QPA_PLATFORM=$${QT_QPA_PLATFORM:-offscreen} $(BIN)/python -m pytest -m bench -s -o faulthandler_timeout=0 tests/benchmarks

parity: $(VENV)/.test-stamp
	$(BIN)/python -m pytest -m bench -s -o faulthandler_timeout=0 tests/parity

clean:
	rm -rf $(VENV) $(EXAMPLE) site build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find engine gui tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that could not be made whole is removed, so that the next try starts afresh.
$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Crumple needs Python 3.11 or newer; install it, or name it: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# torch and torchvision come in one command, so that their builds match. torchattacks comes
# without its dependencies: it pins a version of requests that it never imports.
$(VENV)/.run-stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Crumple into $(VENV); torch is large, this can take minutes."
	$(PIP) --editable .
	$(PIP) --no-deps torchattacks==3.5.1
	@touch $@

$(VENV)/.test-stamp: $(VENV)/.run-stamp
	$(PIP) --editable '.[dev]'
	@touch $@
