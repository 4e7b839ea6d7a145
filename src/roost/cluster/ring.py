"""The ring as this node holds it: made at birth, kept on disk, and looked up for every operation."""

from __future__ import annotations

from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.config import Config
from roost.core.claim import claim
from roost.core.ring import Replica, Ring, key_hash
from roost.errors import ConfigError
from roost.runtime.disk import Disk

RING_FILE: Final = "ring"
RING_FILE_VERSION: Final = 1


class RingFile(msgspec.Struct, frozen=True):
    """What the ring file holds."""

    version: int
    cluster: str
    ring: Ring


def load_ring(config: Config, disk: Disk | None) -> Ring:
    """The ring of the cluster: from the disk when this node has been part of it before, else made from the members.

    A new ring is on disk before this returns.

    Raises:
        ConfigError: when the data belongs to another cluster, or to other members, than the configuration names:
            their ring would look for the data in other places.
        OSError: when the disk fails.
    """
    fresh = claim(config.members, config.ring_size)
    if disk is None:
        return fresh
    kept = disk.read(RING_FILE)
    if kept is None:
        disk.write(RING_FILE, msgspec.msgpack.encode(RingFile(RING_FILE_VERSION, config.cluster, fresh)))
        return fresh
    try:
        file = msgspec.msgpack.decode(kept, type=RingFile)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            "data", f"the ring file of {config.name} is damaged ({error}): restore it or use another folder"
        ) from None
    _check(config, file)
    return file.ring


def _check(config: Config, file: RingFile) -> None:
    if file.cluster != config.cluster:
        raise ConfigError(
            "data", f"the folder belongs to cluster {file.cluster!r}, not {config.cluster!r}: use another one"
        )
    if file.ring.members != config.members:
        raise ConfigError(
            "data",
            f"the folder belongs to a cluster of {len(file.ring.members)} nodes ({', '.join(file.ring.members)}), not "
            f"{len(config.members)}: start with those nodes, or use another folder",
        )
    if file.ring.size != config.ring_size:
        raise ConfigError(
            "data",
            f"the folder belongs to a ring of {file.ring.size} partitions, not {config.ring_size}: use that size",
        )


class Placement:
    """Where keys are, as this node sees it now.

    Preference lists are remembered until a node comes or goes, so the usual look-up is one dict hit.
    """

    def __init__(self, ring: Ring, fabric: Fabric) -> None:
        self.ring = ring
        self._fabric = fabric
        self._epoch = fabric.epoch
        self._lists: dict[tuple[int, int], tuple[Replica, ...]] = {}
        self._spares: dict[tuple[int, int], tuple[str, ...]] = {}

    def partition_of(self, bucket: bytes, key: bytes) -> int:
        """The partition that owns a key."""
        return self.ring.partition_of(key_hash(bucket, key))

    def replicas(self, partition: int, n: int) -> tuple[Replica, ...]:
        """The preference list of `partition`, of at most `n` entries on as many nodes, all of them up from here."""
        if self._epoch != self._fabric.epoch:
            self._forget()
        found = self._lists.get((partition, n))
        if found is None:
            found = self._lists[partition, n] = self.ring.preference_list(partition, n, self._fabric.up())
        return found

    def spares(self, partition: int, n: int) -> tuple[str, ...]:
        """The nodes that are up and not in that list, in the order in which they stand in for one that fails."""
        if self._epoch != self._fabric.epoch:
            self._forget()
        found = self._spares.get((partition, n))
        if found is None:
            found = self._spares[partition, n] = self.ring.spares(partition, n, self._fabric.up())
        return found

    def _forget(self) -> None:
        self._epoch = self._fabric.epoch
        self._lists.clear()
        self._spares.clear()
