"""A broadcast as its listeners get it: one value per node, worked out only as far as somebody asks."""

from __future__ import annotations

from typing import Final

import msgspec

from roost.errors import BadMessage
from roost.wire import phoenix

_decode: Final = msgspec.json.Decoder(dict[str, object]).decode


class Broadcast:
    """An event on a topic. All listeners of a node get the same one: copy what you hand on or change.

    Attributes:
        topic: where it was said.
        frame: the ready frame for clients of version 2 of the protocol, as the publisher made it.
    """

    __slots__ = ("_content", "_frames", "_payload", "frame", "topic")

    def __init__(self, topic: str, frame: bytes) -> None:
        self.topic, self.frame = topic, frame
        self._content: tuple[str, msgspec.Raw | bytes] | None = None
        self._payload: phoenix.Payload | None = None
        self._frames: dict[str, bytes] | None = None

    @property
    def event(self) -> str:
        """The name of the event. Raises BadMessage when another node has sent what is none."""
        return self._opened()[0]

    @property
    def payload(self) -> phoenix.Payload:
        """The JSON object, or the bytes, decoded once. Raises BadMessage as `event` does."""
        payload = self._payload
        if payload is None:
            payload = self._payload = self.own_payload()
        return payload

    def own_payload(self) -> phoenix.Payload:
        """The payload, decoded for the caller alone: decoding again is faster than copying.

        Raises:
            BadMessage: as `event` does.
        """
        content = self._opened()[1]
        if type(content) is bytes:
            return content
        try:
            return _decode(content)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"a broadcast: {error}") from error

    def frame_for(self, serializer: phoenix.Serializer) -> bytes:
        """The ready frame for clients of another version; encoded once per node.

        Raises:
            TypeError: the payload is bytes, and the version has none.
            BadMessage: as `event` does.
        """
        version = serializer.version
        if version == phoenix.V2.version:
            return self.frame
        frames = self._frames
        if frames is None:
            frames = self._frames = {}
        frame = frames.get(version)
        if frame is None:
            event, content = self._opened()
            frame = frames[version] = serializer.broadcast(self.topic, event, content)
        return frame

    def _opened(self) -> tuple[str, msgspec.Raw | bytes]:
        content = self._content
        if content is None:
            _, event, raw = phoenix.broadcast_in(self.frame)
            content = self._content = event, raw
        return content
