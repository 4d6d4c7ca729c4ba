# dev: a workbench until Ctrl-C · demo: the main job through real parts · test: every check and test
# bench-quick: numbers beside other libraries (bench: all, 45 minutes)
# test-server SERVER=/usr/bin/redis-server: what a Redis or Valkey matters for, on that program
# test-oldest: what these matter for, on the oldest versions of the libraries that pyproject.toml allows
# test-browser: installs Playwright and Chromium and tries the pages in it · screenshots: the pictures of docs/pages
# torture: kills, outages and interleavings for an hour · test-broker: installs RabbitMQ and tries it as the broker
# test-clients: installs generators of TypeScript clients; these, clients in Node and Java, and the programs of the how-tos are tried
# coverage: the suite with a threshold · mutation: does the planner's suite notice changed code? · diagrams: draws docs/diagrams
# Needs Python >= 3.11 with venv, make, and a package index. Everything else is made in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER := playwright==1.65.2 axe-playwright-python==0.1.8

.PHONY: dev demo test test-server test-oldest test-browser screenshots test-broker test-clients torture coverage mutation check format diagrams bench bench-quick lock clean help
help: ; @sed -n '1,8p' Makefile

dev: $(READY) ; @$(BIN)/relations dev
demo: $(READY) ; @$(BIN)/relations demo
test: check ; @$(BIN)/pytest -n 4 --dist worksteal
test-server: $(READY)
	@test -x "$(SERVER)" || { echo "Name the program: make test-server SERVER=/usr/bin/redis-server"; exit 2; }
	@mkdir -p $(VENV)/server && ln -sf "$(abspath $(SERVER))" $(VENV)/server/redis-server
	@$(VENV)/server/redis-server --version
	@PATH="$(abspath $(VENV)/server):$$PATH" $(BIN)/pytest -n 2 --dist worksteal tests/store tests/deploy tests/process
test-oldest: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(PYTHON) -m venv $(VENV)/oldest
	@$(VENV)/oldest/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/uv pip compile --quiet --python $(VENV)/oldest/bin/python --resolution lowest-direct --extra spreadsheets --extra embedded \
	  pyproject.toml -o $(VENV)/oldest.txt
	@$(BIN)/uv pip install --quiet --python $(VENV)/oldest/bin/python --no-deps -r $(VENV)/oldest.txt
	@$(VENV)/oldest/bin/pytest -n 2 --dist worksteal tests/config tests/network tests/onoffice tests/web
test-browser: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(BROWSER)
	@command -v chromium chromium-browser google-chrome >/dev/null || { test "$$(id -u)" = 0 && apt-get install -y -q chromium; } \
	  || { echo "Install a Chromium, on Debian: apt-get install chromium; or name one in CHROMIUM"; exit 2; }
	@$(BIN)/pytest tests/browser
screenshots: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(BROWSER)
	@$(BIN)/python -m tests.browser.screenshots
test-broker: $(READY) ; @ops/rabbitmq.sh install && $(BIN)/pytest tests/deploy/test_rabbitmq.py
test-clients: $(READY)
	@command -v npm >/dev/null && command -v java >/dev/null || { \
	  echo "Clients in other languages need Node 20.19 or newer with npm, and Java 17 or newer."; exit 2; }
	@npm ci --prefix tests/clients/typescript --ignore-scripts --no-fund --no-audit --loglevel error
	@$(BIN)/pytest tests/clients
coverage: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pytest-cov==7.1.0
	@$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=92
mutation: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	@rm -rf mutants && $(BIN)/mutmut run --max-children 2 && $(BIN)/mutmut results
torture: $(READY) ; @$(BIN)/python -m tests.torture
diagrams: ; @docs/diagrams/draw.sh
bench: $(READY) ; @$(BIN)/python -m ops.bench --save build/bench
bench-quick: $(READY) ; @$(BIN)/python -m ops.bench --quick --save build/bench-quick

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "onoffice-relations needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@echo "Making $(VENV) and installing (once) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock || { \
	  echo "A package could not be installed (see pip's words above). If it found no matching wheel, this platform lacks one:"; \
	  echo "the project is made for Linux (glibc) and macOS on x86_64 and arm64. If it could not connect, check the package index."; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --group dev --extra spreadsheets --extra embedded --extra mcp --extra telemetry pyproject.toml -o requirements.lock

clean: ; @rm -rf $(VENV) build dist tests/clients/typescript/node_modules
