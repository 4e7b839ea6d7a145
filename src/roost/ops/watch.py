"""`roost transfers --watch`: the transfers, drawn anew until nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from roost.cluster.status import Transfers
from roost.errors import NodeDown
from roost.ops.operator import first_answer
from roost.ops.questions import TransfersOf
from roost.ops.runfile import RunFile
from roost.ops.transfer_table import transfer_table
from roost.runtime import Runtime

REDRAW_S: Final = 0.5
"""How often it is drawn anew."""
DEAF_S: Final = 10.0
"""How long no node may answer."""


def watch_transfers(runs: Sequence[RunFile], console: Console | None = None) -> None:
    """Draw until nothing moves any more, or Ctrl-C.

    Args:
        runs: the nodes of which the first that answers is asked, anew each time.
        console: where to draw; standard output when left out. What is no terminal gets only the last picture.

    Raises:
        NodeDown: when no node has answered for DEAF_S.
    """
    asyncio.run(_watch(runs, Console() if console is None else console))


async def _watch(runs: Sequence[RunFile], console: Console) -> None:
    clock = Runtime.real().clock
    heard_at = clock.now()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                answer = await first_answer(runs, TransfersOf())
            except NodeDown:
                if clock.now() - heard_at > DEAF_S:
                    raise
            else:
                heard_at = clock.now()
                assert isinstance(answer, Transfers)
                live.update(Text(transfer_table(answer), no_wrap=True, overflow="ellipsis"), refresh=True)
                if answer.is_over:
                    return
            await clock.sleep(REDRAW_S)
