"""One node's operating-system process, as its launcher sees it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from roost.ops.leash import VARIABLE, Leash, Word
from roost.runtime.clock import Clock

LINE_BYTES_MAX = 16 * 1024
"""A longer line of output is cut into several."""
LAST_WORDS_S = 0.2
"""How long the output of an ended process is awaited, in case something that it started holds the pipe open."""


class Child(asyncio.SubprocessProtocol):
    """A process on a leash, in a session of its own: a Ctrl-C in the terminal reaches its launcher only.

    Args:
        clock: the launcher's clock.
        on_line: called with each line that the process prints, without its end.
        on_word: called with what the node says over the leash.
        on_end: called once, when the process has ended and its output is read; with its exit code, or with the
            negative number of the signal that killed it.
    """

    def __init__(
        self,
        clock: Clock,
        on_line: Callable[[str], None],
        on_word: Callable[[Word], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._on_line, self._on_word, self._on_end = on_line, on_word, on_end
        self._unread = b""
        self._leash: Leash | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._ended = False

    async def start(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start the process.

        Raises:
            OSError: when the machine cannot start one more process.
        """
        loop = asyncio.get_running_loop()
        self._leash, end = await Leash.attach(self._on_word)
        try:
            await loop.subprocess_exec(
                lambda: self,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**environ, VARIABLE: str(end.fileno())},
                pass_fds=(end.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self._leash.let_go()
            raise
        finally:
            end.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._transport is not None
        return self._transport.get_pid()

    def terminate(self) -> None:
        """Ask the process to stop in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, and everything that it started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is not None and self._transport.get_returncode() is None:
            with suppress(ProcessLookupError):
                if number is signal.SIGKILL:
                    os.killpg(self.pid, number)
                else:
                    os.kill(self.pid, number)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the process runs."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """asyncio: the process printed something."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._print(line)
        while len(self._unread) > LINE_BYTES_MAX:
            self._print(self._unread[:LINE_BYTES_MAX])
            self._unread = self._unread[LINE_BYTES_MAX:]

    def _print(self, line: bytes) -> None:
        self._on_line(line.decode("utf-8", "backslashreplace").rstrip("\r"))

    def process_exited(self) -> None:
        """asyncio: the process ended; what it started and left behind ends with it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._clock.call_later(LAST_WORDS_S, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the process ended and all of its output is read."""
        self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._unread:
            self._print(self._unread)
        assert self._leash is not None
        assert self._transport is not None
        self._leash.let_go()
        code = self._transport.get_returncode()
        self._transport.close()
        self._on_end(0 if code is None else code)
