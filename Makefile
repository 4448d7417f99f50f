# Every target sets itself up: the virtual environment is made on first use, and renewed when the pins change.

PYTHON ?= python3
VENV ?= .venv
# Scripts in bin/ name the interpreter by its whole path, which breaks for some names of folders.
PY = $(VENV)/bin/python
READY = $(VENV)/.ready-$(shell cat constraints.txt pyproject.toml | sha256sum | cut -c1-16)
PIP_FLAGS = --disable-pip-version-check -q -c constraints.txt
WORKERS ?= $(shell nproc)

.PHONY: setup demo mnist test test-slow smoke bench table netlist bitstream lint clean

setup: $(READY)

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; set PYTHON=..." >&2; exit 2; }
	@case "$$(pwd)" in *'$$'*) \
		echo "error: pip cannot install from a folder with a dollar sign in its name; move the checkout" >&2; exit 2;; esac
	@for tool in g++ make perl; do command -v $$tool >/dev/null || \
		{ echo "error: $$tool is not installed; install it with the system's package manager" >&2; exit 2; }; done
	@echo "setting up $(VENV) (about two minutes on first use)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install $(PIP_FLAGS) -e '.[test,dev]'
	@rm -f $(VENV)/.ready-* && touch $@

# The main job on the embedded data set.
demo: $(READY)
	$(PY) -m firstspike run examples/digits.toml

mnist: $(READY)
	$(PY) -m firstspike run examples/mnist.toml

# A file's tests share what they make, so they stay on one worker; the longest files begin (conftest.py).
PYTEST = $(PY) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m 'not slow'

# What takes long by its nature: whole recipes, place and route. With `make test` it is every test.
test-slow: $(READY)
	$(PYTEST) -m slow

# The fast subset.
smoke: $(READY)
	$(PYTEST) -m smoke

# Format, style and types, by the hooks of pre-commit.
lint: $(READY)
	$(PY) -m pre_commit run --all-files

# snnTorch, which training speed is measured against, is installed for this alone.
bench: $(READY)
	@$(PY) -m pip install $(PIP_FLAGS) -e '.[bench]'
	$(PY) -m firstspike_verify.throughput examples/digits.toml examples/mnist.toml \
		examples/mnist-cnn-fast.toml examples/mnist-lif.toml

# The comparison of all methods and codings; hours on two cores, but what is trained already is found again.
table: $(READY)
	$(PY) -m firstspike.comparison examples/mnist-cnn.toml examples/cifar10.toml --seeds 3,1 \
		--front examples/mnist.toml --workers $(WORKERS)

# The synthesised netlists of digits and MNIST, every test image; runs the experiments first if need be.
netlist: $(READY)
	for name in digits mnist; do \
		test -f build/$$name/report.json || $(PY) -m firstspike run examples/$$name.toml || exit; \
		$(PY) -m firstspike simulate examples/$$name.toml --netlist || exit; \
		$(PY) -m firstspike report examples/$$name.toml || exit; \
	done

# The demo's core through place and route, or with BOARD=ulx3s-85f its bitstream for that board (docs/boards.md); runs
# the demo first if need be.
bitstream: $(READY)
	test -d build/digits/rtl || $(PY) -m firstspike run examples/digits.toml
	$(PY) -m firstspike bitstream examples/digits.toml $(if $(BOARD),--board $(BOARD))
	$(PY) -m firstspike report examples/digits.toml

clean:
	rm -rf build
