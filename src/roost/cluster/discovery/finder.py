"""The process that looks for members, again and again, with pauses that grow while nobody can tell."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from roost import limits
from roost.cluster.discovery.strategy import OnDoubt, OnFound, Strategy, strategy
from roost.cluster.fabric import Fabric
from roost.config import Address, Config
from roost.errors import ConfigError
from roost.otp import Child, GenServer, Reason, info
from roost.runtime import Runtime

logger = logging.getLogger("roost.discovery")


class Look(msgspec.Struct, frozen=True):
    """Time to look."""


class Finder(GenServer):
    """Runs one strategy. What fails is said once in the log, and again when it fails for another reason."""

    def init(self, make: Callable[[], Strategy], own: Address | None, on_found: OnFound) -> None:
        self._strategy = make()
        self._own = own
        self._on_found = on_found
        self._pause_s = limits.DISCOVER_S
        self._trouble = ""
        self.send_after(0.0, Look())

    @info
    async def look(self, message: Look) -> None:
        """Look once, tell what is found, and look again after a pause."""
        try:
            found = await self._strategy.look()
        except (OSError, ConfigError) as error:
            self._fails(str(error) or type(error).__name__)
        else:
            self._pause_s, self._trouble = limits.DISCOVER_S, ""
            for address in found[: limits.NODES_MAX]:
                if address != self._own:
                    self._on_found(address)
        self.send_after(self._pause_s * self.scheduler.runtime.entropy.uniform(0.75, 1.0), message)

    async def terminate(self, reason: Reason) -> None:
        """Let go of what the strategy holds."""
        await self._strategy.close()

    def _fails(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.warning("no members can be looked for: %s", trouble)
        self._trouble = trouble
        self._pause_s = min(2 * self._pause_s, limits.DISCOVER_LAST_S)


def discovery_child(
    config: Config, runtime: Runtime, fabric: Fabric, on_found: OnFound, on_doubt: OnDoubt | None = None
) -> Child | None:
    """The process that looks for members as `config.discovery` says, for a supervisor; None when it says nothing.

    Args:
        config: how to look, and where this node itself is, which is never told.
        runtime: the network.
        fabric: which boot of this node this is.
        on_found: told, in the loop, every address at every look, and at once where the strategy hears of it.
        on_doubt: told, in the loop, which node may be gone; by default the fabric asks that node at once.

    Raises:
        ConfigError: when `config.discovery` names no strategy.
    """
    if not config.discovery:
        return None
    own = config.reachable

    def found(address: Address) -> None:
        if address != own:
            on_found(address)

    def make() -> Strategy:
        return strategy(config, runtime, fabric, found, on_doubt or fabric.doubted)

    if not config.discovery.startswith("zenoh:"):
        make()  # so that a mistake is told when the node starts
    return Finder.child(make, own, on_found, id="discovery")
