"""Members with a liveliness token in Eclipse Zenoh: across subnets, behind routers, without a fixed address.

The token of a node says it all: `roost/<cluster>/n/<name>/<incarnation>/<host>/<port>`. One that appears is an address
to try. One that goes is a reason to ask the node at once, and never a proof that it is down: Zenoh's own link to it may
be what broke.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roost.config import Address, Config
from roost.errors import ConfigError
from roost.runtime.zenoh_tokens import ZenohTokens


class Zenoh:
    """Holds a token for this node, and sees those of the others.

    Args:
        file: a configuration of Zenoh; "" is a peer that finds others by multicast.
        config: this node's name and cluster, and where others dial it.
        incarnation: which boot of this node this is.
        on_found: told the address in a token that appears.
        on_doubt: told the name in a token that goes.
    """

    def __init__(
        self,
        file: str,
        config: Config,
        incarnation: int,
        on_found: Callable[[Address], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        if config.reachable is None:
            raise ConfigError("listen", "a node that is to be found must listen")
        host, port = config.reachable
        nodes = f"roost/{config.cluster}/n"
        own = f"{nodes}/{config.name}/{incarnation}/{host}/{port}"
        self._on_found, self._on_doubt = on_found, on_doubt
        self._there: dict[str, Address] = {}
        self._tokens = ZenohTokens(file, own, f"{nodes}/*/*/*/*", self._on_token)

    async def look(self) -> Sequence[Address]:
        """Where the tokens say that members are.

        Raises:
            OSError: when Zenoh does not start.
            ConfigError: when it is not installed, or its configuration makes no sense.
        """
        if not self._tokens.is_open:
            await self._tokens.open()
        return sorted(set(self._there.values()))

    async def close(self) -> None:
        """Take the token back."""
        await self._tokens.close()

    def _on_token(self, token: str, is_there: bool) -> None:
        parts = token.split("/")
        if len(parts) != 7 or not parts[6].isdecimal() or int(parts[6]) > 65535:
            return
        name, address = parts[3], Address(parts[5], int(parts[6]))
        if is_there:
            self._there[token] = address
            self._on_found(address)
        elif self._there.pop(token, None) is not None:
            self._on_doubt(name)
