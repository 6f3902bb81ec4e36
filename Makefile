# `make check` is what .ci/run checks, in the environment you already have:
#   python3 -m venv .venv && .venv/bin/pip install -e ".[test,dev]"
BIN ?= .venv/bin/

.PHONY: check style types contracts test fix ci crash

check: style types contracts test

style:
	$(BIN)ruff check .
	$(BIN)ruff format --check .

types:
	$(BIN)mypy

contracts:
	$(BIN)lint-imports --no-logo

test:
	$(BIN)python -m pytest

# A batch killed at every system call of publishing, and told no by the disk at each: minutes, and needs strace.
crash:
	$(BIN)python -m tests.features.batch.crash kill
	$(BIN)python -m tests.features.batch.crash fail fsync EIO
	$(BIN)python -m tests.features.batch.crash fail write ENOSPC
	$(BIN)python -m tests.features.batch.crash fail link,linkat EROFS
	$(BIN)python -m tests.features.batch.raylet

fix:
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

ci:
	.ci/run
