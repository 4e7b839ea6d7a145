"""What a node is told at birth: its name, its cluster, where it listens, who else there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from roost import limits
from roost.errors import ConfigError

DEFAULT_NAME = "roost@127.0.0.1"
DEFAULT_CLUSTER = "roost"
NODE_NAME = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.:-]+")
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "host:port"; an IPv6 host may stand in brackets.

        Raises:
            ValueError: when there is no port, or it is not a number from 0 to 65535.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port")
        return cls(host.strip("[]"), int(port))


class Seed(NamedTuple):
    """One member of a cluster whose members are known beforehand."""

    name: str
    address: Address
    web: Address | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One node's settings.

    Attributes:
        name: the node's name, unique in its cluster: "a@127.0.0.1".
        cluster: the cluster's name; nodes of another cluster are refused.
        listen: where other nodes reach this one; None for a node that is alone.
        seeds: every member of the cluster, this node among them.
        cookie: the secret that all members share.
        ring_size: partitions of the ring; fixed at the cluster's birth.
        web: where browsers reach this node.
        data: the folder that keeps this node's data; None keeps everything in memory only.

    Raises:
        ConfigError: when a setting makes no sense, or two of them contradict each other.
    """

    name: str = DEFAULT_NAME
    cluster: str = DEFAULT_CLUSTER
    listen: Address | None = None
    seeds: tuple[Seed, ...] = ()
    cookie: bytes = b""
    ring_size: int = limits.RING_SIZE
    web: Address | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        if not NODE_NAME.fullmatch(self.name) or len(self.name) > limits.NAME_BYTES_MAX:
            raise ConfigError("name", f"{self.name!r} is not of the form name@host")
        if not CLUSTER_NAME.fullmatch(self.cluster) or len(self.cluster) > limits.NAME_BYTES_MAX:
            raise ConfigError("cluster", f"{self.cluster!r} may only have letters, digits, '_', '.' and '-'")
        if not 1 <= self.ring_size <= limits.RING_SIZE_MAX or self.ring_size & (self.ring_size - 1):
            raise ConfigError("ring_size", f"{self.ring_size} is not a power of 2 up to {limits.RING_SIZE_MAX}")
        self._check_seeds()

    def _check_seeds(self) -> None:
        names = [seed.name for seed in self.seeds]
        if len(set(names)) != len(names):
            raise ConfigError("seeds", "a node is named twice")
        if len(names) > limits.NODES_MAX:
            raise ConfigError("seeds", f"{len(names)} nodes are more than {limits.NODES_MAX}")
        if names and self.name not in names:
            raise ConfigError("seeds", f"{self.name} is not among {', '.join(names)}")
        if len(names) > 1 and self.listen is None:
            raise ConfigError("listen", "a node with companions must listen: set it to host:port")
        if self.listen is not None and not self.cookie:
            raise ConfigError("cookie", "a node that listens needs the secret of its cluster")

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all members, sorted, this node's among them."""
        return tuple(sorted({self.name, *(seed.name for seed in self.seeds)}))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Config:
        """Read the settings from ROOST_* variables; what is not set keeps its default.

        ROOST_NAME, ROOST_CLUSTER, ROOST_LISTEN and ROOST_WEB (host:port), ROOST_COOKIE, ROOST_DATA (a folder),
        ROOST_RING_SIZE, and ROOST_SEEDS: "name=host:port[/webhost:webport]", separated by commas.

        Raises:
            ConfigError: names the variable and what is wrong with it.
        """
        size = environ.get("ROOST_RING_SIZE", str(limits.RING_SIZE))
        if not size.isdecimal():
            raise ConfigError("ROOST_RING_SIZE", f"{size!r} is not a number")
        return cls(
            name=environ.get("ROOST_NAME", DEFAULT_NAME),
            cluster=environ.get("ROOST_CLUSTER", DEFAULT_CLUSTER),
            listen=_address(environ, "ROOST_LISTEN"),
            seeds=tuple(_seed(text) for text in environ.get("ROOST_SEEDS", "").split(",") if text),
            cookie=environ.get("ROOST_COOKIE", "").encode(),
            ring_size=int(size),
            web=_address(environ, "ROOST_WEB"),
            data=environ.get("ROOST_DATA") or None,
        )

    def to_env(self) -> dict[str, str]:
        """The ROOST_* variables from which `from_env` makes this very Config."""
        settings = {
            "ROOST_NAME": self.name,
            "ROOST_CLUSTER": self.cluster,
            "ROOST_LISTEN": str(self.listen or ""),
            "ROOST_SEEDS": ",".join(
                f"{seed.name}={seed.address}" + (f"/{seed.web}" if seed.web else "") for seed in self.seeds
            ),
            "ROOST_COOKIE": self.cookie.decode(),
            "ROOST_RING_SIZE": str(self.ring_size),
            "ROOST_WEB": str(self.web or ""),
            "ROOST_DATA": self.data or "",
        }
        return {name: value for name, value in settings.items() if value}


def _address(environ: Mapping[str, str], variable: str) -> Address | None:
    text = environ.get(variable)
    if not text:
        return None
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ConfigError(variable, str(error)) from None


def _seed(text: str) -> Seed:
    name, equals, places = text.strip().partition("=")
    link, slash, web = places.partition("/")
    try:
        if not equals:
            raise ValueError(f"{text!r} is not name=host:port")
        return Seed(name, Address.parse(link), Address.parse(web) if slash else None)
    except ValueError as error:
        raise ConfigError("ROOST_SEEDS", str(error)) from None
