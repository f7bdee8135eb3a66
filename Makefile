# Tickhouse: `make help` lists the targets. Needs git, make and Python 3.11, 3.12 or 3.13.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The Python for .venv: make install PYTHON=python3.12
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	>/dev/null 2>&1 && { command -v $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/pytest
# Tests wait for servers more than they compute: two processes halve their time on two cores.
WORKERS ?= 2
# JUNIT=FILE writes a report; ARGS goes to pytest: make test ARGS="tests/unit -x"
PYTEST_OPTIONS = $(if $(JUNIT),--junitxml=$(JUNIT)) $(ARGS)

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

.PHONY: demo
demo: install ## Start the pipeline on this machine; live with FINNHUB_API_KEY, else simulated
	@exec $(BIN)/tickhouse demo

.PHONY: install
install: $(STAMP) ## Set up .venv, Kafka and the S3 server; does nothing if up to date

$(STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" bash scripts/install.sh
	@touch $@

.PHONY: test
test: lint ## Lint, types and tests on real Kafka, S3 and browser
	$(PYTEST) -m "not drill" -n $(WORKERS) --dist loadfile $(PYTEST_OPTIONS)

.PHONY: drills
drills: install ## The longer tests: crashes, scheduled minutes, fresh-clone walks
	$(PYTEST) -m "drill and not soak" $(PYTEST_OPTIONS)

.PHONY: marathon
marathon: install ## Ten minutes of a feed in trouble: 20 seeds in virtual time, one in real time
	MARATHON_SEEDS=20 $(PYTEST) -m drill tests/drills/test_marathon.py $(PYTEST_OPTIONS)

# How often: make stress-tests TIMES=3; make soak TIMES=50
TIMES ?= 5

.PHONY: stress-tests
stress-tests: install ## The integration tests TIMES times, with every core kept busy by another process
	$(BIN)/python -m scripts.stress_tests --times $(TIMES) tests/integration $(ARGS)

.PHONY: soak
soak: install ## The property tests TIMES times with random seeds; a failure prints how to repeat it
	@set -e; for run in $$(seq $(TIMES)); do \
		TICKHOUSE_TEST_PROFILE=soak $(PYTEST) -m "hypothesis and not soak" -n $(WORKERS) tests/unit $(ARGS); done

# The same trouble again: make crash-test SEED=7
SEED ?= $(shell echo $$RANDOM)

.PHONY: crash-test
crash-test: install ## 20 kills, broker restarts and 120 s without one in one replay; compares all
	$(BIN)/python -m tests.integration.topologies.crash_driver --seed $(SEED)

.PHONY: lint
lint: install ## ruff, mypy, import contracts and sqlfluff
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd dbt_stocks && ../$(BIN)/sqlfluff lint models --processes 2

.PHONY: format
format: install ## Format with ruff
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: compile
compile: install ## Compile the candle core into .compiled: PYTHONPATH=.compiled tickhouse candles
	@rm -rf .compiled
	$(BIN)/python scripts/compile.py .compiled

# make bench BENCHMARKS="candles latency" runs only these; the page keeps earlier results of others
BENCHMARKS ?= $(filter-out page, $(basename $(notdir $(wildcard benchmarks/[a-z]*.py))))

.PHONY: bench
bench: install ## Run all benchmarks into benchmarks/results, and write docs/performance.md
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m "benchmarks.$$name"; done
	@$(BIN)/python -m benchmarks.page

.PHONY: contracts
contracts: install ## Write the JSON Schemas of messages to docs/contracts
	$(BIN)/python -m app.contract_schemas docs/contracts

.PHONY: lock
lock: ## Resolve requirements.lock from pyproject.toml
	$$(bash scripts/uv.sh "$(PYTHON)") pip compile --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --group dev --group image pyproject.toml \
		-o requirements.lock
