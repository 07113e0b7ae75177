PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/

.PHONY: demo demo-video test test-long test-lowest lint types docs unit env lock wheel clean

demo: env  ## generate people, train without and with SRL blocks, compare, write a report
	$(RUN)srl demo pose

demo-video: env  ## generate videos of actions, train without and with blocks, compare
	$(RUN)srl demo video

test: lint types docs unit  ## all checks

lint: env
	$(RUN)ruff check .
	$(RUN)ruff format --check .

types: env
	$(RUN)mypy

docs: env  ## the documentation site, site/index.html; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build --quiet --strict

unit: env
	OMP_NUM_THREADS=1 $(RUN)python -m pytest --numprocesses 2 --dist loadfile

env: $(VENV)/installed  ## virtual environment with everything that is needed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check $(LOCK:%=--constraint %) \
		--editable ".[page,dev,docs]"
	touch $@

lock: env  ## the versions of the environment as requirements.lock, for make env LOCK=requirements.lock
	$(RUN)pip freeze --exclude-editable > requirements.lock

wheel: env  ## dist/*.whl and its test: what it holds, and commands from it outside of the repository
	$(RUN)pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	SRL_WHEEL=$$(ls -t dist/*.whl | head -1) $(RUN)python -m pytest tests/test_wheel.py

test-long: env  ## crashes, soak: hours
	SRL_LONG=1 $(RUN)python -m pytest -s tests/long

# The lowest release of every dependency that pyproject.toml promises. Graphs of any height and
# width, and ONNX files of them, want newer ones than torch 2.9 and ONNX Runtime 1.20; ConvNeXt as a
# trunk, timm 1.0.31 (older ones count its stem as a map, which ends in an error).
LOWEST = tests/transforms tests/blocks tests/test_insertion.py tests/test_commands.py \
	tests/test_cli.py tests/test_checkpoints_of_before.py tests/pose/test_pose_task.py \
	tests/training/test_timm_trunk.py tests/training/test_pretrained.py \
	tests/video/test_video_task.py \
	--ignore tests/blocks/test_srl_onnx.py \
	--deselect tests/blocks/test_srl_properties.py::test_exported_graph_takes_any_size \
	--deselect 'tests/training/test_timm_trunk.py::test_one_map_of_the_stride_and_nothing_unused[convnext_atto-None-320]'

test-lowest: $(VENV)-lowest/installed  ## blocks and commands with the lowest versions
	$(VENV)-lowest/bin/python -m pytest $(LOWEST)

$(VENV)-lowest/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	sed -nE 's/^ *"([A-Za-z0-9_.-]+)(\[[a-z]+\])?>=([0-9.]+)",?$$/\1==\3.*/p' pyproject.toml \
		> $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check \
		--constraint $(VENV)-lowest/constraints.txt --editable ".[video,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest demo runs build dist site
