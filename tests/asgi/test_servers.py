"""What sockets do is the same under each server; where servers differ, they do as the documentation says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from roost.config import Address
from roost.wire.phoenix import binary
from tests.asgi.corners import FLOOD_FRAMES
from tests.asgi.programs import PAGE, Served, get, serving, wait_until_up
from tests.hostile.client import joined, text
from tests.web.wire import Phoenix

SERVERS: Final = ("uvicorn", "hypercorn", "granian")
PROGRAM: Final = "from tests.asgi.corners import app\n\n__all__ = ['app']\n"
DRAINED_WITH: Final = {"uvicorn": 1012, "hypercorn": 1011, "granian": 1006}
"""The close codes that clients see when the server stops."""
LONG: Final = 300_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """The application under each server, all at once."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("corners")
        running = {server: stack.enter_context(serving(folder, server, PROGRAM)) for server in SERVERS}
        wait_until_up(*running.values())
        yield running


async def entered(address: Address, **options: Any) -> Phoenix:  # Any: what the client takes
    """A client in the corner."""
    client = await Phoenix.open(address, max_size=None, **options)
    assert (await client.ask("1", "1", "corner", "phx_join", {}))["status"] == "ok"
    return client


async def count_ends(address: Address) -> int:
    """How many channels have ended."""
    return len((await get(address, "/ends"))[1])


@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_that_is_kept_out_gets_its_status(server: str, served: dict[str, Served]) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"ws://{served[server].address}/closed/websocket?vsn=2.0.0")
    assert refusal.value.response.status_code == 429
    assert b"later" in (refusal.value.response.body or b"")
    with pytest.raises(InvalidStatus) as refusal:
        await connect(
            f"ws://{served[server].address}/socket/websocket?vsn=2.0.0", origin=Origin("https://evil.example")
        )
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("server", SERVERS)
async def test_long_frames_of_both_kinds_go_both_ways(server: str, served: dict[str, Served]) -> None:
    client = await entered(served[server].address)
    text = "é" * (LONG // 2)
    assert (await client.ask("1", "2", "corner", "echo", {"text": text}))["response"] == {"text": text}
    data = bytes(range(256)) * (LONG // 256)
    head = bytes([binary.PUSH, 1, 1, 6, 4]) + b"13cornerecho"
    await client.socket.send(head + data)
    answer = await client.socket.recv()
    assert answer == bytes([binary.REPLY, 1, 1, 6, 2]) + b"13cornerok" + data
    await client.close()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_that_says_more_than_is_handled_waits_and_keeps_its_order(
    server: str, served: dict[str, Served]
) -> None:
    client = await entered(served[server].address)
    for number in range(2_000):
        await client.say("1", str(number), "corner", "dawdle", {"number": number})
    heard = [(await client.hear("phx_reply"))[4]["response"]["number"] for _ in range(2_000)]
    assert heard == list(range(2_000))
    await client.close()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_channel_ends_when_its_client_closes_or_is_lost(server: str, served: dict[str, Served]) -> None:
    address = served[server].address
    ends = await count_ends(address)
    client = await entered(address)
    await client.socket.close(4001)
    while await count_ends(address) == ends:
        pass
    client = await entered(address)
    client.socket.transport.abort()
    while await count_ends(address) == ends + 1:
        pass


@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_that_does_not_read_is_given_up(server: str, served: dict[str, Served]) -> None:
    client = await entered(served[server].address, max_queue=1)
    await client.say("1", "2", "corner", "flood", {})
    while "closing a socket that does not read" not in served[server].log:
        await count_ends(served[server].address)
    heard, code = await hear_to_the_end(client)
    assert code == 1013
    assert 0 < heard.count("drop") < FLOOD_FRAMES


@pytest.mark.parametrize("server", SERVERS)
async def test_nothing_is_kept_for_a_client_that_never_reads(server: str, served: dict[str, Served]) -> None:
    address = served[server].address

    async def held() -> Any:  # Any: tests look into JSON
        return (await get(address, "/held"))[1]

    async with joined(address, "/socket", "corner", receive_bytes=4096) as raw:
        before = now = await held()
        assert (before["sockets"], before["senders"]) == (1, 1)
        while now["closed"] == before["closed"]:
            # One after the other, so that the server has all that transport and kernel take before it is closed.
            handled = now["drips"]
            await raw.send(text("1", "2", "corner", "drip", {"number": handled}))
            while (now := await held())["drips"] == handled:
                pass
        while (now := await held())["sockets"]:
            pass
        assert (now["waiting_bytes"], now["senders"]) == (0, 0)
        await raw.ended()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_stops_closes_its_sockets_as_documented(server: str, tmp_path: Path) -> None:
    with serving(tmp_path, server, PROGRAM) as served:
        wait_until_up(served)
        client = await entered(served.address)
        served.begin_stop()
        _, code = await hear_to_the_end(client)
        assert code == DRAINED_WITH[server]


async def hear_to_the_end(client: Phoenix) -> tuple[list[str], int]:
    """The events that a client is still sent, and the code with which it is closed."""
    heard: list[str] = []
    while True:
        try:
            heard.append((await client.hear())[3])
        except ConnectionClosed as closed:
            return heard, 1006 if closed.rcvd is None else closed.rcvd.code


def test_the_page_says_how_sockets_end() -> None:
    [row] = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| a client's close code, when")]
    assert [int(code) for code in re.findall(r"\b1\d{3}\b", row)] == list(DRAINED_WITH.values())
