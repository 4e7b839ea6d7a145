"""What is started in one terminal: a new cluster, or further nodes of one that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from roost.config import Address, Config, Policy
from roost.errors import ConfigError
from roost.ops.folder import Birth, born
from roost.ops.operator import contact
from roost.ops.plan import letters, place, plan_newcomers, plan_nodes, short
from roost.ops.runfile import RunFile, RunFolder
from roost.runtime.run_folder import run_folder

NODES = 3
"""Nodes of a new cluster when nothing is said."""
PORT = 4000
"""The first web port when nothing is said."""


@dataclass(frozen=True, slots=True)
class Start:
    """The nodes to start.

    Attributes:
        nodes: their settings, but for their data and their cookie.
        folder: where their data is.
        birth: what the folder must be for.
        cookie: the secret of a cluster that runs; None for a new one.
        title: what they are, in words.
    """

    nodes: tuple[Config, ...]
    folder: Path
    birth: Birth
    cookie: bytes | None
    title: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator has typed; None for what was left out."""

    nodes: int | None = None
    port: int | None = None
    data: Path | None = None
    name: str | None = None
    policy: Policy = "manual"


def new_cluster(cluster: str, wish: Wish, environ: Mapping[str, str]) -> Start:
    """A cluster that is born here, or was: the nodes that its folder remembers.

    Args:
        cluster: what it is called.
        environ: ROOST_RING_SIZE counts.

    Raises:
        ConfigError: names the flag that makes no sense.
    """
    if wish.name is not None:
        raise ConfigError("--name", "the nodes of a new cluster are called a, b, c: a name goes with --join")
    folder = wish.data if wish.data is not None else Path(".roost") / cluster
    known = born(folder)
    count = wish.nodes if wish.nodes is not None else NODES if known is None else known.nodes
    nodes = plan_nodes(cluster, count, PORT if wish.port is None else wish.port)
    nodes = tuple(replace(node, policy=wish.policy, ring_size=_ring_size(environ)) for node in nodes)
    title = f"cluster {cluster}, {count} node{'s' * (count > 1)}"
    return Start(nodes, folder, Birth(cluster, count), None, title)


def newcomers(cluster: str, where: str, wish: Wish, environ: Mapping[str, str]) -> Start:
    """Further nodes, which join the cluster at `where` and wait for the commit of a plan.

    Args:
        cluster: what it is called, unless the run folder knows better.
        where: "host:port" of a member, or the name of a node or cluster that runs on this machine.
        environ: ROOST_COOKIE, ROOST_CLUSTER and ROOST_RING_SIZE count for a cluster that runs elsewhere; the cookie
            only until the folder has it.

    Raises:
        ConfigError: names the flag that makes no sense, or says that the cookie is missing.
    """
    if wish.policy == "auto":
        raise ConfigError("--auto", "a running cluster has its own policy: change it with roost cluster policy auto")
    address, known = contact(where, environ)
    cluster = known.cluster if known is not None else environ.get("ROOST_CLUSTER") or cluster
    cookie = known.cookie if known is not None else environ.get("ROOST_COOKIE", "")
    runs = RunFolder(run_folder(environ)).list(cluster)
    first = short(wish.name or _free_name(runs))
    port = wish.port if wish.port is not None else _free_port(runs)
    count = 1 if wish.nodes is None else wish.nodes
    nodes = plan_newcomers(cluster, first, count, port, address)
    nodes = tuple(replace(node, ring_size=_ring_size(environ)) for node in nodes)
    folder = wish.data if wish.data is not None else Path(".roost") / f"{cluster}-{first}"
    if not cookie and born(folder) is None:
        raise ConfigError("ROOST_COOKIE", f"no node of {address} runs on this machine: set it to that cluster's cookie")
    names = ", ".join(short(node.name) for node in nodes)
    birth = Birth(cluster, count, first, is_joining=True)
    return Start(nodes, folder, birth, cookie.encode() or None, f"{names} joining {cluster} at {address}")


def _free_name(runs: list[RunFile]) -> str:
    taken = [place(name) for run in runs if (name := short(run.node)).isalpha() and name.islower() and name.isascii()]
    return letters(max(taken, default=-1) + 1)


def _free_port(runs: list[RunFile]) -> int:
    return max((Address.parse(run.web).port + 1 for run in runs if run.web), default=PORT)


def _ring_size(environ: Mapping[str, str]) -> int:
    size = environ.get("ROOST_RING_SIZE")
    return Config.from_env({} if size is None else {"ROOST_RING_SIZE": size}).ring_size
