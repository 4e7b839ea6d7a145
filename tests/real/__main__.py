"""`python -m tests.real`: a real cluster under faults, judged; one line of JSON with the figures.

Exit code 1 when a promise did not hold. The logs of the nodes, the diary of the faults and the history of the last
round stay in the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from tests.real.faults import KINDS
from tests.real.ground import Ground, Refused
from tests.real.loopback import Loopback
from tests.real.namespaces import Namespaces
from tests.real.story import APP, Tale, Verdict, tell

MINUTE_S = 60.0


def main() -> int:
    """Tell one story."""
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no round later (0: one round)")
    parser.add_argument("--faults", type=int, default=22, help="in each round (22)")
    parser.add_argument("--operations", type=int, default=20_000, help="in each round (20000)")
    parser.add_argument("--changes", type=int, default=4, help="of the members, in each round (4)")
    parser.add_argument("--kinds", default="", help=f"which faults, with commas between (all of {', '.join(KINDS)})")
    parser.add_argument("--loopback", action="store_true", help="no network namespaces")
    parser.add_argument("--target", default=APP, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs are kept (a new one)")
    options = parser.parse_args()
    tale = Tale(
        options.seed,
        options.faults,
        options.operations,
        options.changes,
        tuple(kind for kind in options.kinds.split(",") if kind),
        options.minutes * MINUTE_S,
        options.target,
    )
    folder = options.folder or Path(tempfile.mkdtemp(prefix="roost-real-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        verdict = uvloop.run(_tell(tale, folder, loopback=options.loopback))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    print(msgspec.json.encode(verdict).decode(), flush=True)
    if verdict.broken:
        print(f"see {folder}", file=sys.stderr)
    return 1 if verdict.broken else 0


async def _tell(tale: Tale, folder: Path, *, loopback: bool) -> Verdict:
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    ground: Ground = Loopback() if loopback else Namespaces()
    try:
        try:
            await ground.open()
        except Refused as refused:
            print(f"no network namespaces here ({refused}): loopback with byte proxies", file=sys.stderr)
            ground = Loopback()
            await ground.open()
        print(f"seed {tale.seed}, on {ground.mode}", file=sys.stderr, flush=True)
        return await tell(tale, ground, folder)
    finally:
        await ground.close()


if __name__ == "__main__":
    sys.exit(main())
