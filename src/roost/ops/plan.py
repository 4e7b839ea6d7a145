"""Who runs where: the nodes of a cluster on one machine, from a number and a first port."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path

from roost import limits
from roost.config import Address, Config, Seed
from roost.errors import ConfigError

HOST = "127.0.0.1"
TARGET = "MODULE:ATTR"
"""What the command line calls the application."""
LINK_PORTS_AFTER = 100
"""Node links listen this many ports after the web ports."""
PORT_MAX = 65_535


def plan_nodes(cluster: str, nodes: int, port: int) -> tuple[Config, ...]:
    """The settings of `nodes` nodes a, b, c, ...: web ports from `port` on, link ports from `port` + 100 on.

    They have neither a data folder nor, in effect, a cookie yet: `furnish` adds both.

    Raises:
        ConfigError: names the flag when `nodes` or `port` is out of range.
    """
    seeds = _places([letters(index) for index in range(_checked(nodes))], port)
    return tuple(
        Config(name=seed.name, cluster=cluster, listen=seed.address, seeds=seeds, cookie=b"-", web=seed.web)
        for seed in seeds
    )


def plan_newcomers(cluster: str, first: str, nodes: int, port: int, contact: Address) -> tuple[Config, ...]:
    """The settings of `nodes` nodes that join the cluster of the node at `contact`; ports as for `plan_nodes`.

    Args:
        first: the short name of the first one; when there are several, the letters that follow it are the others.

    Raises:
        ConfigError: names the flag when something is out of range, or `first` is no name.
    """
    first = first.removesuffix(f"@{HOST}")
    if _checked(nodes) > 1 and not (first.isascii() and first.isalpha() and first.islower()):
        raise ConfigError("--name", f"{first!r} is not made of the letters a to z, as names of several nodes are")
    names = [first] if nodes == 1 else [letters(place(first) + index) for index in range(nodes)]
    return tuple(
        Config(name=seed.name, cluster=cluster, listen=seed.address, join=(contact,), cookie=b"-", web=seed.web)
        for seed in _places(names, port)
    )


def _checked(nodes: int) -> int:
    if not 1 <= nodes <= limits.NODES_MAX:
        raise ConfigError("--nodes", f"{nodes} is not from 1 to {limits.NODES_MAX}")
    return nodes


def _places(names: Sequence[str], port: int) -> tuple[Seed, ...]:
    last = PORT_MAX - LINK_PORTS_AFTER - len(names) + 1
    if not 1 <= port <= last:
        raise ConfigError("--port", f"{port} is not from 1 to {last}")
    return tuple(
        Seed(f"{name}@{HOST}", Address(HOST, port + LINK_PORTS_AFTER + index), Address(HOST, port + index))
        for index, name in enumerate(names)
    )


def furnish(nodes: Sequence[Config], folder: Path, cookie: bytes) -> tuple[Config, ...]:
    """The same nodes, each with its own folder in `folder`, and the secret that they share."""
    return tuple(replace(node, cookie=cookie, data=str(folder / short(node.name))) for node in nodes)


def letters(index: int) -> str:
    """a, b, ..., z, aa, ab, ...: the name of the node at `index`, counted from 0."""
    name = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        name = chr(ord("a") + letter) + name
    return name


def place(name: str) -> int:
    """The index of which `letters` makes this name."""
    index = 0
    for letter in name:
        index = 26 * index + ord(letter) - ord("a") + 1
    return index - 1


def short(name: str) -> str:
    """A node's name without its host: what log lines and folders are called."""
    return name.partition("@")[0]


def split_target(text: str) -> tuple[str, str]:
    """The module and the attribute of "module:attribute".

    Raises:
        ConfigError: when `text` is not of that form.
    """
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise ConfigError(TARGET, f"{text!r} is not of the form module:attribute, such as chat:app")
    return module, attribute


def check_target(text: str, path: Sequence[str]) -> None:
    """See that the module of `text`, or the package that it is in, exists, without running any of it.

    Args:
        text: "module:attribute".
        path: the folders in which modules are looked for.

    Raises:
        ConfigError: when `text` is not of that form, or there is no such module.
    """
    module, _ = split_target(text)
    top = module.partition(".")[0]
    if top not in sys.builtin_module_names and PathFinder.find_spec(top, path) is None:
        raise no_module(module)


def no_module(name: str) -> ConfigError:
    """What is said about a module that does not exist."""
    return ConfigError(TARGET, f"there is no module {name} here: run this where {name}.py is")
