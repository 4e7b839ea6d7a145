"""Who belongs to the cluster, as one node knows it, and how it comes to know and to change that.

What this node knows is one `Cluster`, the newest that it has learned to be chosen. It changes by `change`, which asks
the voters, or by what others tell: whoever learns something new spreads the rumour of it (`core.gossip`), and whoever
hears of something newer asks for it. Who is *up* is each node's own view; in a netsplit the views differ, so they are
kept apart and shown side by side.

When things fail: a minority learns and changes nothing until it meets the others again. A node that was away catches up
from the first one that it meets. Two histories, which an operator can make by marking nodes as down that live on, are
settled in favour of the one that overruled more often, and by lot when both did; whoever was on the other side takes
it over, and gives what it holds to those who hold it there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from roost import limits
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.cluster.record import Record, alone, decode_cluster, encode_cluster, myself, places_of
from roost.cluster.voting import PATIENCE_S, PAUSE_S, Change, Voting, can_vote_after
from roost.config import Address, Config
from roost.core import membership as core
from roost.core import plan as planning
from roost.core.caspaxos import Accept, Acceptor, Ballot, Prepare
from roost.core.claimant import Report
from roost.core.gossip import FANOUT, audience
from roost.core.membership import Cluster, Member
from roost.core.plan import Plan
from roost.errors import (
    AlreadyMember,
    BadMessage,
    DeadlineExceeded,
    NodeDown,
    NodeIsUp,
    NoQuorum,
    NotReachable,
    NotSingleNode,
    RoostError,
    TooLarge,
)
from roost.runtime import Runtime
from roost.wire.membership import (
    Empty,
    Given,
    Join,
    Learned,
    Look,
    Memory,
    Moved,
    Pull,
    Recall,
    Rumour,
    View,
    decode_learned,
    decode_memory,
    decode_question,
    decode_view,
    decode_word,
    encode,
)
from roost.wire.messages import Request

logger = logging.getLogger("roost.membership")

SERVICE: Final = "membership"
VIEW_TIMEOUT_S: Final = 1.0

Watcher = Callable[[Cluster], None]


class Membership:
    """This node's knowledge of its cluster; also the service by which the others share theirs.

    Args:
        config: this node's settings.
        runtime: the clock and the entropy of this node.
        fabric: the links to the other members.
        record: what this node has kept.
        depth: how many copies anything on this node has at most; asked when it is needed.

    Attributes:
        reports: what the other givers say that they have given, for the claimant.
        empty: the nodes that are exiting and say that they hold nothing any more.
        doors: how this node lets others in: takes what they ask for, and answers it later.
    """

    def __init__(
        self, config: Config, runtime: Runtime, fabric: Fabric, record: Record, depth: Callable[[], int]
    ) -> None:
        self._config, self._runtime, self._fabric, self._record = config, runtime, fabric, record
        self._depth = depth
        self._voting = Voting(fabric, runtime, record, self._learn, SERVICE)
        self._watchers: dict[Watcher, None] = {}
        self._pulling: set[str] = set()
        self._recalling: set[str] = set()
        self._heard: dict[str, Acceptor] = {}
        self.reports: dict[str, Report] = {}
        self.empty: dict[str, None] = {}
        self.doors: Callable[[Join | Moved, Callable[[bytes | RoostError], None]], None] | None = None
        fabric.know(*self._places())
        fabric.serve(SERVICE, self, guests=True)
        fabric.watch(self._seen)

    # What is known

    @property
    def cluster(self) -> Cluster:
        """The newest cluster that this node knows."""
        return self._record.cluster

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all members, sorted."""
        return self.cluster.names

    @property
    def is_claimant(self) -> bool:
        """Whether this node drives the changes, as far as it knows."""
        return self.cluster.claimant == self._fabric.node

    def up(self) -> tuple[str, ...]:
        """The members that can be reached from here, sorted; this node is one of them."""
        return self._fabric.up()

    def unreachable(self) -> tuple[str, ...]:
        """The members that cannot be reached from here, sorted."""
        return tuple(name for name in self.members if not self._fabric.is_up(name))

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with every cluster that is new to this node, in order. Returns what ends the watch."""
        self._watchers[watcher] = None
        return lambda: self._watchers.pop(watcher, None)

    def view(self) -> View:
        """What this node sees."""
        fabric, cluster = self._fabric, self.cluster
        return View(
            fabric.node,
            fabric.incarnation,
            cluster.id,
            cluster.generation,
            cluster.version,
            cluster.claimant,
            fabric.up(),
            self._record.has_vote,
        )

    async def views(self, timeout_s: float = VIEW_TIMEOUT_S) -> dict[str, View | None]:
        """What every member sees, this node's first; None for a member that does not answer in time."""
        others = [name for name in self.members if name != self._fabric.node]
        answers = await asyncio.gather(*[self._ask_view(name, timeout_s) for name in others])
        return {self._fabric.node: self.view(), **dict(zip(others, answers, strict=True))}

    async def _ask_view(self, name: str, timeout_s: float) -> View | None:
        try:
            return decode_view(await self._fabric.call(name, SERVICE, encode(Look()), timeout_s))
        except (RoostError, msgspec.MsgspecError):
            return None

    # What an operator, or the claimant, changes

    async def change(self, change: Change, *, patience_s: float = PATIENCE_S) -> Cluster:
        """Make a change that the voters agree on, and know it here. See `Voting.change` for what it raises."""
        return await self._voting.change(change, patience_s=patience_s)

    async def leave(self, node: str) -> Cluster:
        """Stage that a node shall give everything away and go. See `core.membership.stage_leave`."""
        return await self.change(core.once(lambda cluster: core.stage_leave(cluster, node)))

    async def force_remove(self, node: str) -> Cluster:
        """Stage that a node is lost. See `core.membership.stage_force_remove`."""
        return await self.change(core.once(lambda cluster: core.stage_force_remove(cluster, node)))

    async def replace(self, node: str, newcomer: str, *, force: bool = False) -> Cluster:
        """Stage that one node shall take the place of another. See `core.membership.stage_replace`."""
        return await self.change(core.once(lambda cluster: core.stage_replace(cluster, node, newcomer, force=force)))

    async def set_zone(self, node: str, zone: str) -> Cluster:
        """Stage that a node lies in another zone."""
        return await self.change(lambda cluster: core.stage_zone(cluster, node, zone))

    async def clear(self) -> Cluster:
        """Take all staged changes back."""
        return await self.change(core.clear)

    async def plan(self) -> Plan:
        """What the staged changes come to; a commit is for the last plan that was asked for.

        Raises:
            NothingPlanned: when nothing is staged.
            TransfersPending: when too many changes are under way.
        """
        found: list[Plan] = []

        def look(cluster: Cluster) -> Cluster:
            found.append(planning.plan(cluster, self._depth()))
            return core.planned(cluster, found[-1].digest)

        await self.change(look)
        return found[-1]

    async def commit(self) -> Cluster:
        """Let the staged changes happen, as they were planned.

        Raises:
            NotReachable: when a node that shall join is not seen from here: it may not know that it was let in.
            NothingPlanned, PlanChanged, TransfersPending: see `core.plan.commit`.
        """
        commit = planning.once(self._depth())

        def seen(cluster: Cluster) -> Cluster:
            after = commit(cluster)
            for name in () if after is cluster else self._unseen(cluster):
                raise NotReachable(
                    cluster.member(name).address or name,
                    f"{name} has asked to join and is not seen by {self._fabric.node}: let it join once more, "
                    "or take all staged changes back",
                )
            return after

        clock = self._runtime.clock
        patience_ends = clock.now() + limits.REDIAL_LAST_S + PATIENCE_S  # a newcomer may just have been dialled in vain
        while self._unseen(self.cluster) and clock.now() < patience_ends:
            await clock.sleep(PAUSE_S)
        return await self.change(seen)

    def _unseen(self, cluster: Cluster) -> list[str]:
        """The nodes that shall join and are not linked with this one, as they would be if they knew that they may."""
        return [name for name in cluster.having("joining") if not self._fabric.is_up(name)]

    async def down(self, *nodes: str) -> Cluster:
        """Say that nodes are dead: they vote no more, and the others go on without them.

        When a majority cannot be reached, the others decide alone, provided that all who are not named are there in
        number. That is the one way to overrule a majority; if it lives on behind a netsplit there are two histories,
        of which this one wins.

        Raises:
            NotMember: one of them is none.
            NodeIsUp: one of them can be reached from here.
            HasNoVote: one of them is joining or exiting.
            NoQuorum: even of the others too few can be reached.
        """
        dead = frozenset(nodes)
        for name in sorted(dead):
            self.cluster.member(name)
            if self._fabric.is_up(name):
                raise NodeIsUp(name)

        def mark(cluster: Cluster) -> Cluster:
            return core.mark_down(cluster, dead, self._fabric.node)

        try:
            return await self._voting.change(mark)
        except (NoQuorum, DeadlineExceeded):
            logger.warning("%s: no majority for marking %s as down: the others decide", self._fabric.node, sorted(dead))
        return await self._voting.change(mark, without=dead)

    # Joining

    def check_single(self) -> None:
        """See that this node is a cluster of its own.

        Raises:
            NotSingleNode: when it has companions.
        """
        if len(self.members) > 1:
            raise NotSingleNode(self._fabric.node, len(self.members))

    def request_to_join(self) -> Join:
        """What this node says to a member of the cluster that it wants to belong to."""
        return Join(myself(self._config), self.cluster.layout.size)

    async def welcome(self, join: Join) -> Learned:
        """Stage the join of another node that has asked; return what it shall know.

        A member that has lost its memory, and asks under its old name from its old address, is let in again.

        Raises:
            AlreadyMember, DifferentRingSizes, TooLarge: see `core.membership.stage_join`.
            NoQuorum: when too few voters can be reached.
        """
        newcomer = join.member

        def stage(cluster: Cluster) -> Cluster:
            if cluster.has(newcomer.name) and cluster.member(newcomer.name).status != "joining":
                known = cluster.member(newcomer.name)
                if self._fabric.is_up(newcomer.name) or known.address != newcomer.address:
                    raise AlreadyMember(newcomer.name, known.status)
                return cluster
            return core.stage_join(cluster, newcomer, join.ring_size)

        cluster = await self.change(stage)
        return Learned(self._record.ballot, encode_cluster(cluster))

    def moved(self) -> Moved | None:
        """What this node says to the others when they know it elsewhere than it is; None when they do not."""
        ways = places_of(self._config)
        if not self.cluster.has(self._fabric.node):
            return None
        if any(core.relocate(self.cluster, me) is self.cluster for me in ways):
            return None
        return Moved(ways[0])

    async def relocate(self, moved: Moved) -> Learned:
        """Let a member be known where it is now; return what it shall know.

        Raises:
            NotMember: it is a member no more.
            NoQuorum: when too few voters can be reached.
        """
        cluster = await self.change(lambda cluster: core.relocate(cluster, moved.member))
        return Learned(self._record.ballot, encode_cluster(cluster))

    def admitted(self, learned: Learned) -> Cluster:
        """This node belongs to another cluster from now on.

        Raises:
            BadMessage: when that cluster does not know this node.
            OSError: when the disk fails; then nothing has changed.
        """
        cluster = _decoded(learned.cluster)
        if not cluster.has(self._fabric.node):
            raise BadMessage(f"a cluster without {self._fabric.node}")
        is_new = cluster.member(self._fabric.node).status == "joining"
        self._record.take(learned.ballot, cluster, has_vote=is_new)
        self._heard.clear()
        self._adopted(cluster)
        return cluster

    def told(self, learned: Learned) -> None:
        """A member has told what it knows, to a node that may have been away for long.

        Raises:
            BadMessage: when it is no cluster.
        """
        self._learn(learned.ballot, _decoded(learned.cluster))

    def compare(self, node: str) -> None:
        """Another node seems to see another cluster: ask it what it knows, and tell it what is known here."""
        cluster = self.cluster
        self._pull(node)
        self._cast(node, encode(Rumour(cluster.id, cluster.generation, cluster.version)))

    def go_alone(self) -> None:
        """This node has left its cluster, or was removed: it is a cluster of its own from now on.

        While its disk refuses that, nothing changes; it is to be asked for again.
        """
        try:
            self._record.begin_anew(alone(self._config, self._runtime))
        except OSError as error:
            logger.error("%s: no member any more, and the disk refuses to note it: %s", self._fabric.node, error)
            return
        logger.warning("%s: no member any more, but a cluster of its own", self._fabric.node)
        self._adopted(self.cluster)

    # What follows from time to time; see `cluster.claimant`

    def gossip(self) -> None:
        """Tell one other node what this one knows."""
        self._spread(1)

    def is_behind(self) -> bool:
        """Whether this node has voted for something that it has not learned to be chosen."""
        return self._record.acceptor.accepted > self._record.ballot

    def win_vote(self) -> None:
        """Ask all voters what they have voted for, when this node has no vote until enough of them have answered."""
        if self._record.has_vote:
            return
        if can_vote_after(self.cluster.voters, self._fabric.node, self._heard):
            try:
                self._record.give_vote(self._heard.values())
            except OSError as error:
                logger.error("%s: no vote, for the disk refuses to note it: %s", self._fabric.node, error)
            return
        for name in sorted(self.cluster.voters - self._heard.keys() - {self._fabric.node}):
            if self._fabric.is_up(name) and name not in self._recalling:
                self._recalling.add(name)
                recalled = partial(self._recalled, name)
                self._fabric.request(name, SERVICE, encode(Recall()), VIEW_TIMEOUT_S, recalled)

    def _recalled(self, name: str, outcome: msgspec.Raw | RoostError) -> None:
        self._recalling.discard(name)
        if isinstance(outcome, RoostError) or self._record.has_vote:
            return
        memory = decode_memory(outcome)
        self._learn(memory.learned.ballot, _decoded(memory.learned.cluster))
        self._heard[name] = memory.acceptor
        self.win_vote()

    def report(self, given: Iterable[tuple[int, int, str]]) -> None:
        """Tell the claimant which transfers this node has given everything for."""
        self._tell_claimant(Given(self.cluster.aimed, tuple(sorted(given))))

    def report_empty(self) -> None:
        """Tell the claimant that this node holds nothing any more that belongs to others."""
        self._tell_claimant(Empty())

    def _tell_claimant(self, word: Given | Empty) -> None:
        claimant = self.cluster.claimant
        if claimant == self._fabric.node:
            self._note(self._fabric.node, word)
        elif self._fabric.is_up(claimant):
            self._cast(claimant, encode(word))

    def _note(self, node: str, word: Given | Empty) -> None:
        if isinstance(word, Given):
            self.reports[node] = Report(word.aimed, frozenset(word.transfers))
        else:
            self.empty[node] = None

    # Learning

    def _learn(self, ballot: Ballot, cluster: Cluster) -> None:
        """A cluster was chosen. What is older than what is known, or of another birth, changes nothing."""
        known = self.cluster
        if cluster.id != known.id or cluster.age <= known.age:
            return
        try:
            self._record.learn(ballot, cluster)
        except OSError as error:
            logger.error("%s: the disk refuses a change of the cluster: %s", self._fabric.node, error)
            return
        self._adopted(cluster)

    def _adopted(self, cluster: Cluster) -> None:
        logger.info("%s: cluster version %d, claimant %s", self._fabric.node, cluster.version, cluster.claimant)
        fabric = self._fabric
        strangers = [name for name in fabric.up() if not cluster.has(name)]
        news = encode(Learned(self._record.ballot, encode_cluster(cluster)))
        for name in strangers:
            self._cast(name, news)  # or it would never hear that it is out
        fabric.identity = cluster.id
        fabric.know(*self._places())
        self.reports = {node: report for node, report in self.reports.items() if cluster.has(node)}
        self.empty = {node: None for node in self.empty if cluster.has(node)}
        for watcher in list(self._watchers):
            watcher(cluster)
        self._spread(FANOUT)

    def _places(self) -> tuple[dict[str, Address], dict[str, Address]]:
        """Where the members are by the configuration, or else by their own word; and where they are by their word."""
        told = {member.name: Address.parse(member.address) for member in self.cluster.members if member.address}
        configured = {seed.name: seed.address for seed in self._config.seeds if self.cluster.has(seed.name)}
        return {**told, **configured}, told

    def _spread(self, count: int) -> None:
        peers = [name for name in self._fabric.up() if name != self._fabric.node]
        cluster = self.cluster
        word = encode(Rumour(cluster.id, cluster.generation, cluster.version))
        for name in audience(peers, self._draw, count):
            self._cast(name, word)

    def _draw(self, bound: int) -> int:
        return self._runtime.entropy.number(32) % bound

    def _cast(self, name: str, word: bytes) -> None:
        try:
            self._fabric.cast(name, SERVICE, word)
        except RoostError as error:
            logger.debug("%s: %s is not told: %s", self._fabric.node, name, error)

    def _pull(self, name: str) -> None:
        if name in self._pulling or name == self._fabric.node:
            return
        self._pulling.add(name)
        self._fabric.request(name, SERVICE, encode(Pull()), VIEW_TIMEOUT_S, partial(self._pulled, name))

    def _pulled(self, name: str, outcome: msgspec.Raw | RoostError) -> None:
        self._pulling.discard(name)
        if isinstance(outcome, RoostError):
            return
        learned = decode_learned(outcome)
        self._learn(learned.ballot, _decoded(learned.cluster))

    def _seen(self, event: PeerUp | PeerDown) -> None:
        if isinstance(event, PeerDown):
            self.reports.pop(event.node, None)
            self.empty.pop(event.node, None)
        else:
            cluster = self.cluster
            self._cast(event.node, encode(Rumour(cluster.id, cluster.generation, cluster.version)))
            self.win_vote()

    # The service

    def on_request(self, link: Link, request: Request) -> None:
        """Another node asks."""
        try:
            question = decode_question(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(str(error)) from None
        match question:
            case Join(member):
                _check_word(link, member)
                self._let_in(link, request.id, question)
            case Moved(member):
                _check_word(link, member, self.cluster.id)
                self._let_in(link, request.id, question)
            case Look():
                link.reply(request.id, encode(self.view()))
            case Pull():
                link.reply(request.id, encode(Learned(self._record.ballot, encode_cluster(self.cluster))))
            case Recall() if link.role == "node":
                learned = Learned(self._record.ballot, encode_cluster(self.cluster))
                link.reply(request.id, encode(Memory(learned, self._record.acceptor)))
            case _ if link.role != "node":
                raise BadMessage("who is no member has no vote")
            case Prepare() | Accept():
                link.reply(request.id, encode(self._voting.handle(question)))

    def _let_in(self, link: Link, request_id: int, asked: Join | Moved) -> None:
        if self.doors is None:
            raise NodeDown(self._fabric.node, "it does not run yet, or stops")

        def answered(outcome: bytes | RoostError) -> None:
            if isinstance(outcome, bytes):
                link.reply(request_id, outcome)
            else:
                link.refuse(request_id, outcome)

        self.doors(asked, answered)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another member tells something."""
        if link.role != "node":
            raise BadMessage("who is no member tells nothing of the cluster")
        try:
            word = decode_word(body)
        except msgspec.MsgspecError as error:
            raise BadMessage(str(error)) from None
        match word:
            case Rumour(id, generation, version):
                self._rumour(link.peer, id, (generation, version))
            case Learned(ballot, encoded):
                self._learn(ballot, _decoded(encoded))
            case Given() | Empty():
                self._note(link.peer, word)

    def _rumour(self, peer: str, id: bytes, age: tuple[int, int]) -> None:
        cluster = self.cluster
        if id != cluster.id:
            return
        if age > cluster.age:
            self._pull(peer)
        elif age < cluster.age:
            self._cast(peer, encode(Learned(self._record.ballot, encode_cluster(cluster))))


def _check_word(link: Link, member: Member, id: bytes | None = None) -> None:
    """See that a node speaks of itself, and says where it is in a way that every other node can read.

    Args:
        id: the cluster that it has to belong to.
    """
    hello = link.peer_hello
    if hello is None or hello.node != member.name or (id is not None and hello.cluster_id != id):
        raise BadMessage(f"{member.name} has to say itself where it is")
    if len(member.zone.encode()) > limits.NAME_BYTES_MAX:
        raise TooLarge("the name of a zone", len(member.zone.encode()), limits.NAME_BYTES_MAX)
    try:
        Address.parse(member.address)
    except ValueError as error:
        raise BadMessage(f"where {member.name} is: {error}") from None


def _decoded(encoded: bytes) -> Cluster:
    try:
        return decode_cluster(encoded)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadMessage(f"a cluster: {error}") from None
