"""Nodes join, leave, replace each other and die, on real links."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.cluster.joining import Joiner
from roost.cluster.node import JOINER
from roost.cluster.voting import LOT_BITS
from roost.config import Address, Config
from roost.core import membership as core
from roost.core.caspaxos import Ballot
from roost.core.membership import Cluster, Member
from roost.errors import (
    AlreadyMember,
    BadMessage,
    ChangeFailed,
    DifferentRingSizes,
    NodeIsUp,
    NoQuorum,
    NothingPlanned,
    NotReachable,
    NotSingleNode,
    OnlyMember,
    PlanChanged,
    SelfJoin,
)
from roost.wire.membership import Join, Learned, Look, Moved, encode
from tests.cluster.flock import Flock, Setup
from tests.cluster.meadow import configs
from tests.e2e.cluster import free_ports


def nothing(node: object) -> None:
    """Nodes without any data."""


def single(config: Config) -> Config:
    """The same node, which knows of nobody."""
    return dataclasses.replace(config, seeds=())


@asynccontextmanager
async def strangers(
    *letters: str, born: str = "", folder: Path | None = None, setup: Setup = nothing
) -> AsyncIterator[Flock]:
    """Nodes of which those in `born` are a cluster, and every other one is by itself."""
    settings = configs(*letters)
    seeds = tuple(seed for seed in settings[0].seeds if seed.name[0] in born)
    story = Flock(
        [dataclasses.replace(one, seeds=seeds) if one.name[0] in born else single(one) for one in settings],
        setup,
        folder,
    )
    try:
        for letter in letters:
            await story.start(letter)
        await story.until(lambda: all(len(story[letter].fabric.up()) == len(born) for letter in born))
        yield story
    finally:
        for node in reversed(list(story.nodes.values())):
            await node.stop()


async def join(story: Flock, newcomer: str, member: str) -> tuple[str, ...]:
    """Ask `newcomer` to join the cluster of `member`."""
    address = story[member].config.listen
    assert address is not None
    with story[newcomer].entered():
        return await Joiner.whereis(JOINER).join(*address)


async def commit(story: Flock, letter: str) -> None:
    """Plan and commit what is staged, at one node."""
    membership = story[letter].membership
    await membership.plan()
    await membership.commit()


def members(story: Flock, letter: str) -> str:
    """The members that a node knows, by letter."""
    return "".join(name[0] for name in story[letter].membership.members)


async def settled(story: Flock, *letters: str) -> None:
    """Wait until these nodes are one cluster that knows itself, is linked, and has nothing under way."""
    names = tuple(f"{letter}@127.0.0.1" for letter in letters)

    def are_settled() -> bool:
        clusters = [story[letter].membership.cluster for letter in letters]
        return (
            all(one == clusters[0] and one.layout.is_settled for one in clusters)
            and clusters[0].names == names
            and all(story[letter].fabric.up() == names for letter in letters)
            and all(member.status == "valid" for member in clusters[0].members)
        )

    await story.until(are_settled)


async def test_a_node_joins_and_owns_its_share_after_the_commit() -> None:
    async with strangers("a", "b") as story:
        assert members(story, "b") == "b"
        assert await join(story, "b", "a") == ("a@127.0.0.1", "b@127.0.0.1")
        assert story["b"].membership.cluster.member("b@127.0.0.1").status == "joining"
        assert story["b"].membership.cluster.id == story["a"].membership.cluster.id
        plan = await story["b"].membership.plan()
        assert [str(change) for change in plan.changes] == ["join b@127.0.0.1"]
        await story["a"].membership.commit()
        await settled(story, "a", "b")
        assert set(story["a"].placement.layout.counts().values()) == {32}


async def test_three_join_at_once_and_one_leaves_again() -> None:
    async with strangers("a", "b", "c", "d") as story:
        await asyncio.gather(join(story, "b", "a"), join(story, "c", "a"), join(story, "d", "a"))
        await commit(story, "a")
        await settled(story, "a", "b", "c", "d")
        await story["c"].membership.leave("a@127.0.0.1")
        await commit(story, "d")
        await settled(story, "b", "c", "d")
        await story.until(lambda: members(story, "a") == "a")
        assert story["a"].membership.cluster.id != story["b"].membership.cluster.id
        assert story["b"].membership.cluster.claimant == "b@127.0.0.1"


async def test_who_has_left_may_join_again() -> None:
    async with strangers("a", "b", born="ab") as story:
        await story["a"].membership.leave("b@127.0.0.1")
        await commit(story, "a")
        await story.until(lambda: members(story, "b") == "b" and members(story, "a") == "a")
        await join(story, "b", "a")
        await commit(story, "b")
        await settled(story, "a", "b")


async def test_a_newcomer_takes_the_place_of_a_member() -> None:
    async with strangers("a", "b", "c", born="ab") as story:
        await join(story, "c", "b")
        await story["a"].membership.replace("b@127.0.0.1", "c@127.0.0.1")
        before = story["a"].placement.layout.goal
        await commit(story, "a")
        await settled(story, "a", "c")
        after = story["a"].placement.layout.goal
        assert after.owned("c@127.0.0.1") == before.owned("b@127.0.0.1")
        assert after.owned("a@127.0.0.1") == before.owned("a@127.0.0.1")


async def test_staged_changes_survive_everybody(tmp_path: Path) -> None:
    async with strangers("a", "b", "c", born="ab", folder=tmp_path) as story:
        await join(story, "c", "a")
        await story.until(lambda: members(story, "b") == "abc")
        for letter in "abc":
            await story.nodes.pop(letter).stop()
        for letter in "abc":
            await story.start(letter)
        assert [str(change) for change in story["b"].membership.cluster.staged] == ["join c@127.0.0.1"]
        await story.until(lambda: all(len(story[letter].fabric.up()) == 3 for letter in "abc"))
        await commit(story, "b")
        await settled(story, "a", "b", "c")


async def test_a_claimant_that_is_lost_is_succeeded_by_itself() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        assert story["c"].membership.cluster.claimant == "a@127.0.0.1"
        await story.stop("a")
        await story.until(lambda: all(story[one].membership.cluster.claimant == "b@127.0.0.1" for one in "bc"))
        assert {story[one].membership.cluster.epoch for one in "bc"} == {2}
        await story.start("a")
        await story.until(lambda: story["a"].membership.cluster.claimant == "b@127.0.0.1")


async def test_without_a_majority_nothing_changes_until_an_operator_says_who_is_dead() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        await story.stop("a")
        await story.until(lambda: story["b"].membership.cluster.claimant == "b@127.0.0.1")
        await story.stop("b")
        lonely = story["c"].membership
        with pytest.raises(NoQuorum):
            await lonely.leave("a@127.0.0.1")
        with pytest.raises(NodeIsUp):
            await lonely.down("c@127.0.0.1")
        with pytest.raises(NoQuorum):
            await lonely.down("a@127.0.0.1")
        cluster = await lonely.down("a@127.0.0.1", "b@127.0.0.1")
        assert (cluster.claimant, cluster.generation >> LOT_BITS) == ("c@127.0.0.1", 1)
        await lonely.force_remove("a@127.0.0.1")
        await commit(story, "c")
        await story.until(lambda: members(story, "c") == "bc")
        await story.start("b")  # it has forgotten everything, and knows the history that was overruled
        await settled(story, "b", "c")


async def test_two_sides_that_have_overruled_each_other_are_one_cluster_again(tmp_path: Path) -> None:
    async with strangers("a", "b", born="ab", folder=tmp_path) as story:
        await story.until(lambda: all(node.membership.view().has_vote for node in story.nodes.values()))
        await story.stop("b")
        one = await story["a"].membership.down("b@127.0.0.1")
        await story.stop_alone("a")
        await story.start("b")
        other = await story["b"].membership.down("a@127.0.0.1")
        assert one.generation != other.generation, "or nobody could say which of the two counts"
        await story.start("a")
        await settled(story, "a", "b")
        await story["a"].membership.leave("b@127.0.0.1")
        await story["b"].membership.clear()


def move(story: Flock, letter: str) -> None:
    """Let a node be started at another address from now on."""
    config = story.settings[letter]
    assert config.listen is not None
    address = Address(config.listen.host, free_ports(1))
    seeds = tuple(one._replace(address=address) if one.name == config.name else one for one in config.seeds)
    story.settings[letter] = dataclasses.replace(config, listen=address, seeds=seeds)


@pytest.mark.parametrize("letter", ["a", "b", "c"])
async def test_a_node_that_is_started_at_another_address_is_found_there(letter: str, tmp_path: Path) -> None:
    async with strangers("a", "b", "c", born="abc", folder=tmp_path) as story:
        await story.until(lambda: all(node.membership.view().has_vote for node in story.nodes.values()))
        await story.stop(letter)
        move(story, letter)
        await story.start(letter)
        await settled(story, "a", "b", "c")
        where = str(story[letter].config.listen)
        await story.until(
            lambda: all(
                node.membership.cluster.member(story[letter].name).address == where for node in story.nodes.values()
            )
        )
        await story.stop(letter)
        await story.start(letter)
        await settled(story, "a", "b", "c")


async def test_nodes_that_were_removed_together_hear_of_it_though_they_see_each_other(tmp_path: Path) -> None:
    async with strangers("a", "b", "c", "d", "e", born="abcde", folder=tmp_path) as story:
        await story.until(lambda: all(node.membership.view().has_vote for node in story.nodes.values()))
        for letter in "de":
            await story.stop(letter)
        for letter in "de":
            await story["a"].membership.force_remove(f"{letter}@127.0.0.1")
        await commit(story, "a")
        await settled(story, "a", "b", "c")
        await asyncio.gather(story.start("d"), story.start("e"))
        await story.until(lambda: members(story, "d") == "d" and members(story, "e") == "e")


async def test_who_is_no_member_tells_nothing() -> None:
    async with strangers("a", "x") as story:
        address, membership = story["a"].config.listen, story["a"].membership
        assert address is not None
        forged = core.set_policy(membership.cluster, "auto")
        async with story["x"].fabric.guest(address) as guest:
            guest._link.cast("membership", encode(Learned(Ballot(0, 99, "x"), encode(forged))))
            await guest.call("membership", encode(Look()))
        assert membership.cluster.policy == "manual"


async def test_a_join_of_somebody_else_or_to_nowhere_is_refused() -> None:
    async with strangers("a", "x") as story:
        address = story["a"].config.listen
        assert address is not None
        for name, where in (("y@127.0.0.1", "127.0.0.1:1"), ("x@127.0.0.1", "nowhere"), ("x@127.0.0.1", "")):
            async with story["x"].fabric.guest(address) as link:
                with pytest.raises(BadMessage):
                    await link.call("membership", encode(Join(Member(name, "valid", where), 64)))
        assert members(story, "a") == "a"


async def test_where_a_member_is_can_be_said_by_itself_only() -> None:
    async with strangers("a", "b", "x", born="ab") as story:
        address = story["a"].config.listen
        assert address is not None
        for name in ("b@127.0.0.1", "x@127.0.0.1"):
            async with story["x"].fabric.guest(address) as link:
                with pytest.raises(BadMessage, match="say itself"):
                    await link.call("membership", encode(Moved(Member(name, "valid", "127.0.0.1:1"))))


async def test_a_plan_that_has_changed_is_not_committed() -> None:
    async with strangers("a", "b", "c", "d", born="ab") as story:
        membership = story["a"].membership
        with pytest.raises(NothingPlanned):
            await membership.plan()
        await join(story, "c", "a")
        with pytest.raises(NothingPlanned):
            await membership.commit()
        await membership.plan()
        await join(story, "d", "b")
        with pytest.raises(PlanChanged):
            await membership.commit()
        await commit(story, "d")
        await settled(story, "a", "b", "c", "d")


async def test_a_node_that_may_not_know_that_it_was_let_in_is_not_committed() -> None:
    async with strangers("a", "b", "c", born="ab") as story:
        newcomer = story["c"].membership.request_to_join()
        await story["a"].membership.welcome(newcomer)  # and the answer is lost on its way
        membership = story["b"].membership
        await membership.plan()
        with pytest.raises(NotReachable, match="let it join once more"):
            await membership.commit()
        await join(story, "c", "a")
        await membership.commit()
        await settled(story, "a", "b", "c")


async def test_a_change_is_not_made_in_a_cluster_that_it_was_not_meant_for() -> None:
    async with strangers("a", "b", born="ab") as story:
        membership, before = story["a"].membership, story["a"].membership.cluster

        def leave_at_the_worst_moment(cluster: Cluster) -> Cluster:
            if membership.cluster.id == before.id:
                membership.go_alone()
            return core.stage_leave(cluster, "b@127.0.0.1")

        with pytest.raises(ChangeFailed, match="gone over"):
            await membership.change(leave_at_the_worst_moment)
        alone = await membership.set_zone("a@127.0.0.1", "north")
        assert alone.id == membership.cluster.id != before.id
        assert membership.cluster.version == 2


async def test_clear_sends_newcomers_home() -> None:
    async with strangers("a", "b") as story:
        await join(story, "b", "a")
        await story["a"].membership.clear()
        await story.until(lambda: members(story, "b") == "b" and members(story, "a") == "a")


async def test_several_that_were_let_go_while_they_were_away_find_out_though_they_see_each_other(
    tmp_path: Path,
) -> None:
    async with strangers("a", "b", "c", "d", born="ab", folder=tmp_path) as story:
        for newcomer in "cd":
            await join(story, newcomer, "a")
        await story.until(lambda: all(len(story[letter].fabric.up()) == 4 for letter in "abcd"))
        for newcomer in "cd":
            await story.stop(newcomer)
        await story["a"].membership.clear()
        for newcomer in "cd":
            await story.start(newcomer)
        await story.until(lambda: members(story, "c") == "c" and members(story, "d") == "d")


async def test_every_join_that_is_not_possible_is_refused_in_a_sentence() -> None:
    async with strangers("a", "b", "c", "d", born="ab") as story:
        with pytest.raises(SelfJoin):
            await join(story, "c", "c")
        with pytest.raises(NotSingleNode):
            await join(story, "a", "c")
        with pytest.raises(OnlyMember):
            await story["c"].membership.leave("c@127.0.0.1")
        with story["c"].entered(), pytest.raises(NotReachable):
            await Joiner.whereis(JOINER).join("127.0.0.1", 1)
        await story.stop_alone("d")
        story.settings["d"] = dataclasses.replace(story.settings["d"], ring_size=32)
        await story.start("d")
        with pytest.raises(DifferentRingSizes):
            await join(story, "d", "a")
        await story.stop_alone("d")
        taken = dataclasses.replace(story.settings["d"], ring_size=64, name="b@127.0.0.1")
        story.settings["x"] = taken
        await story.start("x")
        with pytest.raises(AlreadyMember):
            await join(story, "x", "a")


async def test_a_node_that_has_lost_its_memory_is_let_in_again_and_votes_when_it_has_asked_the_others() -> None:
    async with strangers("a", "b", "c", born="abc") as story:
        await story["a"].membership.change(lambda cluster: cluster)
        before = story["a"].membership.cluster
        await story.stop("c")
        story.settings["c"] = single(story.settings["c"])
        await story.start("c")
        await join(story, "c", "a")
        await story.until(lambda: story["c"].membership.view().has_vote)
        assert story["c"].membership.cluster.id == before.id
        await settled(story, "a", "b", "c")


async def test_settings_that_say_whom_to_join_are_enough() -> None:
    settings = configs("a", "b")
    address = settings[0].listen
    assert address is not None
    story = Flock(
        [
            dataclasses.replace(single(settings[0]), policy="auto"),
            dataclasses.replace(single(settings[1]), join=(address,)),
        ],
        nothing,
    )
    try:
        await story.start("b")  # there is nobody yet: it goes on knocking
        await story.start("a")
        await settled(story, "a", "b")
    finally:
        for node in story.nodes.values():
            await node.stop()


async def test_nodes_that_discover_each_other_become_one_cluster_of_the_first() -> None:
    settings = configs("a", "b", "c")
    places = ",".join(str(one.listen) for one in settings)
    story = Flock(
        [dataclasses.replace(single(one), policy="auto", discovery=f"static:{places}") for one in settings], nothing
    )
    try:
        for letter in "cba":
            await story.start(letter)
        await settled(story, "a", "b", "c")
    finally:
        for node in story.nodes.values():
            await node.stop()
