"""`python -m roost` is `roost`."""

from __future__ import annotations

from roost.ops.cli import main

main()
