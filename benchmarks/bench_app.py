"""Our side of the benchmarks over HTTP and WebSockets: one channel that repeats what it hears."""

from __future__ import annotations

TOPIC = "bench:room"
EVENT = "new_msg"
