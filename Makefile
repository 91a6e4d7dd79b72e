# make run and make test set up .venv by themselves; make help lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run run-api run-worker build-api build-worker build-all test faults soak bench clean fmt lint audit lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: $(VENV)/.runtime ## everything in one process, on the embedded store: API :8080, metrics :2112
	@exec $(BIN)/python taskqueue.py --role all $(ARGS)

run-api: $(VENV)/.runtime ## only the API, on the Redis of REDIS_URL (default redis://localhost:6379/0)
	@exec $(BIN)/python taskqueue.py --role api $(ARGS)

run-worker: $(VENV)/.runtime ## only a worker, on the same Redis; METRICS on :2113
	@exec $(BIN)/python taskqueue.py --role worker --metrics-port 2113 $(ARGS)

test: $(VENV)/.dev ## all tests
	$(BIN)/python -m pytest $(ARGS)

faults: $(VENV)/.dev ## break everything that can break, count what is lost; ONLY=poison,store-full SCALE=0.1 SEED=7 narrow it
	@$(BIN)/python -m tests.faults $(if $(ONLY),--only $(ONLY)) $(if $(SCALE),--scale $(SCALE)) $(if $(SEED),--seed $(SEED)) $(ARGS)

MINUTES ?= 30
soak: $(VENV)/.dev ## mixed load for MINUTES=30, watching memory, files, threads, connections and keys
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

bench: $(VENV)/.runtime ## ours and its peers side by side; PEERS=arq,saq CASES=drain,latency ROUNDS=3 narrow it
	@$(BIN)/python -m benchmarks $(if $(PEERS),--peers $(PEERS)) $(if $(CASES),--cases $(CASES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

lint: $(VENV)/.dev ## style, types, and which floor imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev ## known vulnerabilities and licences of everything installed
	$(BIN)/python .ci/audit.py

lock: $(VENV)/.dev ## renew requirements.txt and requirements-dev.txt, for every supported Python and platform
	$(LOCK) --upgrade pyproject.toml --group dev --output-file requirements-dev.txt
	$(LOCK) --upgrade pyproject.toml --constraint requirements-dev.txt --output-file requirements.txt

fmt: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build-all: dist/taskqueue build-api build-worker ## single-file executables of all roles in dist/

build-api: dist/taskqueue-api ## dist/taskqueue-api

build-worker: dist/taskqueue-worker ## dist/taskqueue-worker

SOURCES := taskqueue.py pyproject.toml $(shell find _taskqueue -type f -not -name '*.pyc')

dist/taskqueue: $(VENV)/.dev $(SOURCES)
	$(BIN)/pex . --venv prepend --console-script taskqueue --output-file $@

dist/taskqueue-api: $(VENV)/.dev $(SOURCES)
	$(BIN)/pex . --venv prepend --console-script taskqueue --inject-args '--role api' --output-file $@

dist/taskqueue-worker: $(VENV)/.dev $(SOURCES)
	$(BIN)/pex . --venv prepend --console-script taskqueue --inject-args '--role worker' --output-file $@

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "taskqueue needs Python 3.11 or newer; name one with: make PYTHON=python3.12 run" >&2; exit 2; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements.txt
	@$(PIP) install --require-hashes --requirement requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch $@

clean: ## remove what was built and set up; the data in .taskqueue stays
	rm -rf $(VENV) benchmarks/.venvs dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
