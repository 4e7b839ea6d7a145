"""Two sessions of Zenoh on loopback: each finds the other, and hears when it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.cluster.discovery.zenoh import Zenoh
from roost.config import Address, Config
from roost.errors import ConfigError
from tests.e2e.cluster import free_ports

HERE, THERE = Address("127.0.0.1", 4100), Address("127.0.0.1", 4101)


class Side:
    """One node's end, with what it was told."""

    def __init__(self, name: str, at: Address, file: Path, incarnation: int, cluster: str = "meadow") -> None:
        self.told: list[Address | str] = []
        self.changed = asyncio.Event()
        config = Config(name=f"{name}@127.0.0.1", cluster=cluster, listen=at, cookie=b"x")
        self.zenoh = Zenoh(str(file), config, incarnation, self.note, self.note)

    def note(self, what: Address | str) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


def written(path: Path, **endpoints: list[str]) -> Path:
    """A configuration of a peer that finds nobody but whom it is told."""
    scouting = {"multicast": {"enabled": False}, "gossip": {"enabled": False}}
    settings = {name: {"endpoints": value} for name, value in endpoints.items()}
    path.write_text(json.dumps({"mode": "peer", "scouting": scouting, **settings}))
    return path


async def test_a_token_that_appears_is_an_address_and_one_that_goes_a_doubt(tmp_path: Path) -> None:
    endpoint = f"tcp/127.0.0.1:{free_ports(1)}"
    first = Side("a", HERE, written(tmp_path / "a.json5", listen=[endpoint], connect=[]), 1)
    other = written(tmp_path / "b.json5", listen=["tcp/127.0.0.1:0"], connect=[endpoint])
    second, stranger = Side("b", THERE, other, 2), Side("c", Address("h", 1), other, 3, cluster="elsewhere")
    assert await first.zenoh.look() == []
    await stranger.zenoh.look()
    await second.zenoh.look()
    await first.until(lambda: first.told == [THERE])
    await second.until(lambda: second.told == [HERE])
    assert await first.zenoh.look() == [THERE]
    await second.zenoh.close()
    await first.until(lambda: first.told == [THERE, "b@127.0.0.1"])
    assert await first.zenoh.look() == []
    assert stranger.told == []
    await first.zenoh.close()
    await first.zenoh.close()
    await stranger.zenoh.close()


async def test_a_configuration_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json5").write_text("{ mode: 7 }")
    with pytest.raises(ConfigError, match=r"bad\.json5"):
        await Side("a", HERE, tmp_path / "bad.json5", 1).zenoh.look()


def test_a_token_that_is_none_is_passed_over(tmp_path: Path) -> None:
    async def story() -> None:
        side = Side("a", HERE, tmp_path, 1)
        for token in ("roost/meadow/n/b", "roost/meadow/n/b@h/1/h/http", "roost/meadow/n/b@h/1/h/99999"):
            side.zenoh._on_token(token, True)
            side.zenoh._on_token(token, False)
        assert side.told == []

    asyncio.run(story())
