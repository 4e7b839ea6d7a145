"""The node that is attacked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from roost.config import Address
from roost.ops.answers import SocketsStatus
from roost.ops.leash import Ready
from roost.ops.operator import first_answer
from roost.ops.plan import plan_nodes
from roost.ops.questions import SocketsOf
from roost.ops.runfile import RunFolder
from roost.web.socket_counts import SocketCounts
from tests.e2e.cluster import free_ports
from tests.ops.test_node import Held, node

PAGE_BYTES = 4096


@asynccontextmanager
async def attacked(tmp_path: Path) -> AsyncIterator[tuple[Held, Address]]:
    """A node that is ready, and where it serves."""
    (config,) = plan_nodes("hostile", 1, free_ports(1))
    assert config.web is not None
    async with node(replace(config, cookie=b"secret"), "tests.hostile.app:app", tmp_path) as held:
        assert isinstance(await held.word(), Ready)
        yield held, config.web


def resident_bytes(pid: int) -> int:
    """How much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


async def counts_of(tmp_path: Path, path: str) -> SocketCounts:
    """What the console says of one endpoint."""
    status = await first_answer(RunFolder(tmp_path / "roost").list(), SocketsOf())
    assert isinstance(status, SocketsStatus)
    (only,) = status.nodes
    return next(counts for counts in only.endpoints if counts.path == path)
