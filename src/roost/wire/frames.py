"""Framing on a link: four bytes of big-endian length, then that many bytes.

Invariant: any split of the input into reads gives the same frames, and a length over the limit is refused before
anything of that frame is kept.
"""

from __future__ import annotations

from roost.errors import TooLarge

HEADER_BYTES = 4


def frame(payload: bytes) -> bytes:
    """`payload` with its length in front."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Turns reads of any size into whole frames.

    Args:
        size_bytes_max: the longest payload that is accepted.
    """

    __slots__ = ("_parts", "_parts_bytes", "_wanted_bytes", "size_bytes_max")

    def __init__(self, size_bytes_max: int) -> None:
        self.size_bytes_max = size_bytes_max
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._wanted_bytes = HEADER_BYTES

    def feed(self, data: bytes) -> list[memoryview]:
        """Take what was read; return the payloads that are complete now, in order, without copying them.

        Raises:
            TooLarge: when a frame announces more than the limit; nothing further may be fed.
        """
        if self._parts:
            self._parts.append(data)
            self._parts_bytes += len(data)
            if self._parts_bytes < self._wanted_bytes:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
            self._parts_bytes = 0
        payloads: list[memoryview] = []
        view, start, end = memoryview(data), 0, len(data)
        self._wanted_bytes = HEADER_BYTES
        while end - start >= HEADER_BYTES:
            size = int.from_bytes(view[start : start + HEADER_BYTES], "big")
            if size > self.size_bytes_max:
                raise TooLarge("a frame on a link", size, self.size_bytes_max)
            stop = start + HEADER_BYTES + size
            if stop > end:
                self._wanted_bytes = stop - start
                break
            payloads.append(view[start + HEADER_BYTES : stop])
            start = stop
        if start < end:
            rest = data[start:]
            self._parts.append(rest)
            self._parts_bytes = len(rest)
        return payloads
