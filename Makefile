# Two commands to start: `make demo` and `make test`. Each sets itself up from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test bench scale chaos gigavoxels dashboard clean

demo: $(VENV)/.installed
	$(BIN)/connectome run workflows/demo.yaml
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/connectome view runs/demo; fi

test: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations 12

bench: $(VENV)/.installed-for-bench
	$(BIN)/python -m benchmarks $(if $(BENCH),--$(BENCH))
	$(if $(BENCH),,$(BIN)/python -m benchmarks.demo)

scale: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks.scale

chaos: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks.chaos

gigavoxels: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks.gigavoxels

dashboard: $(VENV)/.installed
	$(BIN)/connectome dashboard benchmarks/results --output build/dashboard.html

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.installed-for-bench: $(VENV)/.installed
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
