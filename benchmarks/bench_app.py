"""Our side of the benchmarks: a channel that repeats to its topic what it hears, a process that counts, a bucket.

Run by `python -m roost.ops.node benchmarks.bench_app:app`, as `roost run` does.
"""

from __future__ import annotations

from benchmarks.dialect import ASK, PUBLISH
from benchmarks.local_call import Counter
from roost.cluster.exports import exported
from roost.live.channel import Channel, Payload, event
from roost.web.app import Roost
from roost.web.socket import Socket

COUNTER = "counter"


@exported(name="double")
def double(number: int) -> int:
    """What the benchmark of calls of functions calls."""
    return 2 * number


class EchoChannel(Channel, topic="bench:*"):
    """Repeats."""

    @event(PUBLISH)
    def new_msg(self, payload: Payload) -> None:
        """To everybody on the topic."""
        self.broadcast(PUBLISH, payload)

    @event(ASK)
    def echo(self, payload: Payload) -> Payload:
        """To who has asked."""
        return payload


class CrowdedChannel(Channel, topic="crowd:*"):
    """Shows everybody who joins."""

    def join(self, topic: str, params: Payload, socket: Socket) -> None:
        """Come in under the name that the client gives."""
        self.track(str(params["name"]), {})


class BenchSocket(Socket):
    """Lets everybody in."""

    channels = (EchoChannel, CrowdedChannel)


app = Roost("benchmark", children=[Counter.child(name=COUNTER)], sockets={"/socket": BenchSocket})
store = app.kv("benchmark", n=3, r=2, w=2)
