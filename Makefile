# Two commands matter: `make run` and `make test`. Each makes .venv by itself when it is missing.

ARGS ?=
SEEDS ?= 1000
JOBS ?= 2
MINUTES ?= 30
export PYTHON

.PHONY: help run test check bench simulate soak clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: ## a three-node cluster at http://127.0.0.1:4000/ (ARGS="--nodes 5 --port 8000")
	@scripts/venv && exec .venv/bin/roost demo $(ARGS)

test: ## everything that must hold: check, then the whole test suite (ARGS="-k ring")
	@scripts/venv test check && scripts/needs curl node:nodejs npm chromium && { scripts/needs ip:iproute2 || true; } && scripts/check && exec .venv/bin/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

check: ## lint, format, types and the direction of imports, without the tests
	@scripts/venv test check && exec scripts/check

bench: ## Roost beside its peers, one line of JSON each (ARGS="local_call")
	@scripts/venv bench && scripts/needs redis-server && { scripts/needs wrk erl:erlang-base || true; } && exec .venv/bin/python -m benchmarks $(ARGS)

simulate: ## simulated clusters under every fault, judged (SEEDS=5000, ARGS="7" for one)
	@scripts/venv && exec .venv/bin/python -m roost.sim $(or $(ARGS),--seeds $(SEEDS) --jobs $(JOBS))

soak: ## real nodes under every fault, again and again, judged (MINUTES=30, ARGS="--seed 7")
	@scripts/venv test && { scripts/needs ip:iproute2 || true; } && exec .venv/bin/python -m tests.real --minutes $(MINUTES) $(ARGS)

clean: ## remove .venv, the tools' caches and the demo's data
	@rm -rf .venv .roost .mypy_cache .ruff_cache .import_linter_cache .hypothesis tests/e2e/clients/node_modules
