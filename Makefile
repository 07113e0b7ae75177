PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/

.PHONY: demo demo-video test test-long test-lowest lint types unit env wheel clean

demo: env  ## generate people, train without and with SRL blocks, compare, write a report
	$(RUN)srl demo pose

demo-video: env  ## generate videos of actions, train without and with blocks, compare
	$(RUN)srl demo video

test: lint types unit  ## all checks

lint: env
	$(RUN)ruff check .
	$(RUN)ruff format --check .

types: env
	$(RUN)mypy

unit: env
	$(RUN)python -m pytest

env: $(VENV)/installed  ## virtual environment with everything that is needed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check --editable ".[video,dev]"
	touch $@

wheel: env  ## dist/*.whl and its test: what it holds, and commands from it outside of the repository
	$(RUN)pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	SRL_WHEEL=$$(ls -t dist/*.whl | head -1) $(RUN)python -m pytest tests/test_wheel.py

test-long: env  ## crashes, soak: hours
	SRL_LONG=1 $(RUN)python -m pytest -s tests/long

clean:
	rm -rf $(VENV) demo runs build dist
