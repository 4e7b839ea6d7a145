"""A ground of network namespaces: each node has one of its own, and a bridge between them has the links.

Clients, and everything that is made here, are in one more namespace, the hub, so that nothing of it can be seen from
outside, and one deletion takes all of it away. Each node has two links into the hub: one that other nodes reach it by,
which is cut, and one for clients, which is not.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

from roost.config import Address
from tests.e2e.cluster import wait_gone
from tests.real.ground import PLACES, Pair, Refused

PREFIX: Final = "roost-real-"
FOLDER: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000
LINK_PORT: Final = 7000
WEB_PORT: Final = 8000
MODULE: Final = "tests.real"


def address(network: int, letter: str) -> str:
    """The address of a place: 0 is the network of the nodes, 1 that of the clients."""
    return f"10.77.{network}.{PLACES.index(letter) + 1}"


class Namespaces:
    """The ground. This process moves into the hub, for good."""

    mode: str = "network namespaces"

    def __init__(self) -> None:
        self._hub = f"{PREFIX}{os.getpid()}-hub"
        self._spaces = {letter: f"{PREFIX}{os.getpid()}-{letter}" for letter in PLACES}
        self._cut: frozenset[Pair] = frozenset()
        self._turn = asyncio.Lock()

    def name(self, letter: str) -> str:
        """See Ground."""
        return f"{letter}@{address(0, letter)}"

    def listens(self, letter: str) -> Address:
        """See Ground."""
        return Address(address(0, letter), LINK_PORT)

    def advertised(self, letter: str) -> Address:
        """See Ground."""
        return self.listens(letter)

    def dialled(self, by: str, letter: str) -> Address:
        """See Ground."""
        return self.listens(letter)

    def web(self, letter: str) -> Address:
        """See Ground."""
        return Address(address(1, letter), WEB_PORT)

    def inside(self, letter: str, command: Sequence[str]) -> list[str]:
        """See Ground. The process that it starts is the command itself."""
        return ["ip", "netns", "exec", self._spaces[letter], *command]

    async def open(self) -> None:
        """See Ground."""
        clear_leftovers()
        try:
            ip("netns", "add", self._hub)
            for space in self._spaces.values():
                ip("netns", "add", space)
            self._wire()
            _enter(self._hub)
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            await self.close()
            raise Refused(said) from None

    def _wire(self) -> None:
        lines = ["link set lo up"]
        for network, bridge in enumerate(("mesh", "web")):
            lines += [f"link add {bridge} type bridge", f"link set {bridge} up"]
            lines += [f"addr add 10.77.{network}.254/24 dev {bridge}"]
            for letter, space in self._spaces.items():
                port = f"{bridge}-{letter}"
                lines.append(f"link add {port} type veth peer name {bridge} netns {space}")
                lines.append(f"link set {port} master {bridge} up")
        ip("-n", self._hub, batch=lines)
        for letter, space in self._spaces.items():
            lines = ["link set lo up"]
            for network, link in enumerate(("mesh", "web")):
                lines += [f"addr add {address(network, letter)}/24 dev {link}", f"link set {link} up"]
            ip("-n", space, batch=lines)

    async def cut(self, pairs: AbstractSet[Pair]) -> None:
        """See Ground. Who is cut off from everybody loses its link; one way is a route that leads nowhere."""
        async with self._turn:
            wanted, before = frozenset(pairs), self._cut
            was, now = _unplugged(before), _unplugged(wanted)
            for letter in sorted(was ^ now):
                await _ip("link", "set", f"mesh-{letter}", "down" if letter in now else "up")
            for verb, changed in (("add", wanted - before), ("del", before - wanted)):
                for letter in PLACES:
                    routes = [f"route {verb} blackhole {address(0, to)}/32" for by, to in changed if by == letter]
                    if routes:
                        await _ip("-n", self._spaces[letter], "-batch", "-", said="\n".join(routes))
            self._cut = wanted

    async def close(self) -> None:
        """See Ground."""
        for space in (*self._spaces.values(), self._hub):
            if (FOLDER / space).exists():
                _remove(space)


def _unplugged(pairs: AbstractSet[Pair]) -> frozenset[str]:
    """The places that are cut off from every other one, both ways."""
    return frozenset(
        letter
        for letter in PLACES
        if all((letter, other) in pairs and (other, letter) in pairs for other in PLACES if other != letter)
    )


def ip(*words: str, batch: Sequence[str] = ()) -> str:
    """Run `ip`.

    Raises:
        OSError, subprocess.CalledProcessError: when it cannot, or may not.
    """
    command = ["ip", *words, *(["-batch", "-"] if batch else [])]
    done = subprocess.run(command, input="\n".join(batch), capture_output=True, text=True, check=True, timeout=20)
    return done.stdout


async def _ip(*words: str, said: str = "") -> None:
    """The same, while the clients go on."""
    source = asyncio.subprocess.PIPE if said else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec("ip", *words, stdin=source, stderr=asyncio.subprocess.PIPE)
    _, told = await process.communicate(said.encode() or None)
    assert process.returncode == 0, f"ip {' '.join(words)} ({said}): {told.decode()}"


def _enter(space: str) -> None:
    """Move this thread, and what it starts from now on, into a namespace."""
    with (FOLDER / space).open() as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")


def clear_leftovers() -> None:
    """Remove what runs that are dead by now have left: their namespaces, and the processes within."""
    if not FOLDER.exists():
        return
    for entry in FOLDER.iterdir():
        owner = entry.name.removeprefix(PREFIX).split("-")[0]
        if entry.name.startswith(PREFIX) and owner.isdecimal() and not _is_run(int(owner)):
            _remove(entry.name)


def _is_run(pid: int) -> bool:
    try:
        return MODULE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _remove(space: str) -> None:
    for pid in map(int, subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout.split()):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5.0)
    subprocess.run(["ip", "netns", "del", space], capture_output=True)
