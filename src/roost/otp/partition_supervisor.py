"""PartitionSupervisor: one process too busy for its work, made several, each for its share of the keys."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar
from typing import cast as typed

import msgspec

from roost.core.supervision import Strategy
from roost.errors import ConfigError, NoSuchProcess, NotSendable
from roost.limits import PARTITIONS
from roost.otp.child import Child
from roost.otp.face import face
from roost.otp.gen_server import GenServer
from roost.otp.keeper import Kept
from roost.otp.process import Process
from roost.otp.supervisor import Supervisor

ServerT = TypeVar("ServerT", bound=GenServer)

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def partition_of(key: object, partitions: int) -> int:
    """Which of `partitions` a key belongs to: an int by its remainder, a process by its pid, others by a hash.

    The hash is the same in every process, on every machine and after every restart, unlike Python's own.

    Raises:
        NotSendable: when the key is no value that can be encoded.
    """
    if isinstance(key, int):
        return key % partitions
    if isinstance(key, GenServer):
        return key.pid % partitions
    try:
        data = key if isinstance(key, bytes) else _encode(key)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise NotSendable(type(key).__name__, "a key of a partition") from None
    return zlib.crc32(data) % partitions


class PartitionSupervisor(Supervisor, Generic[ServerT]):
    """Keeps several processes of one kind running, and says which of them is responsible for a key.

    ::

        caches: PartitionSupervisor[Cache] = await PartitionSupervisor.start_link(Cache.child(), name="caches")
        await caches.partition("user:42").put("name", "Ann")

    After Elixir's PartitionSupervisor. A node is one event loop on one core, so partitions add no computing power. They
    help where one process at a time is too few: each has its own mailbox, and its async handlers wait for databases and
    other processes while those of the others go on. The usual one is a DynamicSupervisor whose children start slowly.
    """

    async def init(  # type: ignore[override]  # one plan instead of many
        self,
        child: Child[ServerT] | Callable[[int], Child[ServerT]],
        *,
        partitions: int = PARTITIONS,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within_s: float = 5.0,
    ) -> None:
        """Start the partitions; each is a child with its number as id.

        Args:
            child: the plan for every partition; or a function that makes the plan of partition 0, 1, and so on.
            partitions: how many.
            strategy: as for `Supervisor`.
            max_restarts: as for `Supervisor`.
            within_s: as for `Supervisor`.

        Raises:
            ConfigError: when an argument makes no sense.
            StartFailed: when a partition did not start; those before it have been stopped.
        """
        self._partitions: tuple[Kept, ...] = ()
        if partitions < 1:
            raise ConfigError("partitions", f"{partitions} is not a positive number")
        plans = [child if isinstance(child, Child) else child(number) for number in range(partitions)]
        children = [replace(plan, id=str(number)) for number, plan in enumerate(plans)]
        await super().init(children, strategy=strategy, max_restarts=max_restarts, within_s=within_s)
        self._partitions = tuple(self._plan.lines.values())

    @face
    def partition(self, key: object) -> ServerT:
        """The process that is responsible for a key, right now: ask again each time, as it may have been restarted.

        Looks it up at once, in whoever calls, without a message.

        Raises:
            NoSuchProcess: when it does not run at the moment, or the supervisor has ended.
            NotSendable: when the key is no value that can be encoded.
        """
        process: Process = self._process
        partitions = typed("PartitionSupervisor[ServerT]", process.server)._partitions if process.alive else ()
        if not partitions:
            raise NoSuchProcess(str(process))
        kept = partitions[partition_of(key, len(partitions))]
        if kept.process is None or not kept.process.alive:
            raise NoSuchProcess(f"partition {kept.id} of {process}")
        return typed("ServerT", kept.process.handle)
