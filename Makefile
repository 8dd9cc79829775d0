# One command surface; CI calls the same targets. `make demo` and `make test` set themselves up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# More arguments for pip, e.g. an index that holds CPU-only builds of torch.
PIP_ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix bench bench-full bench-report bench-sandbox bench-hacking bench-strategies image crash clean

help:
	@echo "make demo    evolve a reward for a real MuJoCo task, no key needed, about 2.5M environment steps"
	@echo "make test    run the tests"
	@echo "make check   ruff, mypy, import rules, wheel contents"
	@echo "make fix     format and apply ruff's safe fixes"
	@echo "make bench   speed beside bare MuJoCo, gymnasium and Stable-Baselines3, in one run (about 10 minutes)"
	@echo "make bench-full  the whole benchmark (hours, can be interrupted); writes docs/bench.md"
	@echo "make bench-report  size of a report, time to write and to open it, up to 1,000 candidates (minutes)"
	@echo "make bench-sandbox  what the wall costs and how soon it acts: start-up, training speed, many jobs (about 20 minutes)"
	@echo "make bench-hacking  planted hacks and good rewards: which are flagged (an hour, the first time)"
	@echo "make bench-strategies  strategies at matched steps (hours, can be interrupted); writes docs/strategies.md"
	@echo "make crash   kill searches and fail disks at every durable step, and resume them (two hours)"
	@echo "make image   build the sandbox container image"

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11; say make PYTHON=/path/to/python3.11" >&2; exit 4; }
	@echo "setting up .venv with $(PYTHON) (2 to 8 minutes and 3 GB, once)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 4; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "ready: '. .venv/bin/activate' puts eureka on the PATH; 'eureka doctor' looks at this machine" >&2

demo: setup
	@$(BIN)/eureka evolve hopper_forward --population 4 --generations 3 --timesteps 120000

test: setup
	@$(BIN)/python -m pytest -n 2 --dist worksteal --durations 25

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/check_wheel.py

fix: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@$(BIN)/python evaluation/bench/stepping.py
	@$(BIN)/python evaluation/bench/training.py
	@$(BIN)/python evaluation/bench/orchestration.py

# In as many sittings as it takes, e.g. make bench-full ARGS="--only a,b --max-minutes 30"; see evaluation/bench/README.md.
bench-full: setup
	@$(BIN)/python evaluation/bench/full.py $(ARGS)

bench-report: setup
	@$(BIN)/python evaluation/bench/report.py

# Close everything else first; ARGS as `evaluation/bench/sandbox.py --help` says.
bench-sandbox: setup
	@$(BIN)/python evaluation/bench/promptness.py
	@$(BIN)/python evaluation/bench/sandbox.py $(ARGS)

# Trainings are kept in ~/.cache/eureka-agent/bench/hacking; ARGS as `evaluation/bench/hacking.py --help` says.
bench-hacking: setup
	@$(BIN)/python evaluation/bench/hacking.py $(ARGS)

# In as many sittings as it takes, e.g. make bench-strategies ARGS="--max-minutes 60"; see evaluation/bench/README.md.
bench-strategies: setup
	@$(BIN)/python evaluation/bench/strategies.py $(ARGS)

# BASE is any image with Python 3.11 on Debian; see sandbox/image/README.md for machines without a registry.
BASE ?= python:3.11-slim-bookworm
image:
	docker build --network host --build-arg BASE=$(BASE) --build-arg PIP_ARGS="$(PIP_ARGS)" --build-arg RECIPE=$$(cat \
		sandbox/image/Dockerfile sandbox/image/requirements.txt | sha256sum | cut -d" " -f1) -t eureka-sandbox sandbox/image

# Some two hours: kills and storage faults at every durable step, and 500 kills at random; ARGS="--random 5000" for a night.
crash: setup
	@$(BIN)/python tests/crash_all.py $(ARGS)

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
