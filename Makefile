# Two commands are enough: `make run` serves the example, `make test` passes the tests. Both set everything up.
PYTHON ?= python3
BIN := .venv/bin
TARGET ?= examples/restaurant
PORT ?= 8000

.PHONY: help run dev test check style mypy pyright layers bench soak format clean
.DEFAULT_GOAL := help

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: .venv/run ## serve the example restaurant (PORT=8000)
	$(BIN)/toque run $(TARGET) --port $(PORT)

dev: .venv/run ## the same, reloading on every change
	$(BIN)/toque dev $(TARGET) --port $(PORT)

test: .venv/test ## run all tests
	$(BIN)/pytest -n 4 --dist loadgroup $(ARGS)

check: style mypy pyright layers ## style, types, layers

style: .venv/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: .venv/check
	$(BIN)/mypy
	$(BIN)/mypy examples

pyright: .venv/check
	$(BIN)/pyright

layers: .venv/check
	$(BIN)/lint-imports

bench: .venv/bench ## compare with the peers, side by side; writes build/bench.json
	$(BIN)/python -m bench $(ARGS)

soak: .venv/test ## the long tests
	$(BIN)/pytest -m soak $(ARGS)

format: .venv/check ## put the source in its usual form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

clean: ## forget everything that was made
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# A stamp per set of packages: made anew when pyproject.toml changes.
.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit("Toque needs Python 3.11 or newer; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	touch $@

# The example sends webhooks, which takes an HTTP client.
.venv/run: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[http]'
	touch $@

.venv/test: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test
	touch $@

.venv/check: .venv/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group check
	touch $@

.venv/bench: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	touch $@
