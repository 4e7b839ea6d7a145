"""Our side of the benchmarks with sockets: one channel that repeats to its topic what it hears.

Run by `python -m roost.ops.node benchmarks.bench_app:app`, as `roost run` does.
"""

from __future__ import annotations

from roost.live.channel import Channel, Payload, event
from roost.web.app import Roost
from roost.web.socket import Socket

TOPIC = "bench:room"
EVENT = "new_msg"


class EchoChannel(Channel, topic="bench:*"):
    """Repeats."""

    @event(EVENT)
    def new_msg(self, payload: Payload) -> None:
        """To everybody on the topic."""
        self.broadcast(EVENT, payload)


class BenchSocket(Socket):
    """Lets everybody in."""

    channels = (EchoChannel,)


app = Roost("benchmark", sockets={"/socket": BenchSocket})
