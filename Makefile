# The same few verbs here and in CI. `make demo` and `make test` need nothing but Python 3.11 and make.
# Another Python, in an environment of its own: make test-quick PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# torch's newer releases bring gigabytes of CUDA packages: every install goes through constraints.txt. Compiling every file of
# every package would take a minute and more; what is imported is compiled then, and kept, whatever the environment says.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
COMPILED := -c 'import lossatlas; [getattr(lossatlas, name) for name in lossatlas.__all__]'
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test tests test-quick faults fuzz mutants check lint types floors browser bench bench-bbob docs pictures web dist clean

help:
	@echo "make install     a virtual environment with everything for development"
	@echo "make demo        train, chart and race: the tour; prints the one file to open, atlas/atlas.html"
	@echo "make test        every check and every test, slow ones included"
	@echo "make test-quick  the quick part"
	@echo "make faults      what kills workers and drivers many times over"
	@echo "make fuzz        odd arguments for every public function and command; N=20000 calls"
	@echo "make mutants     plants mistakes in a copy of the package: the quick tests must find every one"
	@echo "make check       lint, format, types, import floors"
	@echo "make bench       speed ratios against other programs, written to bench/results.md"
	@echo "make bench-bbob  every algorithm on the BBOB suite, written to bench/bbob.md"
	@echo "make docs        the documentation, into site/"
	@echo "make pictures    the pictures of the how-to pages, drawn again"
	@echo "make web         the page's script, from web/ (needs Node; only for changes there)"
	@echo "make dist        the wheel, into dist/, tried in an environment of its own"

install: $(VENV)/.installed

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: $(PYTHON) is not on the path; give another with make PYTHON=python3"; exit 2; }
	@echo "making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing lossatlas …"
	@$(PIP) -e .
	@$(BIN)/python $(COMPILED)
	@touch $@

$(VENV)/.installed: $(VENV)/.core
	@echo "installing the tools of development …"
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	@$(PIP) -e '.[bench]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	@$(PIP) -e '.[docs]'
	@touch $@

# All of these at once: versions are settled once, not three times.
$(VENV)/.everything: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing lossatlas, the tools of development and of the documentation …"
	@$(PIP) -e '.[dev,docs]'
	@$(BIN)/python $(COMPILED)
	@touch $(VENV)/.core && touch $(VENV)/.installed $(VENV)/.docs && touch $@

demo: $(VENV)/.core
	@$(BIN)/lossatlas tour --out atlas

# One worker per core with kernels of one thread: a test takes as long as it takes alone. Quick tests stay beside the others
# of their file, which share surfaces; the slow ones lie in few files, so that a worker without work takes some of the other's.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# The two long checks begin side by side, and the tests as soon as the first of them and the short ones are through: neither core
# waits. What fails is said again at the end.
test: $(VENV)/.everything
	@$(MAKE) --no-print-directory -j2 types docs lint floors browser tests

# The tests would get a browser themselves where there is none: here nobody waits for it.
browser: $(VENV)/.installed
	@$(BIN)/python tests/ui/_browser.py || true

tests: $(VENV)/.installed browser
	$(PYTEST) --dist worksteal -m "not faults"

test-quick: $(VENV)/.installed
	$(PYTEST) --dist loadfile -m "not slow and not ui and not faults"

faults: $(VENV)/.installed
	$(PYTEST) --dist loadfile -m faults

N := 20000
fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz $(N)

mutants: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/plant.py --out bench/mutants.md

check: types lint floors

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

floors: $(VENV)/.installed
	$(BIN)/lint-imports

bench-bbob: $(VENV)/.installed
	$(BIN)/python bench/bbob.py

bench: $(VENV)/.bench
	$(BIN)/python bench/run.py

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

pictures: $(VENV)/.core
	cd docs/images && for script in ../../examples/howto/*.py; do ../../$(BIN)/python $$script || exit 1; done
	cd docs/images && rm -rf run chart weights.pt

# The page's script and style lie built in the package: only a change in web/ needs Node.
web:
	cd web && npm ci --no-audit --no-fund && npx tsc --noEmit && node build.mjs

# What a user installs: core dependencies only, from the wheel, away from this folder.
dist: $(VENV)/.core
	@rm -rf dist && $(PIP) wheel --no-deps --wheel-dir dist .
	@$(PYTHON) -m venv --clear $(VENV)-dist
	@$(VENV)-dist/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd / && "$(CURDIR)/$(VENV)-dist/bin/python" "$(CURDIR)/.ci/installed.py"
	@rm -rf $(VENV)-dist

clean:
	rm -rf $(VENV) atlas site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
