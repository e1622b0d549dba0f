# Each target installs what it needs into .venv first; see CONTRIBUTING.md for which suite runs where.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: debian install demo check test bench chaos reference lock clean

# What some tests need beside Java and Maven: a PostgreSQL with TLS, a Prometheus, a browser.
DEBIAN := chromium postgresql prometheus

debian:
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || { apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(DEBIAN) >/dev/null; }

install: .venv/installed

demo: install
	$(BIN)/callstream demo

check: .venv/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two at a time, each with a broker and a database of its own: the tests mostly wait. A named broker is one for all.
test: .venv/developed
	$(BIN)/python -m pytest $(if $(CALLSTREAM_TEST_KAFKA),,-n 2 --dist loadfile)

bench: .venv/developed
	$(BIN)/python -m benchmarks $(BENCH)

# Seeded, half an hour at most; CALLSTREAM_CHAOS_SEED=N chooses another sequence of blows.
chaos: .venv/developed
	$(BIN)/python -m pytest -s -m long tests/acceptance/test_chaos.py

reference: .venv/developed
	$(BIN)/python -m docs.generate
	$(BIN)/python -m dashboards.build

COMPILE := pip-compile -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: .venv/developed
	$(BIN)/$(COMPILE) --extra demo --extra build --output-file requirements.lock pyproject.toml
	$(BIN)/$(COMPILE) --allow-unsafe -c requirements.lock --extra dev --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "callstream needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/developed: .venv/installed requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
