"""What a node is told at birth: its name, its cluster, where it listens, who else there is, and how it meets them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from roost import limits
from roost.errors import ConfigError

DEFAULT_NAME = "roost@127.0.0.1"
DEFAULT_CLUSTER = "roost"
NODE_NAME = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.:-]+")
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
ZONE_NAME = re.compile(r"[A-Za-z0-9_.-]*")
EVERYWHERE: Final = ("0.0.0.0", "::")
"""Hosts to listen at that nobody can dial."""

Policy = Literal["manual", "auto"]
"""Whether an operator commits the changes of a cluster, or nodes that join are committed by themselves."""


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

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


class Tls(NamedTuple):
    """The files with which a node proves who it is, and by which it believes others; all in PEM.

    Attributes:
        certificate: this node's certificate, with the chain below the authority if there is one. It must name, as
            subject alternative name, the host part of the node's name, and allow both servers and clients.
        key: the private key that belongs to it.
        authority: the certificates of those who may sign a node's certificate; the system's are not used.
    """

    certificate: str
    key: str
    authority: str


@dataclass(frozen=True, slots=True)
class Config:
    """One node's settings.

    Attributes:
        name: the node's name, unique in its cluster: "a@127.0.0.1".
        cluster: the cluster's name; nodes of another cluster are refused.
        listen: where this node accepts other nodes; 0.0.0.0 or :: is every address of the machine. None for a node
            that is alone.
        advertise: what the others dial to reach this one; None is what it listens at.
        seeds: every member of the cluster at its birth, this node among them. A node that is not among them takes
            them as addresses to join.
        join: members of a cluster to join when this node is in none.
        discovery: how to find members to join: a strategy of `roost.cluster.discovery`, or "".
        policy: "manual": an operator commits every change of the cluster; "auto": joins commit by themselves.
        zone: what this node shares its fate with (a rack, a data centre); copies go to distinct zones first.
        cookie: the secret that all members share.
        tls: certificates for the links between nodes; None is plain TCP.
        ring_size: partitions of the ring; fixed at the cluster's birth.
        web: where browsers reach this node.
        data: the folder that keeps this node's data; None keeps everything in memory only.

    Raises:
        ConfigError: when a setting makes no sense, or two of them contradict each other.
    """

    name: str = DEFAULT_NAME
    cluster: str = DEFAULT_CLUSTER
    listen: Address | None = None
    advertise: Address | None = None
    seeds: tuple[Seed, ...] = ()
    join: tuple[Address, ...] = ()
    discovery: str = ""
    policy: Policy = "manual"
    zone: str = ""
    cookie: bytes = b""
    tls: Tls | None = None
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
        if not ZONE_NAME.fullmatch(self.zone) or len(self.zone) > limits.NAME_BYTES_MAX:
            raise ConfigError("zone", f"{self.zone!r} may only have letters, digits, '_', '.' and '-'")
        if self.policy not in ("manual", "auto"):
            raise ConfigError("policy", f"{self.policy!r} is neither manual nor auto")
        self._check_seeds()
        self._check_listen()

    def _check_seeds(self) -> None:
        names = [seed.name for seed in self.seeds]
        if len(set(names)) != len(names):
            raise ConfigError("seeds", "a node is named twice")
        if len(names) > limits.NODES_MAX:
            raise ConfigError("seeds", f"{len(names)} nodes are more than {limits.NODES_MAX}")
        if len(self.join) > limits.NODES_MAX:
            raise ConfigError("join", f"{len(self.join)} addresses are more than {limits.NODES_MAX}")

    def _check_listen(self) -> None:
        if self.listen is None:
            if len(self.members) > 1 or self.contacts or self.discovery:
                raise ConfigError("listen", "a node with companions must listen: set it to host:port")
            if self.advertise is not None:
                raise ConfigError("advertise", "a node that does not listen cannot be dialled: set listen, too")
            return
        if not self.cookie:
            raise ConfigError("cookie", "a node that listens needs the secret of its cluster")
        if self.reachable is not None and self.reachable.host in EVERYWHERE:
            raise ConfigError(
                "advertise",
                f"nobody can dial {self.reachable}: set it to the host:port at which others reach this node",
            )

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all members at the cluster's birth, sorted, this node's among them.

        Only this node's when it is not among the seeds: it was not there then.
        """
        names = {seed.name for seed in self.seeds}
        return tuple(sorted(names)) if self.name in names else (self.name,)

    @property
    def contacts(self) -> tuple[Address, ...]:
        """Where to ask to join, when this node is in no cluster: `join`, and the seeds if this node is none of them."""
        if any(seed.name == self.name for seed in self.seeds):
            return self.join
        return (*self.join, *(seed.address for seed in self.seeds))

    @property
    def reachable(self) -> Address | None:
        """What other nodes dial to reach this one; None when it does not listen."""
        return self.advertise or self.listen

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Config:
        """Read the settings from ROOST_* variables; what is not set keeps its default.

        ROOST_NAME, ROOST_CLUSTER, ROOST_LISTEN, ROOST_ADVERTISE and ROOST_WEB (host:port), ROOST_COOKIE, ROOST_DATA
        (a folder), ROOST_RING_SIZE, ROOST_ZONE, ROOST_POLICY, ROOST_DISCOVERY, ROOST_TLS_CERT, ROOST_TLS_KEY and
        ROOST_TLS_CA (files), and with commas between several: ROOST_JOIN (host:port) and ROOST_SEEDS
        (name=host:port[/webhost:webport]).

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
            advertise=_address(environ, "ROOST_ADVERTISE"),
            seeds=tuple(_seed(text) for text in environ.get("ROOST_SEEDS", "").split(",") if text),
            join=_addresses(environ, "ROOST_JOIN"),
            discovery=environ.get("ROOST_DISCOVERY", ""),
            policy=_policy(environ.get("ROOST_POLICY") or "manual"),
            zone=environ.get("ROOST_ZONE", ""),
            cookie=environ.get("ROOST_COOKIE", "").encode(),
            tls=_tls(environ),
            ring_size=int(size),
            web=_address(environ, "ROOST_WEB"),
            data=environ.get("ROOST_DATA") or None,
        )

    def to_env(self) -> dict[str, str]:
        """The ROOST_* variables from which `from_env` makes this very Config."""
        tls = self.tls or Tls("", "", "")
        settings = {
            "ROOST_NAME": self.name,
            "ROOST_CLUSTER": self.cluster,
            "ROOST_LISTEN": str(self.listen or ""),
            "ROOST_ADVERTISE": str(self.advertise or ""),
            "ROOST_SEEDS": ",".join(
                f"{seed.name}={seed.address}" + (f"/{seed.web}" if seed.web else "") for seed in self.seeds
            ),
            "ROOST_JOIN": ",".join(map(str, self.join)),
            "ROOST_DISCOVERY": self.discovery,
            "ROOST_POLICY": self.policy,
            "ROOST_ZONE": self.zone,
            "ROOST_COOKIE": self.cookie.decode(),
            "ROOST_TLS_CERT": tls.certificate,
            "ROOST_TLS_KEY": tls.key,
            "ROOST_TLS_CA": tls.authority,
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


def _addresses(environ: Mapping[str, str], variable: str) -> tuple[Address, ...]:
    try:
        return tuple(Address.parse(text.strip()) for text in environ.get(variable, "").split(",") if text.strip())
    except ValueError as error:
        raise ConfigError(variable, str(error)) from None


def _policy(text: str) -> Policy:
    if text == "auto":
        return "auto"
    if text == "manual":
        return "manual"
    raise ConfigError("ROOST_POLICY", f"{text!r} is neither manual nor auto")


def _tls(environ: Mapping[str, str]) -> Tls | None:
    variables = ("ROOST_TLS_CERT", "ROOST_TLS_KEY", "ROOST_TLS_CA")
    files = [environ.get(variable, "") for variable in variables]
    if not any(files):
        return None
    for variable, file in zip(variables, files, strict=True):
        if not file:
            raise ConfigError(variable, f"{', '.join(variables)} must be set together")
    return Tls(*files)


def _seed(text: str) -> Seed:
    name, equals, places = text.strip().partition("=")
    link, slash, web = places.partition("/")
    try:
        if not equals:
            raise ValueError(f"{text!r} is not name=host:port")
        return Seed(name, Address.parse(link), Address.parse(web) if slash else None)
    except ValueError as error:
        raise ConfigError("ROOST_SEEDS", str(error)) from None
