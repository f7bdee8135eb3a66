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
# Tests wait for servers more than they compute: on two cores, two processes use half of both.
# In the order of files: the integration tests come first, and quick unit tests even out the end.
WORKERS ?= 3
# Of drills, which start pipelines of their own.
DRILL_WORKERS ?= 2
# JUNIT=FILE writes a report; ARGS goes to pytest: make test ARGS="tests/unit -x"
PYTEST_OPTIONS = $(if $(JUNIT),--junitxml=$(JUNIT)) $(ARGS)

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+)[a-z -]*:.*## /  make \1\t/' | expand -t 18

# WAREHOUSE=snowflake-local is the tests' emulation of Snowflake; other values are those of .env.
DEMO = $(if $(filter snowflake-local,$(WAREHOUSE)),python -W ignore -m tests.snowflake_local.demo,tickhouse demo)

.PHONY: demo
demo: install ## Start the pipeline on this machine; live with FINNHUB_API_KEY, else simulated
	@exec $(BIN)/$(DEMO)

.PHONY: install
install: $(STAMP) ## Set up .venv, Kafka and the S3 server; does nothing if up to date

$(STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" bash scripts/install.sh
	@touch $@

.PHONY: test
test: lint ## Lint, types and tests on real Kafka, S3 and browser
	$(PYTEST) -m "not drill" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

.PHONY: drills
drills: install ## The longer tests: crashes, scheduled minutes, fresh-clone walks
	$(PYTEST) -m "drill and not soak" -n $(DRILL_WORKERS) --dist worksteal $(PYTEST_OPTIONS)

# dbt-snowflake needs version 4 of the connector, so version 5 cannot be in .venv.
CONNECTOR_5 := .connector-5

.PHONY: connector-tests
connector-tests: install ## The tests of the Snowflake loader with version 5 of the connector
	$$(bash scripts/uv.sh "$(PYTHON)") pip install --quiet --python $(BIN)/python \
		--target $(CONNECTOR_5) "snowflake-connector-python>=5,<6"
	PYTHONPATH=$(CONNECTOR_5) $(BIN)/python -c "import snowflake.connector as c; print(c.__version__)"
	PYTHONPATH=$(CONNECTOR_5) $(PYTEST) -n 0 tests/integration/warehouse/test_snowflake_load.py \
		tests/integration/warehouse/test_snowflake_external.py $(PYTEST_OPTIONS)

# Others by path: make python-tests PYTHONS="python3.12 /opt/python3.13/bin/python3.13"
PYTHONS ?= python3.11 python3.12 python3.13

.PHONY: python-tests
python-tests: ## Unit tests, and trades to gold, with each of Python 3.11, 3.12 and 3.13 that is there
	@PYTHONS="$(PYTHONS)" bash scripts/python_tests.sh -n $(WORKERS) -m "not drill" \
		tests/unit tests/integration/test_whole_way.py $(ARGS)

# `marathon` is its former name.
.PHONY: soak-test marathon
soak-test marathon: install ## Ten minutes of a faulty feed: 20 seeds in virtual time, one in real time
	SOAK_SEEDS=20 $(PYTEST) -m drill tests/drills/test_soak.py $(PYTEST_OPTIONS)

.PHONY: airflow-test
airflow-test: install ## Scheduled minutes on both warehouses, with kills; the demo on the stand-in for Snowflake
	$(PYTEST) -m soak -n 2 tests/drills/test_airflow.py tests/drills/test_demo.py $(PYTEST_OPTIONS)

# How often: make stress-tests TIMES=3; make fuzz TIMES=50
TIMES ?= 5

.PHONY: stress-tests
stress-tests: install ## The integration tests TIMES times, with every core kept busy by another process
	$(BIN)/python -m scripts.stress_tests --times $(TIMES) tests/integration $(ARGS)

# `soak` is its former name.
.PHONY: fuzz soak
fuzz soak: install ## The property tests TIMES times with random seeds; a failure prints how to repeat it
	@set -e; for run in $$(seq $(TIMES)); do \
		TICKHOUSE_TEST_PROFILE=fuzz $(PYTEST) -m "hypothesis and not soak" -n $(WORKERS) tests/unit $(ARGS); done

# The same trouble again: make crash-test SEED=7
SEED ?= $(shell echo $$RANDOM)

.PHONY: crash-test
crash-test: install ## 20 kills, broker restarts and 120 s without one in one replay; compares all
	$(BIN)/python -m tests.integration.topologies.crash_driver --seed $(SEED)

.PHONY: lint
lint: install ## ruff, mypy, import contracts, sqlfluff, and TypeScript on the page's scripts
	! git grep -nIE '^(<{7}|>{7}) ' # marks of an unfinished merge
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd dbt_stocks && ../$(BIN)/sqlfluff lint models --processes 2
	$(BIN)/python -m scripts.typescript_check

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

.PHONY: secrets
secrets: ## Write compose.env for `docker compose --env-file compose.env up`; never overwrites it
	@bash scripts/secrets.sh compose.env

# With MinIO: make compose-test LAKE=minio
LAKE ?= seaweedfs

.PHONY: compose-test
compose-test: install ## Run compose.yaml through failures, in Docker or an engine of its own (root)
	@LAKE=$(LAKE) bash scripts/compose_test/run.sh

.PHONY: dbt-docs
dbt-docs: install ## Write the documentation of the dbt project: .dbt-docs/index.html, one file, offline
	$(BIN)/python -m scripts.dbt_docs .dbt-docs

.PHONY: contracts
contracts: install ## Write the JSON Schemas of messages to docs/contracts
	$(BIN)/python -m app.contract_schemas docs/contracts

# The image has neither development packages nor embedded servers; its versions are those of .venv.
PIP_COMPILE = pip compile --universal --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: ## Resolve the lock files from pyproject.toml
	@set -e; uv=$$(bash scripts/uv.sh "$(PYTHON)"); \
	$$uv $(PIP_COMPILE) --python-version 3.11 --group dev --group embedded --group preview \
		--group image --group compiler pyproject.toml -o requirements.lock; \
	$$uv $(PIP_COMPILE) --python-version 3.12 --group image --constraints requirements.lock \
		pyproject.toml -o image-requirements.lock; \
	$$uv $(PIP_COMPILE) --python-version 3.12 --group compiler --constraints requirements.lock \
		-o compiler-requirements.lock
