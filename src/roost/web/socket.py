"""Sockets: what an application declares about the connections of its clients.

::

    class UserSocket(Socket):
        channels = [RoomChannel]

        async def connect(self, params, info):
            self.assigns["user"] = token.verify(SECRET, "user", info.auth_token)

        def id(self):
            return f"user:{self.assigns['user']}"
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from roost.core.backlog import CloseSlow, Coalesce, DropOldest, Policy
from roost.errors import ConfigError, Refusal
from roost.limits import CHANNELS_PER_SOCKET_MAX, LONGPOLL_WINDOW_S, SOCKET_FRAME_BYTES_MAX, SOCKET_IDLE_S
from roost.live.channel import Channel
from roost.web.connect_info import ConnectInfo
from roost.web.origin import SAME_HOST, CheckOrigin, OriginPolicy
from roost.web.subprotocol import TOKEN_PREFIX
from roost.wire import phoenix

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""What may stand in the header for subprotocols (RFC 9110, 5.6.2)."""


class ConnectRefused(Refusal):
    """`connect` keeps a client out with an HTTP status of its own, such as 429.

    Args:
        status: 400 to 599.
        reason: why, in words for the client.
        retry_after_s: seconds after which the client may come back, told in the header `retry-after`; not when None.
    """

    code: ClassVar[str] = "connect_refused"

    def __init__(self, status: int = 403, reason: str = "", retry_after_s: float | None = None) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"{status} is no status of a refusal: it is 400 to 599")
        if retry_after_s is not None and not 0 <= retry_after_s < math.inf:
            raise ValueError(f"{retry_after_s} is no pause: it is a number of seconds, not below 0")
        super().__init__(status, reason, retry_after_s)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else str(self.status)


class Socket:
    """The base of a declaration: one instance per connection.

    Attributes:
        channels: the channel classes that can be joined; the first whose topic fits is taken.
        check_origin: whose pages may connect: True = those of the host that was asked, "conn" = of the same scheme,
            host and port, a list such as ["https://example.org", "//*.example.org"] = those and no others, a function
            that is asked with the `Origin`, or False = everybody's.
        check_csrf: whether the session is shown only to who sends the token that it has under `_csrf_token` as a
            parameter of this name; when not said, whether `check_origin` is False.
        longpoll: whether clients without WebSockets may poll.
        longpoll_window_s: how long a poll waits for messages, at most LONGPOLL_WINDOW_S.
        channels_max: topics that one client may join, at most CHANNELS_PER_SOCKET_MAX.
        frame_bytes_max: one message of a client, at most SOCKET_FRAME_BYTES_MAX; a longer one closes it with 1009.
        idle_s: seconds after which a silent client is closed with 1002.
        slow_reader: what to do about a client that does not read as fast as it is written to: `CloseSlow`,
            `DropOldest` or `Coalesce` of `roost.core.backlog`.
        subprotocols: what is spoken besides `phoenix`; a client that offers only others is kept out.
        assigns: what `connect` wants the channels to know of this client; each gets a copy.
    """

    channels: ClassVar[Sequence[type[Channel]]] = ()
    check_origin: ClassVar[CheckOrigin] = True
    check_csrf: ClassVar[bool | None] = None
    longpoll: ClassVar[bool] = True
    longpoll_window_s: ClassVar[float] = LONGPOLL_WINDOW_S
    channels_max: ClassVar[int] = CHANNELS_PER_SOCKET_MAX
    frame_bytes_max: ClassVar[int] = SOCKET_FRAME_BYTES_MAX
    idle_s: ClassVar[float] = SOCKET_IDLE_S
    slow_reader: ClassVar[Policy] = CloseSlow()
    subprotocols: ClassVar[Sequence[str]] = ()

    __origins__: ClassVar[OriginPolicy] = SAME_HOST
    assigns: dict[str, Any]  # Any: what an application knows of its clients

    _is_open = False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls.__origins__ = OriginPolicy(cls.check_origin)
        _check(cls)

    def __new__(cls, *args: object, **options: object) -> Self:
        """A socket with empty assigns, whether or not its class calls the constructor of this one."""
        socket = super().__new__(cls)
        socket.assigns = {}
        return socket

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> Awaitable[None] | None:
        """Let a client in, or raise a Refusal: it gets HTTP 403, or the status of a ConnectRefused. May be
        `async def`, and may take SOCKET_CONNECT_S.

        Set attributes on `self` here for the channels to read; afterwards they are frozen, as all channels of
        the connection share them. What is put into `assigns` each channel gets a copy of.
        """
        return None

    def id(self) -> str | None:
        """What this client is called, such as "user:7"; asked once, after `connect`. `app.disconnect` of it closes
        all connections of this name, on all nodes.
        """
        return None

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_open:
            raise AttributeError(f"{type(self).__name__}.{name}: a socket is frozen once it is connected")
        super().__setattr__(name, value)

    @classmethod
    def channel_for(cls, topic: str) -> type[Channel] | None:
        """The class of the channel that `topic` belongs to, or None."""
        for channel in cls.channels:
            if phoenix.matches(channel.__pattern__, topic):
                return channel
        return None

    @classmethod
    def needs_csrf_token(cls) -> bool:
        """Whether the session is shown only to who sends its token."""
        return not cls.__origins__.checks if cls.check_csrf is None else cls.check_csrf


def seal(socket: Socket) -> None:
    """Connecting is over: what the socket says of the client does not change any more."""
    socket._is_open = True


def _check(kind: type[Socket]) -> None:
    """Refuse a declaration that makes no sense, when the class is made.

    Raises:
        ConfigError: naming the class and the attribute.
    """
    name = kind.__name__
    if not kind.__origins__.checks and kind.check_csrf is False:
        raise ConfigError(f"{name}.check_csrf", "check_origin and check_csrf cannot both be off: any page could act")
    if not isinstance(kind.longpoll, bool):
        raise ConfigError(f"{name}.longpoll", f"{kind.longpoll!r} is neither True nor False")
    policy: object = kind.slow_reader
    if not isinstance(policy, CloseSlow | DropOldest | Coalesce):
        raise ConfigError(f"{name}.slow_reader", f"{policy!r} is none of CloseSlow(), DropOldest() and Coalesce()")
    _between(f"{name}.channels_max", kind.channels_max, CHANNELS_PER_SOCKET_MAX)
    _between(f"{name}.frame_bytes_max", kind.frame_bytes_max, SOCKET_FRAME_BYTES_MAX)
    _positive(f"{name}.idle_s", kind.idle_s, math.inf)
    _positive(f"{name}.longpoll_window_s", kind.longpoll_window_s, LONGPOLL_WINDOW_S)
    spoken: Sequence[object] = kind.subprotocols
    if isinstance(spoken, str) or not all(isinstance(each, str) and _TOKEN.fullmatch(each) for each in spoken):
        raise ConfigError(f"{name}.subprotocols", f"{spoken!r} is no list of names of subprotocols")
    if any(each.startswith(TOKEN_PREFIX) for each in kind.subprotocols):
        raise ConfigError(f"{name}.subprotocols", f"{TOKEN_PREFIX} carries tokens and cannot be spoken")
    channels: Sequence[object] = kind.channels
    for channel in channels:
        if not (isinstance(channel, type) and issubclass(channel, Channel)):
            raise ConfigError(f"{name}.channels", f"{channel!r} is no Channel class")


def _positive(setting: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigError(setting, f"{value!r} is no number of seconds above 0")
    if value > most:
        raise ConfigError(setting, f"{value!r} is over {most} seconds")


def _between(setting: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(setting, f"{value!r} is no number from 1 to {most}")
