# Every command of this project, spelled once: people, README and CI use these targets.
#
#   make up      a whole Plystra on this machine, until Ctrl-C      (HOME_DIR, AUTHZ_PORT, AUDIT_PORT, SEED)
#   make demo    the same, ends with 0 when all six questions are answered and recorded as expected
#   make reset   deletes what `make up` made: data, keys, logs       (HOME_DIR)
#   make test    everything from lint to the stack test             (PYTEST_ARGS)
#   make lock    every lock file anew, after a migration or a statement has changed
#   make bench   the figures of docs/performance.md; `python -m benchmarks worlds --full` takes those of the largest world
#   make bench-drift    how many of several hundred changes to a schema are found, beside pg_dump's text
#   make release-check  everything that docs/release-checklist.md asks of a release

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first one that is new enough.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
    "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)
HOME_DIR ?= .plystra
AUTHZ_PORT ?= 8080
AUDIT_PORT ?= 8081
SEED ?= finance-reviewer
# More than there are cores: most tests wait for processes and disks.
WORKERS ?= 4

BIN := .venv/bin
INSTALLED := .venv/.installed
LOCAL := --home '$(HOME_DIR)' --authz-port $(AUTHZ_PORT) --audit-port $(AUDIT_PORT)

.PHONY: help up demo reset test lint unit bench bench-drift openapi lock requirements format release-check clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# Made once, and again when what it is made from has changed. Everything is pinned by hash; our own package is only linked.
$(INSTALLED): requirements/dev.txt pyproject.toml
	@[ -n '$(PYTHON)' ] || { echo "Python 3.11 or newer is needed, and none was found. Name one: make PYTHON=/path/to/python" >&2; exit 2; }
	@rm -f $@
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: $(INSTALLED)
	@$(BIN)/plystractl up $(LOCAL) --seed $(SEED)

demo: $(INSTALLED)
	@$(BIN)/plystractl demo $(LOCAL)

test: lint unit

unit: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(PYTEST_ARGS)

# The rules of `migrate lint` are those of squawk and our own; only forward migrations are looked at.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/plystractl migrate lint
	$(BIN)/plystractl migrate lock --check
	$(BIN)/plystractl schema lock-queries --check
	$(BIN)/plystractl openapi --check
	$(BIN)/plystractl reference --check

release-check: $(INSTALLED)
	@AUTHZ_PORT=$(AUTHZ_PORT) AUDIT_PORT=$(AUDIT_PORT) .ci/release-check.sh

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

bench-drift: $(INSTALLED)
	$(BIN)/python -m benchmarks drift

openapi: $(INSTALLED)
	$(BIN)/plystractl openapi

# Replays every migration in a scratch PostgreSQL.
lock: $(INSTALLED)
	$(BIN)/plystractl migrate diff
	$(BIN)/plystractl schema lock-queries

# Needs uv; only for those who change the dependencies in pyproject.toml.
requirements:
	uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
	    pyproject.toml --extra local --output-file requirements/image.txt
	uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
	    pyproject.toml --extra local --group dev --output-file requirements/dev.txt
	uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
	    requirements/build.in --output-file requirements/build.txt

reset: $(INSTALLED)
	@$(BIN)/plystractl reset --home '$(HOME_DIR)'

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
