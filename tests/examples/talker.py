"""Somebody with `nc`: types lines to a port, and reads the lines that come."""

from __future__ import annotations

import socket
from typing import Final

from tests.e2e.cluster import HOST

PROMPT: Final = "> "
WAIT_S: Final = 20.0


class Talker:
    """One TCP connection to a node's port."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), WAIT_S)
        self._lines = self._socket.makefile("rb")

    def type(self, *lines: str) -> None:
        """Send lines, as they are."""
        self.send("".join(f"{line}\n" for line in lines).encode())

    def send(self, raw: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(raw)

    def line(self) -> str:
        """The next line, without the prompt before it; "" when the connection has ended."""
        line = self._lines.readline().decode()
        while line.startswith(PROMPT):
            line = line.removeprefix(PROMPT)
        return line.strip("\r\n")

    def hear(self, wanted: str) -> list[str]:
        """Read until a line comes that contains this; returns all lines up to it.

        Raises:
            AssertionError: the connection has ended, or nothing comes for WAIT_S.
        """
        heard: list[str] = []
        while not heard or wanted not in heard[-1]:
            try:
                line = self.line()
            except TimeoutError:
                line = ""
            assert line, f"{wanted!r} did not come, but {heard}"
            heard.append(line)
        return heard

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()
