# Two commands for a stranger: `make demo` prints a table, `make test` proves the numbers. Both make .venv first.
# `make demo-model` makes the demo model anew, from nothing but the demo world (three quarters of an hour on 2 cores);
# `make demo-model SCALE=small` shows in two minutes that every part of that recipe runs.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
SCALE ?= full
DEMO_OUT ?= build/demo-model-$(SCALE)
# Torch with several threads in several processes crawls on small machines.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo demo-model test vllm-environment vllm-test lint docs clean

demo: $(VENV)/.installed
	@echo "Published systems' real answers (200 each), scored by our command line and by the official code:"
	@$(VENV)/bin/python -m benchmarks.parity
	@echo
	@echo "The demo world, which needs no download, answered by the demo model, and by the same one without media:"
	@$(VENV)/bin/python -m anymal_eval run --tasks vqav2,audiocaps --with-blind

demo-model: $(VENV)/.installed
	$(VENV)/bin/python -m anymal_eval.training.demo_model --out $(DEMO_OUT) --scale $(SCALE)

# Hundreds of tests start a process, and each would compile the package again where Python writes no bytecode itself.
test: $(VENV)/.installed
	$(VENV)/bin/python -m compileall -q anymal_eval
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

# A real vLLM server, from an environment of its own outside the checkout (3.5 GB; made once, and used again).
vllm-environment:
	.ci/vllm_environment

vllm-test: $(VENV)/.installed vllm-environment
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest -n0 tests/models/vllm $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m mypy

# Not --quiet: it would keep the warnings from --strict too.
docs: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict
	@echo build/site/index.html

# The constraints are the exact set that was tested.
$(VENV)/.installed: pyproject.toml constraints.txt .ci/torchvision_on_cpu.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,vision]'
	$(VENV)/bin/python .ci/torchvision_on_cpu.py
	touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
