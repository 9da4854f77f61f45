# Every target sets up what it needs first. Without make: see README.md for the same in plain commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The versions that the tests passed with. `make setup LOCK=` takes the newest ones that the ranges of requirements.txt allow.
LOCK := requirements.lock
CONSTRAINED := $(if $(LOCK),--constraint $(LOCK))
# `make setup INSTALLER=uv` fetches and unpacks side by side: 40 seconds for everything that the tests need, where pip took 3 minutes.
INSTALLER ?= pip
$(if $(filter pip uv,$(INSTALLER)),,$(error INSTALLER=$(INSTALLER): expected pip or uv))
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL = $(if $(filter uv,$(INSTALLER)),$(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python,$(PIP))

.PHONY: setup setup-dev setup-ray benchmark test test-browser test-oldest fuzz lock audit-dependencies faults faults-ray scaling calibrate lint format clean

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-ray: $(VENV)/.installed-ray

$(VENV)/.installed: requirements.txt $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement requirements.txt $(CONSTRAINED)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(INSTALL) --requirement requirements.txt --requirement requirements-dev.txt $(CONSTRAINED)
	@touch $@

# For `run --engine ray`.
$(VENV)/.installed-ray: $(VENV)/.installed requirements-ray.txt
	$(INSTALL) --requirement requirements-ray.txt $(CONSTRAINED)
	@touch $@

benchmark: setup
	$(BIN)/python run_benchmark.py

# A process per core, a file each: tests of one file share what is dear to make.
test: setup-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore tests/browser

# The report page in a real browser. Needs Chromium (apt-get install chromium); skipped, with the reason, where there is none.
test-browser: setup-dev
	$(BIN)/python -m pytest tests/browser

# Processes killed at a hundred random moments; afterwards everything must be as in an undisturbed run. By hand: it takes long.
faults: setup-dev
	$(BIN)/python -m tests.faults.kills

# A Ray cluster of two local nodes loses one in the middle of `digits`: the same leaderboard. About a quarter of an hour on two cores.
faults-ray: setup-dev setup-ray
	$(BIN)/python -m tests.faults.ray_node

# The harness' share of published runs, a simulation of a thousand runs, and one worker against two: ten idle minutes on two cores.
scaling: setup-dev
	$(BIN)/python -m tests.scaling.overhead
	$(BIN)/python -m tests.scaling.simulation
	$(BIN)/python -m tests.scaling.workers

# Strange presets, records, checkpoints, submissions and images, new ones for an hour; the short form of it is a part of `make test`.
fuzz: FUZZ_SECONDS ?= 3600
fuzz: setup-dev
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/fuzz

# Whole runs, attacks and the store under the oldest versions that requirements.txt allows; uv knows which they are.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest --numprocesses auto --dist loadfile $(OLDEST)

.venv-oldest/.installed: requirements.txt requirements-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct \
		--requirement requirements.txt --requirement requirements-oldest.txt
	@touch $@

OLDEST := tests/results tests/scenarios/test_scenario_contract.py tests/attacks/test_contract.py tests/benchmark/running/test_runs.py \
	tests/benchmark/planning/test_identities.py tests/reports/test_frames.py

# The newest versions that the ranges allow become the tested ones, once `make test VENV=.venv-newest LOCK=` has passed with them.
lock:
	rm -rf .venv-newest
	$(MAKE) setup-dev VENV=.venv-newest LOCK=
	sed -n '/^#/p' requirements.lock > .venv-newest/lock
	.venv-newest/bin/python -m pip freeze | sed 's/+.*//' >> .venv-newest/lock
	mv .venv-newest/lock requirements.lock

# Known weaknesses of the tested versions, but for those that audit-exceptions.txt argues. Asks an advisory service over the internet.
audit-dependencies:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/python -m pip_audit --requirement requirements.lock --no-deps --disable-pip --strict $(AUDIT_EXCEPTIONS)

AUDIT_EXCEPTIONS = $(shell sed -n 's/^\([A-Z][^ ]*\): .*/--ignore-vuln \1/p' audit-exceptions.txt)

# How often the checks find planted defects, and how often they fire on honest rows; restartable, about an hour on two cores.
calibrate: setup-dev
	$(BIN)/python -m tests.defects.calibration

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-audit .pytest_cache .mypy_cache .ruff_cache .hypothesis
