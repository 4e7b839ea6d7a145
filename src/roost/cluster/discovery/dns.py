"""Members behind one name: every address that it stands for, as with a headless service of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from roost import limits
from roost.config import Address
from roost.runtime.net import Net


class Dns:
    """Looks a name up, again for every look.

    Args:
        net: the network whose resolver is asked.
        name: the name, and the port at which every member listens.
    """

    def __init__(self, net: Net, name: Address) -> None:
        self._net = net
        self._name = name

    async def look(self) -> Sequence[Address]:
        """All A and AAAA records.

        Raises:
            OSError: when the name is not known, or no server answers.
        """
        return await self._net.resolve(self._name.host, self._name.port, limits.DISCOVER_TIMEOUT_S)

    async def close(self) -> None:
        """It holds nothing."""
