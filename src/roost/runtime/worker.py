"""One worker process, seen from its node: it is started, given a job at a time, and buried."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from roost.runtime import worker_main
from roost.runtime.worker_main import HEADER_BYTES, Setup

READ_BYTES: Final = 256 * 1024
"""What is read from a worker in one turn of the loop."""
LOOK_FIRST_S: Final = 0.001
"""When an ending worker is looked at for the first time; then after twice as long, again and again."""
LOOK_LAST_S: Final = 0.05
"""The longest pause between two looks."""
GRACE_S: Final = 1.0
"""How long a worker that has nothing to do may take to end before it is killed."""


class Worker:
    """A worker process and its socket.

    Args:
        loop: that carries both.
        setup: what it takes over from this interpreter.
        on_reply: called with each reply.
        on_lost: called once when it ends without `end`.

    `gone` becomes the story of its end when its process is no more.

    Raises:
        OSError: when it cannot be started.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        setup: Setup,
        on_reply: Callable[[Worker, memoryview], None],
        on_lost: Callable[[Worker], None],
    ) -> None:
        self.jobs = 0
        self.gone: asyncio.Future[str] = loop.create_future()
        self._loop, self._on_reply, self._on_lost = loop, on_reply, on_lost
        self._read, self._unsent = bytearray(), bytearray()
        self._open = True
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", worker_main.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # so that Ctrl-C at the terminal is for the node alone
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        # Something that it has started may keep its end of the socket open: then only this tells of its end.
        self._end_news = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else -1
        ours.setblocking(False)
        loop.add_reader(ours, self._readable)
        if self._end_news >= 0:
            loop.add_reader(self._end_news, self._ended)
        self._send(msgspec.json.encode(setup))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def begin(self, body: bytes) -> None:
        """Give it a job; it must have none."""
        self.jobs += 1
        self._send(body)

    def end(self, *, kill: bool) -> None:
        """End it: at once, with whatever it has started, or when it sees that its socket is closed."""
        self._close()
        if kill:
            self._kill()
        self._bury(LOOK_FIRST_S, GRACE_S)

    def abandon(self) -> None:
        """End it without a loop: its own has ended before it."""
        self._open = False
        self._socket.close()
        if self._end_news >= 0:
            os.close(self._end_news)
        self._kill()
        self._process.wait()

    def _send(self, body: bytes) -> None:
        header = len(body).to_bytes(HEADER_BYTES)
        try:
            sent = 0 if self._unsent else self._socket.sendmsg((header, body))
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended; its socket says so to the reader
            return
        if sent < HEADER_BYTES + len(body):
            if not self._unsent:
                self._loop.add_writer(self._socket, self._writable)
            self._unsent += (header + body)[sent:]

    def _writable(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        if not self._unsent:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        read = self._read
        read += data
        if len(read) < HEADER_BYTES or len(read) < (size := HEADER_BYTES + int.from_bytes(read[:HEADER_BYTES])):
            return
        self._read = read[size:]
        self._on_reply(self, memoryview(read)[HEADER_BYTES:size])

    def _ended(self) -> None:
        """Its process is no more. A reply that it has sent before is still in the socket, and is read first."""
        if self._open and not _has_news(self._socket):
            self._lost()

    def _lost(self) -> None:
        self._close()
        self._kill()
        self._bury(LOOK_FIRST_S, GRACE_S)
        self._on_lost(self)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            if self._end_news >= 0:
                self._loop.remove_reader(self._end_news)
                os.close(self._end_news)

    def _kill(self) -> None:
        """Kill its process, and those that a function has started in it."""
        # Not `poll`: that would bury it, and its number could mean another process.
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _bury(self, pause_s: float, grace_s: float) -> None:
        """Look whether the process has ended, until it has: nobody else will, and a zombie would stay."""
        code = self._process.poll()
        if code is None:
            if grace_s <= 0:
                self._kill()
            later_s = min(2 * pause_s, LOOK_LAST_S)
            self._loop.call_later(pause_s, self._bury, later_s, grace_s - pause_s)
        elif not self.gone.done():
            self.gone.set_result(_story(code))


def _has_news(sock: socket.socket) -> bool:
    """Whether there is something to read."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _story(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"it ended with exit status {code}"
    with suppress(ValueError):
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it was killed by signal {-code}"
