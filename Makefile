# Everything here starts from a bare checkout: each target makes what it needs.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/ready
CHROMIUM := command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
SOUND_PYTHON := $(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

.PHONY: setup demo test lint bench prices torture train lock clean python chromium

setup: $(READY)

python:
	@$(SOUND_PYTHON) || [ -x $(BIN)/python ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	        ca-certificates python3 python3-venv; }
	@$(SOUND_PYTHON) || [ -x $(BIN)/python ] || { \
	    echo "make: expected Python 3.11 or newer with venv as $(PYTHON); on Debian: apt-get install python3 python3-venv" >&2; \
	    exit 1; }

# The pages are tested in a real browser. Without one, tests that need it are skipped, and fail where CI is set.
chromium:
	@$(CHROMIUM) || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	        chromium fonts-dejavu-core; }
	@$(CHROMIUM) || echo "make: the tests of the pages need a browser; on Debian: apt-get install chromium fonts-dejavu-core" >&2

$(READY): pyproject.toml requirements.lock cart/pages/package-lock.json | python
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	cd cart/pages && ../../$(BIN)/npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $(READY)

demo: $(READY)
	$(BIN)/tillfree demo

# The workers bring the parallelism; threads inside numerical libraries would only fight them over the cores.
# LONG=1 adds those that take minutes each.
test: export OMP_NUM_THREADS = 1
test: export TILLFREE_LONG = $(LONG)
test: $(READY) chromium
	$(BIN)/pytest --numprocesses auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/tillfree bench

# Prices, offers, coupons and tax against an independent reckoning in Decimal.
prices: $(READY)
	TILLFREE_ORACLE_CARTS=$(or $(CARTS),100000) $(BIN)/pytest -q tests/cart/test_offers.py -k independent_reckoning_says

# On both databases; then with the mistake built in that has to be found. EXITS=500 for a quick one.
torture: $(READY)
	$(BIN)/tillfree torture $(if $(EXITS),--exits $(EXITS))
	$(BIN)/tillfree torture --postgresql $(if $(EXITS),--exits $(EXITS))
	$(BIN)/tillfree torture --fresh-key-per-try --exits $(or $(EXITS),1000) --kills 20; [ $$? -eq 1 ]

# From rendering to models/shipped; hours on two cores. A training that was broken off goes on. TRAIN=--quick only tries.
train: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	$(BIN)/python -m models.train pictures people joints export quantise measure ship --work training $(TRAIN)
	$(BIN)/python -m models.train_products --work training/products $(TRAIN)
	$(if $(TRAIN),,$(BIN)/python -m models.evaluate_products --fit training/products/products.onnx)

# A target that changes a tracked file: the newest versions that pyproject.toml allows, with their hashes.
lock: | python
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	build/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --upgrade --quiet --no-emit-index-url \
	    --custom-compile-command "make lock" --output-file requirements.lock

clean:
	rm -rf .venv build dist demo-out training *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
