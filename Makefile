# make demo | make test | make check | make setup | make peers
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .peers
SITE := "import sysconfig; print(sysconfig.get_path('purelib'))"
# PyTorch and numba each start a thread pool per process; two test workers on two cores need one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test check setup peers clean

demo: setup
	$(BIN)/embodied demo $(ARGS)

test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(ONE_THREAD) $(BIN)/python -m pytest -q tests/test_imports.py

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@.ci/venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# Other people's environments and Stable-Baselines3, for benches: docs/peers.md. They need an older MuJoCo, and read what
# they share with us, PyTorch above all, from our own virtual environment.
peers: $(PEERS)/.installed

$(PEERS)/.installed: constraints-peers.txt | $(STAMP)
	@.ci/venv $(PEERS)
	@$(BIN)/python -c $(SITE) > $$($(PEERS)/bin/python -c $(SITE))/shared.pth
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-peers.txt
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
