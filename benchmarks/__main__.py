"""`python -m benchmarks [NAME ...]`: run benchmarks one after the other, each in a process of its own.

Prints one JSON line per figure on stdout and progress on stderr. Exit code 1 when a benchmark could not be measured;
a target that is missed is said in its line, not in the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import subprocess
import sys
import traceback

import psutil  # type: ignore[import-untyped]  # psutil ships no types
import uvloop

from benchmarks.line import failure
from benchmarks.rounds import Plan, say

NAMES = (
    "local_call",
    "process_start",
    "idle_process",
    "supervisor_restart",
    "task_start",
    "isolation",
    "timers",
    "claim",
    "flow_words",
    "node_call",
    "rpc_call",
    "kv_put",
    "kv_get",
    "handoff",
    "ring_512",
    "hundred_nodes",
    "kv_get_slow_replica",
    "http_kv",
    "broadcast",
    "topics",
    "push_reply",
    "connects",
    "presence_join",
    "idle_channel",
    "import_roost",
    "node_start",
    "node_death",
)
LIMIT_S = 120.0
"""How long one benchmark may take before it is ended."""


def main() -> int:
    """Run what the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (5)")
    parser.add_argument("--quick", action="store_true", help="short turns: to see that it runs, not to compare")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown or options.rounds < 1:
        parser.error(f"unknown benchmark: {', '.join(unknown)}" if unknown else "--rounds must be at least 1")
    plan = Plan(options.rounds, options.quick)
    if options.inside:
        return _inside(names[0], plan)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    return max([_outside(name, plan) for name in names])


def _inside(name: str, plan: Plan) -> int:
    """Run one benchmark in this process."""
    module = importlib.import_module(f"benchmarks.{name}")

    async def bounded() -> None:
        me = asyncio.current_task()
        assert me is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
        async with asyncio.timeout(LIMIT_S):
            for line in await module.run(plan):
                print(line.as_json(), flush=True)

    try:
        uvloop.run(bounded())
    except asyncio.CancelledError:
        return 1
    except Exception as error:
        traceback.print_exc()
        reason = f"took longer than {LIMIT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        print(failure(name, f"{type(error).__name__}: {reason}"), flush=True)
        return 1
    return 0


def _outside(name: str, plan: Plan) -> int:
    """Run one benchmark in a fresh process, and leave nothing of it behind."""
    say(name)
    command = [sys.executable, "-m", "benchmarks", name, "--inside", "--rounds", str(plan.rounds)]
    process = subprocess.Popen([*command, "--quick"] if plan.quick else command)
    try:
        return process.wait(LIMIT_S + 30)
    except subprocess.TimeoutExpired:
        print(failure(name, f"did not end within {LIMIT_S + 30:g} s"), flush=True)
        return 1
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for relative in family:
        if relative.is_running():
            relative.kill()


if __name__ == "__main__":
    sys.exit(main())
