# `make` lists the targets. Only .venv is inside the clone; everything else is in CACHE.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/checkpoint-ready
BIN := .venv/bin
# The folders with Python code that exist.
CODE := $(wildcard consumer schemas tests dev bench testkit/src examples)
ARGS ?=

export RUFF_CACHE_DIR := $(CACHE)/ruff
export MYPY_CACHE_DIR := $(CACHE)/mypy
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: venv java ## Run the service on a local Kafka and show that no event is lost or duplicated
	@$(BIN)/python -m dev.demo $(ARGS)

# Three modules run in parallel, because most tests wait. A module stays on one worker: its tests share fixtures.
WORKERS ?= 3

.PHONY: test
test: venv archive version-jars browser chart-tools kcat subscribers ## Run all tests (ARGS="-k name" selects tests, WORKERS=0 runs one test at a time, KAFKA_VERSION=3.9.2 uses another broker)
	@[ "$(CLUSTER_TEST_BUILD)" != 1 ] || $(MAKE) cluster-binaries
	@[ -n "$(KAFKA_BOOTSTRAP_SERVERS)" ] || $(BIN)/python -m dev.connect_jars
	@$(BIN)/python -m pytest -o cache_dir='$(CACHE)/pytest' \
		--numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The tests that depend most on the brokers: transactions, fencing, restore, groups, jobs, admin.
VERSION_TESTS := $(patsubst %,tests/integration/test_%.py,kafka_versions port_conformance local_kafka \
	exactly_once crash_steps fencing hanging_transactions restore truncation membership admin clocks \
	traps_changelog traps_coordinator traps_producer replay backfill dead_letters tools_in_an_outage)

.PHONY: test-versions
test-versions: venv java ## Run the tests that depend most on the brokers on each supported version of Kafka (ARGS="-k name")
	@status=0; for version in $$($(BIN)/python dev/kafka.py versions); do \
		echo "Apache Kafka $$version"; export KAFKA_VERSION=$$version; \
		$(MAKE) archive && $(BIN)/python -m pytest -o cache_dir='$(CACHE)/pytest' \
			--numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(VERSION_TESTS) $(ARGS) \
			|| status=1; \
	done; exit $$status

.PHONY: chaos
chaos: venv java ## Inject faults into a cluster of three brokers and check exactly-once (MINUTES=30 SEED=7)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --seed $(or $(SEED),7) $(ARGS)

.PHONY: logins
logins: venv java ## Measure a steady load while tokens and logins end (MINUTES=10, ARGS="--without" for the same load without an end)
	@$(BIN)/python -m tests.logins --minutes $(or $(MINUTES),10) $(ARGS)

.PHONY: check
check: venv ## Check lint rules, formatting, types and import rules
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(CODE)
	@$(BIN)/lint-imports --cache-dir '$(CACHE)/import-linter'

.PHONY: format
format: venv ## Format the code and apply the automatic fixes of the linter
	@$(BIN)/ruff check --fix --exit-zero --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

.PHONY: kafka
kafka: venv java ## Start a Kafka on localhost:9092 in the background (ARGS="--nodes 3 --data DIR")
	@$(BIN)/python dev/kafka.py start $(ARGS)

.PHONY: kafka-stop
kafka-stop: venv ## Stop the Kafka that `make kafka` started
	@$(BIN)/python dev/kafka.py stop

.PHONY: bench
bench: venv java ## Measure latency and throughput on a local Kafka (ARGS=peers compares with Kafka Streams and others)
	@$(BIN)/python -m bench $(ARGS)

ENGINE ?= docker
IMAGE ?= checkpoint-ready

.PHONY: image
image: ## Build the container image (ENGINE=podman, IMAGE=name:tag, ARGS="--build-arg BASE=…")
	@$(ENGINE) build --tag '$(IMAGE)' --build-arg REVISION="$$(git rev-parse HEAD)" $(ARGS) .

.PHONY: image-test
image-test: venv java ## Build the image without a registry, and test the service in it (ARGS="--base IMAGE" pulls a base image, "--extras otel" adds tracing)
	@dev/ensure-podman
	@$(BIN)/python -m dev.image_test $(ARGS)

.PHONY: fuzz
fuzz: venv java ## Check a million mutated payloads against an oracle (ARGS="--payloads 50000 --seed 7"), record batches against the Java client, then fuzz guided by coverage
	@$(BIN)/python -m tests.fuzz $(or $(ARGS),--payloads 1000000 --seed 1)
	@$(BIN)/python -m tests.batches --batches 60000 --seed 1
	@$(BIN)/python -m tests.fuzz.guided --seconds 60

.PHONY: venv
venv: .venv/compiled ## Create the virtual environment in .venv, and build the C extensions

.venv/complete: requirements/dev.txt pyproject.toml dev/make-venv
	@dev/make-venv

.venv/compiled: .venv/complete $(shell find consumer -name '*.c') dev/build-extensions
	@dev/build-extensions

# The jars are downloaded first, so that the download is visible and does not count as a slow test.
.PHONY: java
java: venv
	@dev/ensure-java
	@[ -n "$(KAFKA_BOOTSTRAP_SERVERS)" ] || $(BIN)/python dev/kafka.py jars

# The tests start a broker of each supported version (tests/integration/test_kafka_versions.py).
.PHONY: version-jars
version-jars: java
	@[ -n "$(KAFKA_BOOTSTRAP_SERVERS)" ] || $(BIN)/python dev/kafka.py jars --tested

# The archive halves the start time of a broker, and the tests start dozens.
.PHONY: archive
archive: java
	@[ -n "$(KAFKA_BOOTSTRAP_SERVERS)" ] || $(BIN)/python dev/kafka.py archive

.PHONY: browser
browser:
	@dev/ensure-browser

# Without kcat and jq its test is skipped, except in CI, where it fails.
.PHONY: kcat
kcat:
	@dev/ensure-kcat || [ "$(CI)" != true ]

.PHONY: screenshots
screenshots: venv java browser ## Recreate the screenshots of the status page (docs/status-*.png)
	@$(BIN)/python -m dev.status_screenshot

# Helm, promtool and the CRDs for the tests of the chart. Without them the tests are skipped, except in
# CI, where they fail.
.PHONY: chart-tools
chart-tools: venv
	@{ dev/ensure-java && dev/ensure-go && $(BIN)/python -m dev.chart_tools; } || [ "$(CI)" != true ]

# The example subscribers in Go, Java and TypeScript. Without their tools the tests are skipped, as above.
.PHONY: subscribers
subscribers: venv
	@{ dev/ensure-java && dev/ensure-go && dev/ensure-node && $(BIN)/python -m dev.subscribers; } || [ "$(CI)" != true ]

.PHONY: chart
chart: chart-tools ## Test only the Helm chart, without a broker
	@$(BIN)/python -m pytest -o cache_dir='$(CACHE)/pytest' tests/chart $(ARGS)

# etcd and three programs of Kubernetes, which Go builds once. `make test` runs the cluster test too if
# they are in the cache. CLUSTER_TEST_BUILD=1 builds them.
.PHONY: cluster-binaries
cluster-binaries: venv
	@dev/ensure-go
	@$(BIN)/python -m dev.cluster_binaries >/dev/null

.PHONY: cluster-test
cluster-test: archive chart-tools cluster-binaries ## Install, scale, upgrade, drain and kill on a real Kubernetes control plane, under load
	@$(BIN)/python -m tests.cluster $(ARGS)

.PHONY: helm3
helm3: venv ## Build Helm 3 once (minutes), to test the chart with it too
	@dev/ensure-go
	@$(BIN)/python -m dev.chart_tools helm3

PIP_TOOLS := pip-tools==7.6.2
PIP_COMPILE := $(CACHE)/pip-tools/bin/pip-compile --quiet --upgrade --allow-unsafe --generate-hashes \
	--strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# In this order: a file may include one before it.
PINS := $(addprefix requirements/,runtime otel sources aws azure gcp oauth dev build bench-peers testkit trainers schema-registry mlflow-server schema-tools webhook-senders) \
	examples/pact/requirements examples/subscribers/python/requirements

.PHONY: requirements
requirements: venv ## Pin the newest allowed package versions with their hashes
	@[ -x '$(CACHE)/pip-tools/bin/pip-compile' ] || $(BIN)/python -m venv '$(CACHE)/pip-tools'
	@'$(CACHE)/pip-tools/bin/pip' install --quiet --disable-pip-version-check $(PIP_TOOLS)
	@for pins in $(PINS); do CUSTOM_COMPILE_COMMAND="make requirements" PIP_FIND_LINKS= \
		$(PIP_COMPILE) --output-file $$pins.txt $$pins.in || exit; done

.PHONY: clean
clean: ## Remove the virtual environment and all build output (the cache is kept)
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
