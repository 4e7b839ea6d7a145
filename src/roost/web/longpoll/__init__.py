"""Long polling: sockets over plain HTTP, for clients whose network lets no WebSocket through.

`LongPollEndpoint` serves one Socket class; `LongPolls` is what the endpoints of one node share: its sessions, the key
of their tokens, and the service by which other nodes reach them.
"""

from roost.web.longpoll.endpoint import LongPollEndpoint
from roost.web.longpoll.service import LongPolls

__all__ = ["LongPollEndpoint", "LongPolls"]
