"""The live view of transfers, drawn until nothing moves, over a real link."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from roost.cluster.node import Node
from roost.cluster.status import TransferStatus
from roost.errors import NodeDown
from roost.ops.desk import console_child
from roost.ops.watch import watch_transfers
from roost.runtime import Runtime
from tests.cluster.meadow import configs
from tests.ops.test_console import WAITING, Moving, run_file


class Ending(Moving):
    """Movements that are over after somebody has looked at them `looks` times."""

    def __init__(self, looks: int) -> None:
        super().__init__(WAITING)
        self.looks = looks

    def transfers(self) -> tuple[TransferStatus, ...]:
        self.looks -= 1
        return super().transfers() if self.looks >= 0 else ()


def screen() -> tuple[Console, io.StringIO]:
    """A terminal of 100 columns, and what was written to it."""
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, height=30), out


async def test_it_is_drawn_anew_until_nothing_moves() -> None:
    (config,) = configs("a")
    node, moving = Node(config, Runtime.real()), Ending(2)
    node.add_part(console_child(node, moving))
    await node.start()
    console, out = screen()
    try:
        await asyncio.to_thread(watch_transfers, [run_file(config)], console)
    finally:
        await node.stop()
    assert moving.looks == -1
    assert out.getvalue().count("waits with 3 items, 1 attempt so far: a@127.0.0.1 is busy") == 2
    assert out.getvalue().count("No transfers: all data is where it belongs.") >= 1


async def test_a_cluster_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.ops.watch.DEAF_S", 0.0)
    (config,) = configs("a")
    with pytest.raises(NodeDown):
        await asyncio.to_thread(watch_transfers, [run_file(config)], screen()[0])
