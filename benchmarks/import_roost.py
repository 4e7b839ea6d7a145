"""How long `import roost` takes in a fresh interpreter, beside `import fastapi`."""

from __future__ import annotations

import sys

from benchmarks.child import child
from benchmarks.line import Bound, Line
from benchmarks.rounds import Plan, alternate

PROGRAM = "import time; before = time.perf_counter(); import {}; print((time.perf_counter() - before) * 1e3)"


async def importing(module: str) -> float:
    """Milliseconds of one import, measured by the process that imports."""
    async with child([sys.executable, "-c", PROGRAM.format(module)]) as interpreter:
        return float(await interpreter.line())


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    turns = await alternate(plan, lambda: importing("roost"), lambda: importing("fastapi"))
    note = "a fresh interpreter each time, files cached; reference: import fastapi"
    return [Line("import_roost", "ms", [Bound("ours", "<=", 80)], note, turns)]
