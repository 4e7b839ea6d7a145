"""A link of an operator's console to a node: it asks, and is no member of anything."""

from __future__ import annotations

from roost.cluster.guest_link import GuestLink
from roost.config import Address, Tls
from roost.runtime import Runtime
from roost.wire.handshake import NONCE_BYTES, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Hello


class ConsoleLink(GuestLink):
    """One connection of a console; use it as an async context manager::

        async with ConsoleLink(Runtime.real(), address, cluster="demo", cookie=cookie) as node:
            answer = await node.call("console", body)

    Args:
        runtime: the network and the entropy to use.
        address: where the node listens.
        cluster: the name of its cluster.
        cookie: the secret of its cluster.
        tls: the certificate to show, where links have them; any that the cluster's authority has signed will do.

    Raises: as `GuestLink`.
    """

    def __init__(
        self, runtime: Runtime, address: Address, *, cluster: str, cookie: bytes, tls: Tls | None = None
    ) -> None:
        hello = Hello(
            version=PROTOCOL_VERSION,
            version_min=PROTOCOL_VERSION_MIN,
            cluster=cluster,
            node="console",
            incarnation=0,
            role="console",
            cluster_id=b"",
            nonce=runtime.entropy.token(NONCE_BYTES),
        )
        super().__init__(runtime, address, hello, cookie, tls)
