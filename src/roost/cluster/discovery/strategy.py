"""What a strategy of discovery is, and which one a setting names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from roost.cluster.discovery.dns import Dns
from roost.cluster.discovery.kubernetes import Kubernetes
from roost.cluster.discovery.siblings import Siblings
from roost.cluster.discovery.static import Static
from roost.cluster.discovery.zenoh import Zenoh
from roost.cluster.fabric import Fabric
from roost.config import Address, Config
from roost.errors import ConfigError
from roost.runtime import Runtime
from roost.runtime.kubernetes_api import KubernetesApi

OnFound = Callable[[Address], None]
"""Told: there may be a member. The same address may be told again and again."""
OnDoubt = Callable[[str], None]
"""Told: this node may be gone. It is a hint and never a proof: ask the node."""


class Strategy(Protocol):
    """A way to find members."""

    async def look(self) -> Sequence[Address]:
        """Where members may be now.

        Raises:
            OSError: when nobody can tell at the moment; it is tried again.
            ConfigError: when what was set makes no sense there.
        """

    async def close(self) -> None:
        """Let go of what it holds. Harmless when it holds nothing."""


def strategy(config: Config, runtime: Runtime, fabric: Fabric, on_found: OnFound, on_doubt: OnDoubt) -> Strategy:
    """The strategy that `config.discovery` names.

    Raises:
        ConfigError: when it names none.
    """
    kind, colon, rest = config.discovery.partition(":")
    try:
        if kind == "static" and rest:
            return Static([Address.parse(text.strip()) for text in rest.split(",")])
        if kind == "dns" and rest:
            return Dns(runtime.net, Address.parse(rest))
        if kind == "kubernetes" and rest:
            return Kubernetes.parse(rest, lambda: KubernetesApi.in_cluster(os.environ))
        if kind == "siblings" and rest:
            return Siblings(Path(rest))
        if kind == "zenoh" and colon:
            return Zenoh(rest, config, fabric.incarnation, on_found, on_doubt)
    except ValueError as error:
        raise ConfigError("ROOST_DISCOVERY", f"{config.discovery!r}: {error}") from None
    raise ConfigError(
        "ROOST_DISCOVERY",
        f"{config.discovery!r} is none of static:host:port,..., dns:name:port, "
        "kubernetes:namespace/selector:port, siblings:folder and zenoh:[file]",
    )
