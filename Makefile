# `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check lint types doctest slow peers published servers

demo: .venv/demo
	$(BIN)/python examples/digits.py

test: .venv/test
	$(BIN)/python -m pytest

# what contributors run before they commit
check: lint types doctest test slow

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

doctest: .venv/test
	$(BIN)/python -m pytest --doctest-modules lightning_posttrain

# examples, and TensorBoard in a browser where a chromium is installed
slow: .venv/browser
	$(BIN)/python -m pytest -m "slow or browser" --dist load

# against lime, shap, anchor-exp, captum, scikit-image, huggingface_hub, MLflow and a validator of OpenAPI
peers: .venv/peers
	$(BIN)/python -m pytest -m peers --ignore tests/published --ignore tests/serving/adapters

# other people's modules, in an environment of their own
published: .venv-published/ready
	PUBLISHED=1 .venv-published/bin/python -m pytest -m peers tests/published

# exported models in LitServe, Ray Serve and Triton's configuration, in an environment of their own
servers: .venv-servers/ready
	.venv-servers/bin/python -m pytest -m peers -n 0 tests/serving/adapters

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: EXTRAS = examples
.venv/test: EXTRAS = test
.venv/dev: EXTRAS = test,examples,dev
.venv/browser: EXTRAS = test,examples,browser
.venv/peers: EXTRAS = test,peers
.venv/demo .venv/test .venv/dev .venv/browser .venv/peers: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable ".[$(EXTRAS)]"
	@touch $@

.venv-published/ready: pyproject.toml tests/published/requirements.txt
	$(PYTHON) -m venv .venv-published
	.venv-published/bin/python -m pip install --quiet --requirement tests/published/requirements.txt --editable .
	.venv-published/bin/python -m pip check
	@touch $@

.venv-servers/ready: pyproject.toml tests/serving/adapters/requirements.txt
	$(PYTHON) -m venv .venv-servers
	.venv-servers/bin/python -m pip install --quiet torch==2.13.0
	.venv-servers/bin/python -m pip install --quiet --requirement tests/serving/adapters/requirements.txt --editable .
	.venv-servers/bin/python -m pip install --quiet --no-deps python-rapidjson==1.25 tritonclient==2.73.0
	@touch $@
