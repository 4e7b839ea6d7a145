"""The record of the cluster that a node keeps: what it knows, and what it has promised.

It is one small file that is replaced as a whole, behind a digest of its content, and on disk before anything that is in
it is said to anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from roost.config import Config
from roost.core.caspaxos import Acceptor, Ballot, Entry
from roost.core.membership import Cluster, Member, birth
from roost.errors import ConfigError
from roost.runtime import Runtime

FILE: Final = "cluster"
FORMAT: Final = 1
ID_BYTES: Final = 16
DIGEST_BYTES: Final = 32
BIRTH: Final = Ballot(0, 1, "")
"""The ballot of what all members know at the birth of their cluster."""

encode_cluster: Final = msgspec.msgpack.Encoder().encode
decode_cluster: Final = msgspec.msgpack.Decoder(Cluster).decode


class _File(msgspec.Struct, array_like=True, frozen=True):
    format: int
    node: str
    cluster: bytes
    ballot: Ballot
    acceptor: Acceptor
    has_vote: bool


class Record:
    """What one node knows of its cluster.

    Attributes:
        cluster: the newest value that it has learned.
        ballot: at which it was chosen.
        acceptor: its memory of the votes that it has given.
        has_vote: whether it may vote: not after it has lost its memory, until it has asked enough of the others.
    """

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._disk = runtime.notes if runtime.disk is None else runtime.disk
        kept = None if self._disk is None else self._disk.read(FILE)
        if kept is None:
            self.begin_anew(_birth(config, runtime))
        else:
            self._load(kept)

    def begin_anew(self, cluster: Cluster) -> None:
        """Know `cluster` and nothing else; a node that is alone in it needs nobody's word to vote."""
        self.take(BIRTH, cluster, has_vote=len(cluster.members) == 1)

    def take(self, ballot: Ballot, cluster: Cluster, *, has_vote: bool) -> None:
        """Belong to another history from now on: it is known up to `cluster`.

        Raises:
            OSError: when the disk fails; then nothing has changed.
        """
        encoded = encode_cluster(cluster)
        entry = Entry(encoded, tuple(sorted(cluster.voters)))
        self._write(cluster, encoded, ballot, Acceptor(ballot, ballot, entry), has_vote)

    def learn(self, ballot: Ballot, cluster: Cluster) -> None:
        """A newer value was chosen.

        Raises:
            OSError: when the disk fails; then nothing has changed.
        """
        encoded, acceptor = encode_cluster(cluster), self.acceptor
        if ballot >= acceptor.accepted:  # known to be chosen, who voted before has no say any more: they may be lost
            entry = Entry(encoded, tuple(sorted(cluster.voters)))
            acceptor = Acceptor(max(acceptor.promised, ballot), ballot, entry)
        self._write(cluster, encoded, ballot, acceptor, self.has_vote)

    def keep(self, acceptor: Acceptor) -> None:
        """This vote was given.

        Raises:
            OSError: when the disk fails; then it must not be told to anybody.
        """
        self._write(self.cluster, self._encoded, self.ballot, acceptor, self.has_vote)

    def give_vote(self, heard: Iterable[Acceptor]) -> None:
        """From now on this node may vote: it keeps what any of these others has promised, and the last they accepted.

        Raises:
            OSError: when the disk fails; then nothing has changed.
        """
        known = (self.acceptor, *heard)
        last = max(known, key=lambda one: one.accepted)
        acceptor = Acceptor(max(one.promised for one in known), last.accepted, last.entry)
        self._write(self.cluster, self._encoded, self.ballot, acceptor, True)

    def _write(self, cluster: Cluster, encoded: bytes, ballot: Ballot, acceptor: Acceptor, has_vote: bool) -> None:
        if self._disk is not None:
            file = msgspec.msgpack.encode(_File(FORMAT, self._config.name, encoded, ballot, acceptor, has_vote))
            self._disk.write(FILE, hashlib.sha256(file).digest() + file)
        self.cluster, self._encoded, self.ballot = cluster, encoded, ballot
        self.acceptor, self.has_vote = acceptor, has_vote

    def _load(self, kept: bytes) -> None:
        config = self._config
        digest, content = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
        try:
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("its digest does not fit")
            file = msgspec.msgpack.decode(content, type=_File)
            cluster = decode_cluster(file.cluster)
        except ValueError as error:  # MsgspecError is one
            raise ConfigError(
                "data", f"the cluster file of {config.name} is damaged ({error}): restore it or use another folder"
            ) from None
        if file.format != FORMAT:
            raise ConfigError("data", f"the folder was written by another version of Roost (format {file.format})")
        if cluster.name != config.cluster:
            raise ConfigError(
                "data", f"the folder belongs to cluster {cluster.name!r}, not {config.cluster!r}: use another one"
            )
        if file.node != config.name:
            raise ConfigError("data", f"the folder belongs to node {file.node}, not {config.name}: use another one")
        if cluster.layout.size != config.ring_size:
            raise ConfigError(
                "data",
                f"the folder belongs to a ring of {cluster.layout.size} partitions, not {config.ring_size}: "
                "use that size",
            )
        self.cluster, self._encoded, self.ballot = cluster, file.cluster, file.ballot
        self.acceptor, self.has_vote = file.acceptor, file.has_vote


def _birth(config: Config, runtime: Runtime) -> Cluster:
    """A cluster of the members that the configuration names, or of this node alone."""
    if len(config.members) == 1:
        return alone(config, runtime)
    members = [Member(seed.name, "valid", str(seed.address), str(seed.web or "")) for seed in config.seeds]
    born = f"{config.cluster} {config.ring_size} {' '.join(config.members)}"
    id = hashlib.sha256(born.encode()).digest()[:ID_BYTES]
    return birth(id, config.cluster, members, config.ring_size, config.policy)


def alone(config: Config, runtime: Runtime) -> Cluster:
    """A cluster of this node alone, with an identity that no other has."""
    id = runtime.entropy.token(ID_BYTES)
    return birth(id, config.cluster, [myself(config)], config.ring_size, config.policy)


def myself(config: Config) -> Member:
    """This node as a member."""
    return Member(config.name, "valid", str(config.reachable or ""), str(config.web or ""), config.zone)


def places_of(config: Config) -> tuple[Member, ...]:
    """This node as a member, by every address under which its settings say that others reach it; the best one first.

    Its own seed is what the founders of its cluster know of it.
    """
    me = myself(config)
    seeds = [seed for seed in config.seeds if seed.name == config.name and seed.address != config.reachable]
    known = [msgspec.structs.replace(me, address=str(seed.address)) for seed in seeds]
    return (me, *known) if config.advertise is not None else (*known, me)
