"""The reference for broadcasts: a bare picows server that speaks just enough of the Phoenix protocol.

One set of sockets per topic; a push is decoded, encoded once as a broadcast, framed once, and written to each. No
processes, no policies, no other node. As a module it prints its port, and ends with its stdin.
"""

from __future__ import annotations

import asyncio

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.child import parent_gone
from benchmarks.dialect import ASK

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str | None, str | None, str, str, msgspec.Raw]).decode


def framed(payload: bytes) -> bytes:
    """One unmasked WebSocket text frame."""
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return bytes((0x81, 126)) + len(payload).to_bytes(2, "big") + payload


class _Socket(WSListener):
    def __init__(self, topics: dict[str, dict[asyncio.Transport, None]]) -> None:
        self._topics = topics

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        join_ref, ref, topic, event, payload = _decode(frame.get_payload_as_bytes())
        sockets = self._topics.setdefault(topic, {})
        response: object = {}
        if event == "phx_join":
            sockets[transport.underlying_transport] = None
        elif event == ASK:
            response = payload
        elif event == "heartbeat":
            pass
        else:
            broadcast = framed(_encode((None, None, topic, event, payload)))
            for socket in sockets:
                socket.write(broadcast)
        reply = (join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response})
        transport.underlying_transport.write(framed(_encode(reply)))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for sockets in self._topics.values():
            sockets.pop(transport.underlying_transport, None)


async def _serve() -> None:
    topics: dict[str, dict[asyncio.Transport, None]] = {}

    def accept(_: WSUpgradeRequest) -> WSListener:
        return _Socket(topics)

    server = await ws_create_server(accept, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await parent_gone()


if __name__ == "__main__":
    uvloop.run(_serve())
