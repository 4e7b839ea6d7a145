"""Every figure that Roost claims, as programs: `python -m benchmarks`, or `make bench`.

Each benchmark starts both sides, ours and the one it is held against, alternates them in one run, and prints JSON
lines (see `benchmarks.line`). docs/benchmarks.md says how to read them.
"""
