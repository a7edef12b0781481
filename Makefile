# Two commands do everything: `make demo` and `make test`. The others are for those who work on it.
# TORCH=cpu, in the first call, leaves out CUDA: torch comes from PyTorch's own index then, which has
# no checksums in the lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # some images set it: every job would compile the package again
INSTALL := $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python
ifeq ($(TORCH),cpu)
SIZE := about 2.5 GB on disk
else
SIZE := 6.4 GB on disk with CUDA (make TORCH=cpu: about 2.5 GB)
endif
# One process more than two cores: those that run Snakemake or Slurm mostly wait.
PYTEST := pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all check docs env lock schema clean

demo: $(READY)  ## the embedded demo, from nothing to the result table
	snakemake --workflow-profile workflow/profiles/local --cores all

test: $(READY)  ## the static checks and all tests that are quick, a small run among them; minutes
	$(PYTEST) -m "not extended"

test-all: $(READY)  ## every test, those too that start Slurm and kill runs; half an hour
	$(PYTEST)

check: $(READY)  ## the static checks alone
	pytest tests/test_style.py

docs: $(READY)  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

env: $(READY)

# Hashes are checked for every package, the installer's own included. Byte code is compiled here, where
# images that set PYTHONDONTWRITEBYTECODE would have every job compile what it imports.
$(READY): envs/requirements.txt envs/installer.txt envs/without_cuda.awk
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python 3.11; call make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Building the environment in $(VENV)/, once: $(SIZE), several minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r envs/installer.txt
ifeq ($(TORCH),cpu)
	awk -f envs/without_cuda.awk envs/requirements.txt > $(VENV)/requirements.txt
	$(INSTALL) --no-deps --require-hashes -r $(VENV)/requirements.txt
	$(INSTALL) --no-deps --torch-backend cpu $(shell awk '/^torch(vision|audio)?==/ {print $$1}' envs/requirements.txt)
else
	$(INSTALL) --require-hashes -r envs/requirements.txt
endif
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(READY)  ## compile the lock anew from envs/*.in
	cd envs && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header requirements.in -o requirements.txt
	cd envs && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header installer.in -o installer.txt

schema: $(READY)  ## write the configuration's JSON schema from its models
	python -m pipeline config --write-schema

clean:  ## remove what the demo made
	rm -rf results resources logs benchmarks .snakemake
