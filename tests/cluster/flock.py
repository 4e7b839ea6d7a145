"""A few whole nodes on loopback, in one process, each with its own world of processes and, if wished, its own disk."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from roost.cluster.node import Node
from roost.config import Config
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from tests.cluster.meadow import configs

Setup = Callable[[Node], None]
"""Gives a node its parts, before it starts."""


class Flock:
    """Nodes by the first letter of their names.

    Args:
        settings: one per node.
        setup: what every node gets before it starts.
        folder: where their disks are; None for nodes that keep nothing.
    """

    def __init__(self, settings: list[Config], setup: Setup, folder: Path | None = None) -> None:
        self.settings = {config.name[0]: config for config in settings}
        self.nodes: dict[str, Node] = {}
        self._setup = setup
        self._folder = folder

    def __getitem__(self, letter: str) -> Node:
        return self.nodes[letter]

    async def start(self, letter: str) -> Node:
        """Start a node, for the first time or again."""
        config = self.settings[letter]
        disk = None
        if self._folder is not None:
            disk = FolderDisk(self._folder / letter)
            config = dataclasses.replace(config, data=str(self._folder / letter))
        node = self.nodes[letter] = Node(config, Runtime.real(disk))
        self._setup(node)
        await node.start()
        return node

    async def stop(self, letter: str) -> None:
        """Stop a node in good order, and wait until all others have noticed."""
        node = self.nodes.pop(letter)
        await node.stop()
        await self.until(lambda: all(node.name not in other.fabric.up() for other in self.nodes.values()))

    async def stop_alone(self, letter: str) -> None:
        """Stop a node of which no other one knows."""
        await self.nodes.pop(letter).stop()

    async def meet(self) -> None:
        """Wait until every running node sees every other one."""
        await self.until(lambda: all(len(node.fabric.up()) == len(self.nodes) for node in self.nodes.values()))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; looked at in every turn of the loop."""
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)


@asynccontextmanager
async def flock(*letters: str, setup: Setup, folder: Path | None = None) -> AsyncIterator[Flock]:
    """Nodes that see each other."""
    story = Flock(configs(*letters), setup, folder)
    try:
        for letter in letters:
            await story.start(letter)
        await story.meet()
        yield story
    finally:
        for node in reversed(list(story.nodes.values())):
            await node.stop()
