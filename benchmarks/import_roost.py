"""How long `import roost` takes in a fresh interpreter, beside `import fastapi`."""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.child import child
from benchmarks.line import Bound, Line, middle
from benchmarks.rounds import Plan, alternate

PROGRAM = "import time; before = time.perf_counter(); {}; print((time.perf_counter() - before) * 1e3)"
ALL_NAMES = "import roost; [getattr(roost, name) for name in dir(roost)]"


async def running(statements: str) -> float:
    """Milliseconds that a fresh interpreter takes to run `statements`, by its own clock."""
    async with child([sys.executable, "-c", PROGRAM.format(statements)]) as interpreter:
        return float(await interpreter.line())


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    *turns, all_names = await alternate(
        plan, *(partial(running, each) for each in ("import roost", "import fastapi", ALL_NAMES))
    )
    note = (
        "a fresh interpreter each time, files cached; all_names_ms: with every public name, as roost loads a name when "
        "it is first used; reference: import fastapi"
    )
    facts: dict[str, object] = {"all_names_ms": middle(all_names)}
    return [Line("import_roost", "ms", [Bound("ours", "<=", 80)], note, turns, facts)]
