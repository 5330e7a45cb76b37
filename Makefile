# What a person types. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STARTED := $(shell date +%s.%N)
export INGLE_DATA ?= ../shared/data
# KUBERNETES=1.35 builds and uses that older control plane instead, with any target.
export INGLE_KUBERNETES := $(KUBERNETES)

.DEFAULT_GOAL := help
.PHONY: help install controlplane demo test lint types layers generated unit unit-half unit-rest e2e e2e-real bench lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed ## virtual environment with every pinned dependency

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

controlplane: install ## build etcd, Kubernetes, Helm and the GPU stand-in, once
	$(BIN)/python -m ingle_lab.controlplane build
	$(BIN)/python -m ingle_lab.helm build
	$(BIN)/python -m ingle_lab.gpu build >/dev/null

demo: controlplane ## the main job, live; ONCE=1 ends by itself, TRACE=FILE replays arrivals, REAL=1 on a real kubelet (needs root)
	INGLE_DEMO_STARTED_AT=$(STARTED) $(BIN)/python -m $(if $(REAL),e2e_real.demo,ingle_lab.demo $(if $(ONCE),--once) $(if $(TRACE),--trace $(TRACE)))

test: lint types layers generated unit e2e ## everything CI checks

lint: install ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy, strict
	$(BIN)/mypy

layers: install ## who may import whom
	$(BIN)/lint-imports --no-cache

generated: install ## crds/, charts/, docs/reasons.md and docs/benchmarks.md are what the code says
	$(BIN)/python -m ingle_kit.objects.crd --check
	$(BIN)/python -m ingle_kit.objects.reasons --check
	$(BIN)/python -m charts.generate --check
	$(BIN)/python -m bench.report --check

# Most tests wait more than they compute, so two halves run side by side, each with control planes of its own.
HALF := $(addprefix tests/,agent chart cli core extender kit lab/engine lab/gpu lab/node router)

unit: controlplane ## unit and component tests, with the real API server
	@echo "two halves at once; each shows what it says when it has ended"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going unit-half unit-rest

unit-half:
	$(BIN)/python -m pytest $(HALF)

unit-rest:
	$(BIN)/python -m pytest tests $(addprefix --ignore=,$(HALF))

e2e: controlplane ## the whole lab, by user story
	$(BIN)/python -m pytest e2e

e2e-real: controlplane ## the chart on a real kubelet, needs root; ONLY=FILE runs that one: docs/real-node.md
	$(BIN)/python -m ingle_lab.realnode check
	$(BIN)/python -m ingle_lab.realnode build
	$(BIN)/python -m pytest e2e_real$(if $(ONLY),/$(ONLY)) -s

bench: controlplane ## NAME=demo | filter | footprint | placement | placement-real | warm | warm-real: measure, write bench/results/NAME.json and docs/benchmarks.md
	$(BIN)/python -m bench.run $(NAME)

lock: install ## pin dependencies anew
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --quiet --upgrade -o requirements.lock

clean: ## remove the environment and the lab's state (not what was built)
	rm -rf $(VENV) .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis
