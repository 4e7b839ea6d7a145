"""The demo, put together: `roost run roost.demo.app:app`."""

from __future__ import annotations

from collections.abc import Mapping

from roost.demo.ring import PingVnode, RingChannel, RingWatch
from roost.demo.room import RoomChannel, merge_histories
from roost.demo.site import Site
from roost.web.app import Roost
from roost.web.connect_info import ConnectInfo
from roost.web.socket import Socket


class DemoSocket(Socket):
    """Everybody may come in; a room asks for a name."""

    channels = (RoomChannel, RingChannel)

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> None:
        """Nothing is asked here."""
        self.rooms = rooms


app: Roost = Roost(
    "demo",
    children=[RingWatch.child(lambda: app.running().live.pubsub)],
    sockets={"/socket": DemoSocket},
)
store = app.kv("store")
rooms = app.kv("rooms", merge=merge_histories)
pings = app.ring(PingVnode)
app.web = Site(store, pings)
