"""Changes of the cluster are agreed on one after the other, whoever makes them, and votes are never forgotten."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from pathlib import Path

import msgspec
import pytest

from roost import limits
from roost.cluster.link import Link
from roost.cluster.record import Record
from roost.cluster.voting import Voting, can_vote_after, decode_reply
from roost.core import membership as core
from roost.core.caspaxos import Accept, Ballot, Entry, Nack, Prepare, Promise
from roost.core.membership import Cluster
from roost.errors import BadMessage, NodeDown, NoQuorum, NotMember, Overloaded, StorageFailed
from roost.limits import CHANGES_WAITING_MAX
from roost.runtime import Runtime
from roost.wire.membership import Look, decode_question, encode
from roost.wire.messages import Request
from tests.cluster.flock import Flock
from tests.cluster.meadow import Meadow, configs
from tests.cluster.test_membership import strangers

ATTEMPTS = 3
"""How often a vote is tried that cannot succeed: with more, the test waits longer for the same."""


async def all_vote(story: Flock) -> None:
    """Wait until every node may vote."""
    await story.until(lambda: all(node.membership.view().has_vote for node in story.nodes.values()))


async def test_changes_of_all_nodes_at_once_all_happen_once() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        await all_vote(story)

        def mark(word: str) -> Awaitable[Cluster]:
            def change(cluster: Cluster) -> Cluster:
                if word in cluster.left:
                    return cluster
                left = (*cluster.left, word)
                return msgspec.structs.replace(cluster, version=cluster.version + 1, left=left)

            return story[word[0]].membership.change(change)

        words = [f"{letter}{number}" for letter in "abc" for number in range(5)]
        await asyncio.gather(*[mark(word) for word in words])
        await story.until(lambda: all(len(node.membership.cluster.left) == 15 for node in story.nodes.values()))
        lasts = [node.membership.cluster for node in story.nodes.values()]
        assert lasts[0] == lasts[1] == lasts[2]
        assert sorted(lasts[0].left) == words
        for letter in "abc":
            mine = [word for word in lasts[0].left if word[0] == letter]
            assert mine == sorted(mine), "the changes of one node are made in its order"


async def test_a_refusal_is_raised_where_the_change_was_asked_for_and_changes_nothing() -> None:
    async with strangers("a", "b", born="ab") as story:
        before = story["a"].membership.cluster
        with pytest.raises(NotMember):
            await story["b"].membership.leave("x@127.0.0.1")
        assert story["a"].membership.cluster == before == story["b"].membership.cluster


async def test_a_vote_that_the_disk_refuses_is_not_given(tmp_path: Path) -> None:
    async with strangers("a", "b", born="ab", folder=tmp_path) as story:
        await all_vote(story)
        (tmp_path / "b" / "cluster.draft").mkdir()  # what stands in the way of every write
        ask = encode(Prepare(Ballot(0, 99, "a@127.0.0.1")))
        with pytest.raises(StorageFailed):
            await story["a"].fabric.call("b@127.0.0.1", "membership", ask)
        (tmp_path / "b" / "cluster.draft").rmdir()
        await story["a"].membership.change(core.clear)


async def test_a_node_that_has_been_wiped_has_no_vote_before_it_has_heard_from_the_others() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        await all_vote(story)
        await story.stop("b")
        await story.stop("c")
        await story.start("c")
        ask = encode(Prepare(Ballot(0, 99, "a@127.0.0.1")))
        await story.until(lambda: story["a"].fabric.is_up("c@127.0.0.1"))
        with pytest.raises(NoQuorum):
            await story["a"].fabric.call("c@127.0.0.1", "membership", ask)
        await story.start("b")
        await all_vote(story)


async def test_a_node_that_has_been_wiped_remembers_by_the_others_what_it_may_have_voted_for() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        await all_vote(story)
        await story.stop("c")
        ballot, fabric = Ballot(0, 1000, "a@127.0.0.1"), story["a"].fabric
        agreed = core.succeed(story["a"].membership.cluster, "c@127.0.0.1")
        entry = Entry(encode(agreed), ("a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"))
        promise = Ballot(0, 2000, "b@127.0.0.1")
        for ask in (Prepare(ballot), Accept(ballot, entry), Prepare(promise)):  # and c has said the same before
            await fabric.call("b@127.0.0.1", "membership", encode(ask))
        await story.start("c")
        await story.until(lambda: fabric.is_up("c@127.0.0.1"))
        await all_vote(story)
        low = await fabric.call("c@127.0.0.1", "membership", encode(Prepare(Ballot(0, 1500, "a@127.0.0.1"))))
        assert isinstance(decode_reply(low), Nack)
        high = await fabric.call("c@127.0.0.1", "membership", encode(Prepare(Ballot(0, 10**6, "a@127.0.0.1"))))
        reply = decode_reply(high)
        assert isinstance(reply, Promise)
        assert reply.entry is not None
        assert reply.entry.value == entry.value


async def test_who_is_needed_to_know_what_was_chosen_and_is_lost_can_be_declared_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CHANGE_ATTEMPTS_MAX", ATTEMPTS)
    async with strangers("a", "b", "c", born="abc") as story:
        await all_vote(story)
        await story.stop("a")
        b, c = story["b"], story["c"]
        await story.until(lambda: not b.fabric.is_up("a@127.0.0.1") and not c.fabric.is_up("a@127.0.0.1"))
        ballot = Ballot(0, 1000, "a@127.0.0.1")
        entry = Entry(encode(core.succeed(b.membership.cluster, "c@127.0.0.1")), ("a@127.0.0.1",))
        for asker, asked in ((b, "c@127.0.0.1"), (c, "b@127.0.0.1")):
            for ask in (Prepare(ballot), Accept(ballot, entry)):
                await asker.fabric.call(asked, "membership", encode(ask))
        with pytest.raises(NoQuorum):
            await b.membership.change(core.clear)
        await b.membership.down("a@127.0.0.1")
        assert b.membership.cluster.member("a@127.0.0.1").status == "down"


async def test_words_that_nobody_declares_are_refused() -> None:
    async with strangers("a", "b", born="ab") as story:
        for body in (b"\xc0", b"\x91\x63", encode((1, 2, 3))):
            with pytest.raises(BadMessage):
                await story["a"].fabric.call("b@127.0.0.1", "membership", body)


async def test_strangers_who_know_the_cookie_may_look_and_do_not_vote() -> None:
    async with strangers("a", "b") as story:
        address = story["a"].config.listen
        assert address is not None
        async with story["b"].fabric.guest(address) as link:
            await link.call("membership", encode(Look()))
            with pytest.raises(BadMessage, match="no vote"):
                await link.call("membership", encode(Prepare(Ballot(0, 99, "b@127.0.0.1"))))


async def test_changes_that_wait_are_bounded_and_those_of_a_lost_majority_are_answered() -> None:
    async with strangers("a", "b", born="ab") as story:
        await story.stop("b")
        membership = story["a"].membership
        asked = [membership.change(core.clear) for _ in range(CHANGES_WAITING_MAX + 1)]
        waiting = [asyncio.ensure_future(one) for one in asked]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(next(iter(done)).exception(), Overloaded | NoQuorum | NodeDown)
        for one in waiting:
            one.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(outcome, Overloaded) for outcome in outcomes)


class Listener:
    """A voter that answers nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def on_request(self, link: Link, request: Request) -> None:
        self.asked.append(decode_question(request.body))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Nothing is told."""


async def test_a_change_that_is_given_up_leaves_its_number_used() -> None:
    settings = configs("a", "b")
    meadow, voter = Meadow(*settings), Listener()
    try:
        await meadow.connect()
        meadow.fabrics["b"].serve("votes", voter)
        runtime = Runtime.real()
        record = Record(settings[0], runtime)
        assert not record.has_vote, "so that it does not remember its own ballots as a voter"
        voting = Voting(meadow.fabrics["a"], runtime, record, lambda ballot, cluster: None, "votes")
        for number in (1, 2):
            change = asyncio.ensure_future(voting.change(core.clear))
            while len(voter.asked) < number:  # noqa: ASYNC110  # what is waited for has no event
                await asyncio.sleep(0)
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
        first, second = voter.asked
        assert isinstance(first, Prepare)
        assert isinstance(second, Prepare)
        assert first.ballot < second.ballot
    finally:
        await meadow.stop()


@pytest.mark.parametrize("count", range(1, 8))
def test_who_has_lost_his_memory_hears_from_one_who_knows_what_he_voted_for(count: int) -> None:
    voters = [f"n{number}" for number in range(count)]
    me, others = voters[0], voters[1:]
    majority = count // 2 + 1
    for size in range(count):
        for heard in itertools.combinations(others, size):
            if not can_vote_after(voters, me, heard):
                continue
            for with_me in itertools.combinations(others, majority - 1):
                assert not with_me or set(with_me) & set(heard)
    assert can_vote_after(voters, me, others)
