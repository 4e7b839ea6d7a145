"""How soon the other nodes notice that one was killed, and that one hangs.

Two nodes watch in this process; the third is an operating-system process, on which nothing else is going on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from time import perf_counter

from benchmarks.bench_app import app
from benchmarks.child import READY_S, Failed
from benchmarks.line import Bound, Line
from benchmarks.nodes import processes, serving, settings
from benchmarks.rounds import Plan, say
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.node import Node
from roost.config import Address, Config
from roost.runtime import Runtime


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    *watchers, victim = settings(3)
    killed: list[float] = []
    sockets: list[float] = []
    hung: list[float] = []
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for config in watchers:
            running = await app.boot(replace(config, web=None), Runtime.real())
            stack.push_async_callback(running.stop)
            nodes.append(running.node)
        for number in range(plan.rounds):
            ours, theirs = await _killed(nodes, victim)
            killed.append(ours)
            sockets.append(theirs)
            hung.append(await _hung(nodes, victim))
            say(f"  round {number + 1} of {plan.rounds}")
    return [
        Line(
            "node_death_killed",
            "ms",
            [Bound("ours", "<=", 10.0)],
            "from kill -9 of a node's process until the slower of two others has told its watchers; reference: until "
            "a bare socket to the same process has reported its end",
            [killed, sockets],
            {"slowest": max(killed)},
        ),
        Line(
            "node_death_hung",
            "ms",
            [Bound("ours", "<=", 2000.0)],
            "the same from SIGSTOP: heartbeats tell, after which a node is down until it answers again",
            [hung, []],
            {"slowest": max(hung)},
        ),
    ]


async def _killed(nodes: Sequence[Node], victim: Config) -> tuple[float, float]:
    """Milliseconds until the nodes know, and until a bare socket does."""
    async with processes([victim]) as (server,):
        await serving([server])
        await _until(nodes, victim, is_up=True)
        assert victim.web is not None
        socket = await _Ear.at(victim.web)
        start = perf_counter()
        os.kill(server.process.pid, signal.SIGKILL)
        await _until(nodes, victim, is_up=False)
        ours = perf_counter() - start
        return ours * 1e3, (await socket.ended - start) * 1e3


async def _hung(nodes: Sequence[Node], victim: Config) -> float:
    """Milliseconds until the nodes know."""
    async with processes([victim]) as (server,):
        await serving([server])
        await _until(nodes, victim, is_up=True)
        start = perf_counter()
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            await _until(nodes, victim, is_up=False)
            return (perf_counter() - start) * 1e3
        finally:
            os.kill(server.process.pid, signal.SIGCONT)


class _Ear(asyncio.Protocol):
    """A bare socket that waits for its end."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @classmethod
    async def at(cls, address: Address) -> _Ear:
        """One at this address."""
        _, ear = await asyncio.get_running_loop().create_connection(cls, *address)
        return ear

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the end."""
        self.ended.set_result(perf_counter())


async def _until(nodes: Sequence[Node], victim: Config, *, is_up: bool) -> None:
    """Wait until all of `nodes` see it so."""
    changed = asyncio.Event()

    def seen(event: PeerUp | PeerDown) -> None:
        changed.set()

    unwatch: list[Callable[[], None]] = [node.fabric.watch(seen) for node in nodes]
    try:
        async with asyncio.timeout(READY_S):
            while any((victim.name in node.fabric.up()) != is_up for node in nodes):
                changed.clear()
                await changed.wait()
    except TimeoutError:
        raise Failed(f"{victim.name} is not {'up' if is_up else 'down'} after {READY_S:g} s") from None
    finally:
        for end in unwatch:
            end()
