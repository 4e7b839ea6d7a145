"""Voting: how a change of the cluster is agreed on by a majority, from the side of one node.

A change is a function from the cluster as it is to the cluster as it shall be. It is proposed to the voters by
`core.caspaxos`, on the newest value that a majority knows, so it is never made in ignorance of another one. What was
chosen is learned here, and told to the others by gossip.

When things fail: with too few voters in reach a change ends with NoQuorum, and what was proposed may still come to
pass; changes are therefore written so that making one again changes nothing. A vote is on disk before it is told. A
node that has lost its memory has no vote until it has heard the votes of so many others that nothing which it may have
voted for can be unknown to it; and what it has answered to an attempt before it was lost counts no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import Final

import msgspec

from roost import limits
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.record import Record, decode_cluster, encode_cluster
from roost.core.caspaxos import (
    Acceptor,
    Answer,
    Ballot,
    Chosen,
    Effects,
    Failed,
    Proposer,
    Refused,
    Reply,
    Request,
    Retry,
    Send,
    has_majority,
)
from roost.core.membership import Cluster, overrule
from roost.errors import BadMessage, ChangeFailed, NoQuorum, Overloaded, RoostError, StorageFailed
from roost.runtime import Runtime

Change = Callable[[Cluster], Cluster]
"""Makes the next cluster, or raises a refusal. It returns what it was given when there is nothing to change."""

encode_request: Final = msgspec.msgpack.Encoder().encode
decode_reply: Final = msgspec.msgpack.Decoder(Reply).decode

ROUND_S: Final = 1.0
"""How long a voter may take to answer."""
PAUSE_S: Final = 0.05
"""The longest first pause before another attempt; it doubles each time."""
PAUSE_S_MAX: Final = 0.8
PATIENCE_S: Final = 1.0
"""How long a change waits for a majority to be linked: a node may just have started, or joined."""
LOT_BITS: Final = 32
"""The bits of a generation that are drawn by lot; those above them count."""


class Voting:
    """Makes changes, and votes on those of others.

    Args:
        fabric: the way to the other voters.
        runtime: the clock and the entropy of this node.
        record: what this node knows and has promised.
        learned: called with what was chosen by a change of this node.
        service: under which the voters are asked.
    """

    def __init__(
        self,
        fabric: Fabric,
        runtime: Runtime,
        record: Record,
        learned: Callable[[Ballot, Cluster], None],
        service: str,
    ) -> None:
        self.fabric, self._runtime, self._record = fabric, runtime, record
        self._learned, self.service = learned, service
        self._turn = asyncio.Lock()
        self._waiting = 0
        # With the life in it, so that no number is used a second time after a restart.
        self._me = f"{fabric.node}/{fabric.incarnation}"
        self._round = 0  # the highest that this life has used or heard of

    async def change(
        self, change: Change, *, without: frozenset[str] = frozenset(), patience_s: float = PATIENCE_S
    ) -> Cluster:
        """Make a change; return the cluster in which it is made.

        Args:
            change: may be called several times, and must not depend on how often.
            without: voters that are dead for ever, by the word of an operator: the others decide without them.
            patience_s: how long to wait for a majority to be linked.

        Raises:
            RoostError: the refusal of `change`.
            NoQuorum: too few voters could be reached.
            DeadlineExceeded: others proposed all the time. In both cases it may still come to pass.
            ChangeFailed: this node has gone over to another cluster meanwhile, for which the change was not meant.
            Overloaded: too many changes wait on this node.
        """
        id = self._record.cluster.id
        if self._waiting >= limits.CHANGES_WAITING_MAX:
            raise Overloaded("the list of changes of the cluster", ROUND_S)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._made(id, change, without, patience_s)
        finally:
            self._waiting -= 1

    async def _made(self, id: bytes, change: Change, without: frozenset[str], patience_s: float) -> Cluster:
        pause_s, clock = PAUSE_S, self._runtime.clock
        patience_ends = clock.now() + patience_s
        if without and not self._sees_majority(without):  # promises to a new generation in vain would bar the others
            left = self._record.cluster.voters - without
            raise NoQuorum(len(left & {*self.fabric.up()}), len(left) // 2 + 1, "votes")
        overruling = self._next_generation() if without else 0
        barred: tuple[int, str] | None = None
        failure: RoostError | None = None
        for _ in range(limits.CHANGE_ATTEMPTS_MAX):
            if not self.is_of(id):
                raise ChangeFailed(f"{self.fabric.node} has gone over to another cluster meanwhile")
            generation, must = barred or (overruling or self._generation(), "")
            ballot, barred = self._ballot(generation), None
            attempt = _Attempt(self, ballot, change, self._record.cluster, without, must)
            try:
                outcome = await attempt.run()
            finally:  # also when nobody waits for it any more: no number is used a second time
                self._round = max(self._round, attempt.proposer.ballot.round)
            failure = outcome.error if isinstance(outcome, Failed) else None
            match outcome:
                case Chosen(value) | Refused(value):
                    assert value is not None
                    cluster = _decode(value)
                    self._learned(attempt.proposer.ballot, cluster)
                    if attempt.refusal is not None:
                        raise attempt.refusal
                    return cluster
                case Failed(error):
                    if not self._sees_majority(without) and clock.now() >= patience_ends:
                        raise error
                case Retry(after, by):
                    self._round = max(self._round, after.round)
                    if after.generation > self._generation():
                        barred = after.generation, by
            await clock.sleep(self._runtime.entropy.uniform(0.5, 1.0) * pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        raise failure or Overloaded("the vote on changes of the cluster", pause_s)

    def is_of(self, id: bytes) -> bool:
        """Whether this node belongs to the cluster of this identity now."""
        return self._record.cluster.id == id

    def _sees_majority(self, without: frozenset[str]) -> bool:
        """Whether enough voters are linked, so that an attempt that has failed is worth another one."""
        return has_majority(self._record.cluster.voters - without, {*self.fabric.up()})

    def handle(self, request: Request) -> Reply:
        """Vote. What is answered is on disk.

        Raises:
            NoQuorum: when this node has no vote.
            StorageFailed: when the disk refuses the vote.
        """
        if not self._record.has_vote:
            raise NoQuorum(0, 1, "votes")
        kept = self._record.acceptor
        acceptor = Acceptor(kept.promised, kept.accepted, kept.entry)
        reply = acceptor.handle(request)
        if acceptor != kept:
            try:
                self._record.keep(acceptor)
            except OSError as error:
                raise StorageFailed(str(error)) from None
        return reply

    def _ballot(self, generation: int) -> Ballot:
        return Ballot(generation, max(self._round, self._record.acceptor.promised.round) + 1, self._me)

    def _generation(self) -> int:
        """Of the history that this node knows. It never goes over to a later one on hearing its number alone: whoever
        has told the number has to be heard, too, or what was overruled would go on at its height."""
        return max(self._record.cluster.generation, self._record.ballot.generation)

    def _next_generation(self) -> int:
        """One that nobody has used: two sides of a netsplit that overrule each other must not have the same."""
        known = max(self._generation(), self._record.acceptor.promised.generation)
        return ((known >> LOT_BITS) + 1 << LOT_BITS) + self._runtime.entropy.number(LOT_BITS)


class _Attempt:
    """One attempt to make one change: asks the voters what the proposer wants to know."""

    def __init__(
        self,
        voting: Voting,
        ballot: Ballot,
        change: Change,
        known: Cluster,
        dead: frozenset[str],
        must: str,
    ) -> None:
        self._voting = voting
        self._id = known.id
        self._change = change
        self.refusal: RoostError | None = None
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._is_overruling = bool(dead)
        self.proposer = Proposer(ballot, self._next, _voters, known.voters, without=dead, must=must)

    async def run(self) -> Answer:
        """Make it, or find out why not."""
        self._perform(self.proposer.begin())
        unwatch = self._voting.fabric.watch(self._seen)
        try:
            return await self._answer
        finally:
            unwatch()
            self.proposer.deadline_passed(0.0)  # if nobody waits for it any more, it ends

    def _seen(self, event: PeerUp | PeerDown) -> None:
        if isinstance(event, PeerDown):
            self._perform(self.proposer.lost(event.node))

    def _next(self, value: bytes | None) -> bytes | None:
        if value is None:
            raise BadMessage("a cluster that was never born")
        cluster = _decode(value)
        try:
            changed = self._change(cluster)
        except RoostError as refusal:
            self.refusal = refusal
            return None
        self.refusal = None
        if self._is_overruling:
            changed = overrule(changed, self.proposer.ballot.generation)
        return value if changed is cluster else encode_cluster(changed)

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._ask(effect.node, effect.request)
            elif not self._answer.done():
                self._answer.set_result(effect)

    def _ask(self, node: str, request: Request) -> None:
        voting = self._voting
        if node != voting.fabric.node:
            heard = partial(self._heard, node, request)
            voting.fabric.request(node, voting.service, encode_request(request), ROUND_S, heard)
            return
        if not voting.is_of(self._id):  # then the vote of this node is another one's
            self._perform(self.proposer.failed(node, request))
            return
        try:
            reply = voting.handle(request)
        except RoostError:
            self._perform(self.proposer.failed(node, request))
        else:
            self._perform(self.proposer.replied(node, reply))

    def _heard(self, node: str, request: Request, outcome: msgspec.Raw | RoostError) -> None:
        if not isinstance(outcome, RoostError):
            try:
                reply = decode_reply(outcome)
            except msgspec.MsgspecError:
                pass
            else:
                self._perform(self.proposer.replied(node, reply))
                return
        self._perform(self.proposer.failed(node, request))


def _voters(value: bytes | None) -> frozenset[str]:
    return frozenset() if value is None else _decode(value).voters


@lru_cache(maxsize=8)
def _decode(value: bytes) -> Cluster:
    return decode_cluster(value)


def can_vote_after(voters: Collection[str], me: str, heard: Collection[str]) -> bool:
    """Whether a node that has lost its memory may vote again.

    What it voted for was chosen by a majority: by itself and at least `majority - 1` others. It must have heard, what
    they have promised and accepted, from so many others that one of those is among them, whoever they were. Others that
    have lost their memory at the same time count as well, or a cluster could not be born while a founder is missing: so
    one node at a time may be wiped.
    """
    others = set(voters) - {me}
    needed = len(others) - (len(voters) // 2 + 1 - 1) + 1
    return len(others & set(heard)) >= min(needed, len(others))
