"""Liveliness tokens of Eclipse Zenoh: keys that are there as long as the session of whoever declared them.

Traps, measured: a session must be opened after a fork, and in a thread, as opening waits for scouting and closing for
up to ten seconds; a plain callable as a subscriber keeps the process from exiting; a callback runs in Zenoh's thread
and must neither block nor call Zenoh. So it only writes down, and wakes the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from roost import limits
from roost.errors import ConfigError

if TYPE_CHECKING:
    import zenoh

OnToken = Callable[[str, bool], None]
"""Told in the loop: this token is there, or it is gone."""


class ZenohTokens:
    """One session with one token of its own, which sees those of the others.

    Args:
        file: a configuration of Zenoh in JSON5; "" is a peer that finds others by multicast.
        own: the token of this node.
        pattern: which tokens to see.
        on_token: told of each of them, those that are there at the beginning included.
    """

    def __init__(self, file: str, own: str, pattern: str, on_token: OnToken) -> None:
        self._file, self._own, self._pattern, self._on_token = file, own, pattern, on_token
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[str, bool]] = deque(maxlen=limits.DISCOVER_EVENTS_MAX)
        self._woken = False
        self._session: zenoh.Session | None = None
        self._held: tuple[object, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the session is open."""
        return self._session is not None

    async def open(self) -> None:
        """Open the session, declare the token and watch the others.

        Raises:
            ConfigError: when eclipse-zenoh is not installed, or the file is of no use.
            OSError: when Zenoh does not start.
        """
        self._session = await self._loop.run_in_executor(None, self._open)

    async def close(self) -> None:
        """Take the token back and end the session; what is still told is not taken."""
        session, self._session, self._held = self._session, None, ()
        if session is not None:
            await self._loop.run_in_executor(None, _close, session)

    def _open(self) -> zenoh.Session:
        try:
            import zenoh
        except ImportError:
            raise ConfigError("ROOST_DISCOVERY", 'zenoh is not installed: pip install "roost[zenoh]"') from None
        try:
            config = zenoh.Config.from_file(self._file) if self._file else zenoh.Config()
        except zenoh.ZError as error:
            raise ConfigError("ROOST_DISCOVERY", f"{self._file} is no configuration of Zenoh: {error}") from None
        try:
            session = zenoh.open(config)
            live = session.liveliness()
            watch = live.declare_subscriber(
                self._pattern, zenoh.handlers.Callback(self._heard, indirect=False), history=True
            )
            self._held = (watch, live.declare_token(self._own))
        except zenoh.ZError as error:
            raise OSError(f"Zenoh does not start: {error}") from None
        return session

    def _heard(self, sample: zenoh.Sample) -> None:
        """In Zenoh's thread."""
        from zenoh import SampleKind

        self._events.append((str(sample.key_expr), sample.kind == SampleKind.PUT))
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False  # before the deque is empty: what comes meanwhile wakes the loop again
        while self._events:
            token, is_there = self._events.popleft()
            if token != self._own:
                self._on_token(token, is_there)


def _close(session: zenoh.Session) -> None:
    session.close()  # type: ignore[no-untyped-call]  # its stub has no types
