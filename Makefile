.DEFAULT_GOAL := help
# where it is set, each of the processes that tests start compiles torch and its friends anew: half a minute of imports
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# a CPU-only PyTorch: make run TORCH_INDEX=URL-OF-A-CPU-INDEX (not torch 2.13.0+cpu: its torchvision fails to import)
TORCH_INDEX ?=
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match,)

.PHONY: attacks audit compose-test help hosts-test proxy-test soak run test check format fuzz bench bench-full bench-value bench-gpu walk clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/ready: requirements.txt pyproject.toml
	@echo "Creating the environment (about half a minute the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip install -q --python $(BIN)/python $(INDEX) -r requirements.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

run: $(VENV)/ready ## start everything and print the address; Ctrl+C stops it
	@$(BIN)/nearmiss up

test: $(VENV)/ready check ## everything that CI runs
	@$(BIN)/python -m pytest

check: $(VENV)/ready ## style, import rules, types, security rules, containers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache && $(BIN)/mypy
	@$(BIN)/bandit -q -c pyproject.toml -r app worker clipcore migrations
	@$(BIN)/hadolint Dockerfile
	@POSTGRES_PASSWORD=x BROKER_PASSWORD=x $(BIN)/docker-compose --env-file /dev/null --profile '*' config -q

audit: $(VENV)/ready ## known holes of the pinned packages (asks an advisory service over the network)
	@said=$$($(BIN)/uv tool run pip-audit --strict --no-deps --disable-pip --progress-spinner off -r requirements.txt 2>&1); code=$$?; \
	  echo "$$said" | tail -40; \
	  if echo "$$said" | grep -qE "could not be audited|not found on PyPI|ServiceError|ConnectionError|Max retries|timed out"; then \
	    echo "audit: the advisory service did not answer for every package, so nothing is known, good or bad; try where it can be reached"; exit 2; fi; \
	  exit $$code

format: $(VENV)/ready ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

fuzz: $(VENV)/ready ## 50,000 damaged files and odd requests (make fuzz CASES=2000 for a short one)
	@$(BIN)/python benchmarks/fuzz.py --cases $(or $(CASES),50000)

bench: $(VENV)/ready ## the performance suite at small sizes (at most half an hour; keeps nothing)
	@$(BIN)/python benchmarks/run.py --quick

bench-full: $(VENV)/ready ## the performance suite at the documented sizes (hours, on a quiet machine; writes results)
	@$(BIN)/uv pip install -q --python $(BIN)/python -e .[bench]
	@$(BIN)/python benchmarks/run.py && $(BIN)/python docs/make_tables.py

bench-value: $(VENV)/ready ## does curation help? docs/evidence.md (some two hours of one core; can be stopped and goes on)
	@$(BIN)/uv pip install -q --python $(BIN)/python -e .[bench]
	@export OMP_NUM_THREADS=1; for part in value value_many value_bases; do $(BIN)/python benchmarks/$$part.py || exit 1; done
	@OMP_NUM_THREADS=1 NEARMISS_BASE_SEED=1 $(BIN)/python benchmarks/value_sweep.py && $(BIN)/python docs/make_tables.py

bench-gpu: $(VENV)/ready ## the training step on a CUDA device against open_clip's accumulation
	@$(BIN)/python benchmarks/step_gpu.py

walk: $(VENV)/ready ## browse, curate, fine-tune in Chromium on a running Nearmiss; writes docs/screenshots
	@$(BIN)/python tests/ui/walk.py

clean: ## remove the environment (never your data)
	rm -rf $(VENV) build *.egg-info

hosts-test: $(VENV)/ready ## network namespaces as machines: a worker is cut off in the middle of a run (needs root)
	@$(BIN)/python benchmarks/hosts.py

compose-test: $(VENV)/ready ## builds the images and runs them with podman (needs root; BASE_IMAGE=…, BUILD_OPTIONS='…')
	@$(BIN)/python tests/deploy/containers.py $(if $(BASE_IMAGE),--base-image '$(BASE_IMAGE)') $(if $(BUILD_OPTIONS),--build-options='$(BUILD_OPTIONS)')

proxy-test: $(VENV)/ready ## the compose file's proxy in front of a web process: HTTP/2, cookies, streams, uploads (needs caddy)
	@$(BIN)/python tests/deploy/proxy.py

soak: $(VENV)/ready ## fifty annotators, 200 open pages, outages (make soak MINUTES=10; default two hours)
	@$(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),120)

attacks: $(VENV)/ready ## XSS, traversal, SSRF, CSRF and header payloads against a web process of its own
	@$(BIN)/python benchmarks/attacks.py
