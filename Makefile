# Every target sets up what it needs first. Without make: see README.md for the same in plain commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup setup-dev setup-ray benchmark test test-browser faults faults-ray calibrate lint format clean

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-ray: $(VENV)/.installed-ray

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

# For `run --engine ray`.
$(VENV)/.installed-ray: $(VENV)/.installed requirements-ray.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-ray.txt
	@touch $@

benchmark: setup
	$(BIN)/python run_benchmark.py

# A process per core, a file each: tests of one file share what is dear to make.
test: setup-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore tests/browser

# The report page in a real browser. Needs Chromium (apt-get install chromium); skipped, with the reason, where there is none.
test-browser: setup-dev
	$(BIN)/python -m pytest tests/browser

# Processes killed at a hundred random moments; afterwards everything is as in an undisturbed run. About half an hour on two cores.
faults: setup-dev
	$(BIN)/python -m tests.faults.kills

# A Ray cluster of two local nodes loses one in the middle of `digits`: the same leaderboard. About a quarter of an hour on two cores.
faults-ray: setup-dev setup-ray
	$(BIN)/python -m tests.faults.ray_node

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
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
