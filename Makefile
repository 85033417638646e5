# make demo: a first look. make test: all tests. Both need Python 3.11 and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

DATA := $(or $(SER_DATA),../shared/data)
BUNDLED := ser_core/models/bundled
DEMO := demo
FIELDS := (?P<queue>[^/]+)/(?P<time>\d{8}T\d{6})_(?P<call_id>[^/.]+)

# The floor of the coverage is fail_under in pyproject.toml. `make test COVERAGE=` measures none.
COVERAGE := --cov --cov-report=term

.PHONY: help demo test fuzz reliability quick check lint types imports spelling docs docs-serve models encoder lock audit sbom licences \
    wheel flink-up flink-down clean

help:
	@echo "make demo    a night over the sample calls: tables, first rows, a picture"
	@echo "make test    all tests, the docstrings' examples among them, and the linter"
	@echo "make quick   the tests that take seconds"
	@echo "make check   linter, types, import contracts, spelling"
	@echo "make fuzz    ten minutes of mutated recordings, texts and tables"
	@echo "make reliability  plants every fault, and writes docs/reliability.md"
	@echo "make docs    the documentation site, in site/ (make docs-serve: as you write)"
	@echo "make models  train the bundled models again from the corpora in SER_DATA (an hour)"
	@echo "make encoder make the speech encoder again from the published weights, and compare"
	@echo "make lock    the versions and hashes of the image's packages; make audit: known weaknesses of these"
	@echo "make sbom    what the image holds, with licences (sbom.json); make wheel: the same bytes each time"
	@echo "make flink-up, make flink-down  a Flink cluster on this machine (needs Java 17 and Maven)"
	@echo "make clean   remove what these made"

$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python %d.%d found, 3.11 or newer expected; name it: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(READY)

demo: $(READY)
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BIN)/ser run --input tests/data/calls --output $(DEMO)/tables \
	    --channel-roles agent,customer --uri-fields '$(FIELDS)'
	@$(BIN)/ser show --output $(DEMO)/tables
	@$(BIN)/ser show --output $(DEMO)/tables \
	    --recording billing/20260301T091500_c0001.wav --save $(DEMO)/call.png
	@echo "tables:  $(DEMO)/tables (docs/tables.md says what each column means)"
	@echo "queries: docs/queries.md"

test: $(READY) lint
	$(BIN)/python -m pytest --doctest-modules ser_core pipelines
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(COVERAGE)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --minutes 10 --save .fuzz

reliability: $(READY)
	$(BIN)/python -m pytest -p tests.reliability --reliability docs/reliability.md -m fault tests

quick: $(READY)
	$(BIN)/python -m pytest -m 'not long' tests/ser_core tests/deploy \
	    tests/pipelines/test_dataflow.py tests/pipelines/test_store.py tests/pipelines/test_uri_fields.py

check: lint types imports spelling

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

spelling: $(READY)
	$(BIN)/codespell

docs: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

$(VENV)/ready-docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# benchmarks/accuracy.py measures them on voices that they have never heard.
# calls and calls-fast may be used for anything. EMOVO sets their thresholds; it is not trained on.
OPEN = --corpus cremad=$(DATA)/cremad emodb=$(DATA)/emodb --unheard emovo=$(DATA)/emovo \
    --noise $(DATA)/noise
models: $(READY)
	$(BIN)/ser train --recipe seed --scale zscore --corpus ravdess=$(DATA)/ravdess --save $(BUNDLED)/seed
	$(BIN)/ser train --recipe calls $(OPEN) --save $(BUNDLED)/calls
	$(BIN)/ser train --recipe calls $(OPEN) --feature-set telephone --copies 0.3 --decay 0.1 \
	    --save $(BUNDLED)/calls-fast
	$(BIN)/ser train --recipe calls --noise $(DATA)/noise --corpus ravdess=$(DATA)/ravdess \
	    emovo=$(DATA)/emovo cremad=$(DATA)/cremad emodb=$(DATA)/emodb --save $(BUNDLED)/calls-research

encoder: $(READY)
	$(BIN)/python -m ser_core.features.encoder.build

# docs/supply-chain.md
$(VENV)/ready-supply: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[supply]'
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
    --python-version 3.11.14 --python-platform x86_64-manylinux_2_28 -c constraints.txt

lock: $(VENV)/ready-supply
	printf '# Every package of the image with the hashes of its files: make lock\n' > deploy/requirements.lock
	$(LOCK) --extra av --extra aws --extra gcp setup.py >> deploy/requirements.lock
	printf '# What builds packages in the image: make lock\n' > deploy/build.lock
	printf 'setuptools\nwheel\n' | $(LOCK) - >> deploy/build.lock

audit: $(VENV)/ready-supply
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r deploy/requirements.lock

sbom: $(VENV)/ready-supply
	$(BIN)/cyclonedx-py requirements deploy/requirements.lock --sv 1.6 --of JSON --output-reproducible --output-file sbom.json
	$(BIN)/python deploy/licences.py --into sbom.json

licences: $(READY)
	$(BIN)/python deploy/licences.py

wheel: $(READY)
	PYTHON=$(abspath $(BIN)/python) deploy/wheel.sh dist

flink-up flink-down: $(READY)
	@$(BIN)/python -m tests.flink.cluster $(@:flink-%=%)

clean:
	@if [ -d .flink/run ]; then $(BIN)/python -m tests.flink.cluster down; fi
	rm -rf $(VENV) .flink $(DEMO) site .coverage* *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
