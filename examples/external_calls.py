"""Many slow external calls in parallel, one of which fails and one of which never answers.

Each call is a task in a process of its own, at most eight at a time. A call that crashes or takes too long is one
outcome among the others; the rest arrives. Nothing keeps running when the loop is left.

    python examples/external_calls.py
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial

from roost import Application, TaskSupervisor
from roost.otp import Exited, Ok

CITIES = ("Aachen", "Basel", "Cadiz", "Dover", "Essen", "Fulda", "Ghent", "Huelva", "Izmir", "Jena", "Kassel", "Lille")
BROKEN, SILENT = "Dover", "Izmir"
PATIENCE_S = 1.0


async def weather(port: int, city: str) -> float:
    """Ask the slow service for one city."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /{city} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise ConnectionError(f"the service says {head.decode().splitlines()[0]!r}")
    celsius: float = json.loads(body)["celsius"]
    return celsius


async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The service that is called: slow, and not always right."""
    city = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().strip("/")
    if city == SILENT:
        await reader.read()  # until the caller has had enough
    elif city == BROKEN:
        writer.write(b"HTTP/1.0 500 Internal Server Error\r\n\r\n")
    else:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({"celsius": len(city) * 2.5}).encode())
    writer.close()


async def main() -> None:
    """Ask for all cities at once and print what comes, in order."""
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    began = time.perf_counter()
    async with Application("weather", [TaskSupervisor.child(name="calls")]):
        calls = TaskSupervisor.whereis("calls")
        outcomes = calls.async_stream_nolink(
            partial(weather, port), CITIES, max_concurrency=8, timeout_s=PATIENCE_S, on_timeout="kill_task"
        )
        async with outcomes:
            for city in CITIES:
                match await anext(outcomes):
                    case Ok(celsius):
                        print(f"{city:8} {celsius:4.1f} °C")
                    case Exited(reason):
                        print(f"{city:8} {reason}")
        assert not await calls.children()
    server.close()
    await server.wait_closed()
    print(f"{len(CITIES)} calls in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
