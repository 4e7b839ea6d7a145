"""The documented programs run as they stand: each framework before a server, with sockets and requests side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.asgi.programs import Served, documented, get, hear_diff, serving, wait_until_up
from tests.web.wire import Phoenix

PAIRS: Final = {"FastAPI": "uvicorn", "Starlette": "hypercorn", "Litestar": "granian", "Django": "uvicorn"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Every documented program under a server, all at once."""
    with ExitStack() as stack:
        running = {
            framework: stack.enter_context(serving(tmp_path_factory.mktemp(framework), server, documented(framework)))
            for framework, server in PAIRS.items()
        }
        wait_until_up(*running.values())
        yield running


@pytest.mark.parametrize("framework", PAIRS)
async def test_a_documented_program_serves_sockets_and_requests(framework: str, served: dict[str, Served]) -> None:
    address = served[framework].address
    ada, bob = await Phoenix.open(address), await Phoenix.open(address)
    for name, client in {"Ada": ada, "Bob": bob}.items():
        assert (await client.ask("1", "1", "room:tea", "phx_join", {"name": name}))["status"] == "ok"
    state = (await bob.hear("presence_state"))[4]
    assert state.keys() <= {"Ada", "Bob"}
    assert "Ada" in state
    await ada.say("1", "2", "room:tea", "say", {"text": "hello"})
    assert (await bob.hear("said"))[4] == {"text": "hello"}

    status, answer = await get(address, "/visit/ada")
    assert (status, answer.keys()) == (200, {"process"})
    assert (await bob.hear("visited"))[4] == {"name": "ada"}
    assert (await get(address, "/nowhere"))[0] == 404
    await ada.close()
    await hear_diff(bob, "leaves", "Ada")
    await bob.close()
