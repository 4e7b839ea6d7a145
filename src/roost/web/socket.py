"""Sockets: what an application declares about the connections of its clients.

::

    class UserSocket(Socket):
        channels = [RoomChannel]

        def connect(self, params, info):
            self.user = users.of_token(params.get("token"))
            if self.user is None:
                raise Refusal("who are you?")
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from roost.live.channel import Channel
from roost.wire import phoenix


@dataclass(frozen=True, slots=True)
class ConnectInfo:
    """What is known of a client that connects. Cookies and most headers are withheld: any page can make a browser send
    them.

    Attributes:
        peer: the client's address and port, when the server knows them.
        user_agent: its User-Agent header.
        headers: its headers whose names begin with "x-", in lower case.
        auth_token: the token that the phoenix client sends as `authToken`.
    """

    peer: tuple[str, int] | None = None
    user_agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    auth_token: str | None = None


class Socket:
    """The base of a declaration: one instance per connection.

    Attributes:
        channels: the channel classes that can be joined; the first whose topic fits is taken.
        origins: other hosts whose pages may connect, such as "https://example.org"; "*" is any.
    """

    channels: ClassVar[Sequence[type[Channel]]] = ()
    origins: ClassVar[Sequence[str]] = ()

    _is_open = False

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> Awaitable[None] | None:
        """Let a client in, or raise a Refusal: it gets HTTP 403. May be `async def`.

        Set attributes on `self` here for the channels to read; afterwards they are frozen, as all channels of
        the connection share them.
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


def seal(socket: Socket) -> None:
    """Connecting is over: what the socket says of the client does not change any more."""
    socket._is_open = True
