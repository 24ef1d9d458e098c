# For GNU make 3.81 or newer. On Windows, run it from a shell such as Git Bash.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
ENVIRONMENT_PYTHON := .venv/Scripts/python.exe
else
PYTHON ?= python3
ENVIRONMENT_PYTHON := .venv/bin/python
endif
# Part of a notebook's name, for `make notebooks NB=04`.
NB ?=
# A study's name, for `make studies NAME=optimizers`.
NAME ?=
# How long `make soak MINUTES=60` goes on.
MINUTES ?= 10

# What the user's shell points elsewhere would shadow this project's `helpers` and kernel.
unexport JUPYTER_PATH PYTHONHOME PYTHONPATH
export JUPYTER_PREFER_ENV_PATH := 1

LAB_OPTIONS := --LabApp.default_url=/lab/tree/notebooks/mine
ifneq ($(OS),Windows_NT)
ifeq ($(shell id -u),0)
LAB_OPTIONS += --allow-root
endif
ifeq ($(shell uname)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)
LAB_OPTIONS += --no-browser
endif
endif

.PHONY: help lab mine test test-mine test-unit test-notebooks test-oldest soak notebooks notes \
	studies progress data kaggle doctor lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

# Written by install.py as its last act, so that a broken-off installation is taken up again.
.venv/installed: requirements.txt tests/requirements.txt pyproject.toml tests/tools/install.py
	@$(PYTHON) tests/tools/install.py

lab: data ## Open JupyterLab on your copies, or print its address where there is no screen
	@$(ENVIRONMENT_PYTHON) tests/tools/mine.py || true
	$(ENVIRONMENT_PYTHON) -m jupyter lab $(LAB_OPTIONS)

mine: .venv/installed ## Fill and update your copies of the notebooks, notebooks/mine/
	@$(ENVIRONMENT_PYTHON) tests/tools/mine.py

test: .venv/installed ## Run the unit tests, and every notebook against its saved outputs
	@$(ENVIRONMENT_PYTHON) tests/run.py all

test-mine: .venv/installed ## Run your copies: their assertions count, their outputs do not
	@$(ENVIRONMENT_PYTHON) tests/run.py mine

test-unit: .venv/installed ## Run the unit tests only
	@$(ENVIRONMENT_PYTHON) tests/run.py unit

test-notebooks: .venv/installed ## Run the notebooks only
	@$(ENVIRONMENT_PYTHON) tests/run.py notebooks

test-oldest: .venv/installed ## Run the unit tests and the short forms with the libraries of torch 2.6
	@$(ENVIRONMENT_PYTHON) tests/oldest.py

soak: .venv/installed ## Try all mutants, then the fault tests over and over; MINUTES=10
	@$(ENVIRONMENT_PYTHON) tests/soak.py $(MINUTES)

notebooks: .venv/installed ## Execute the notebooks in place, for committing; one with NB=04
	@$(ENVIRONMENT_PYTHON) tests/run.py execute $(NB)

studies: .venv/installed ## Make the recorded studies that are not there yet; one with NAME=optimizers
	OMP_NUM_THREADS=1 $(ENVIRONMENT_PYTHON) -m helpers.recipes.studies $(NAME)

notes: .venv/installed ## Write notes.md: by notebook its takeaways, its best figure and its helpers
	@$(ENVIRONMENT_PYTHON) -m helpers.study.notes > notes.md

progress: .venv/installed ## Print how many exercises stand where, and the hours still to go
	@$(ENVIRONMENT_PYTHON) -m helpers.study

data: .venv/installed ## Print the data folder in use, drawing the deck if there is none
	@$(ENVIRONMENT_PYTHON) -m helpers.data find

kaggle: .venv/installed ## Download Kaggle's cards, or take the zip that lies under data/
	@$(ENVIRONMENT_PYTHON) -m helpers.data kaggle

doctor: ## Check the environment and the data, and say how to mend what is wrong
	@$(or $(wildcard $(ENVIRONMENT_PYTHON)),$(PYTHON)) tests/tools/doctor.py

lint: .venv/installed ## Check style and format, notebooks included
	$(ENVIRONMENT_PYTHON) -m ruff check
	$(ENVIRONMENT_PYTHON) -m ruff format --check

clean: ## Remove the environment, caches and the drawn deck; not data/kaggle, a zip or your copies
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache .hypothesis *.egg-info
	rm -rf data/rendered-* data/.rendered-* data/cache
	find helpers tests notebooks -path notebooks/mine -prune \
		-o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
