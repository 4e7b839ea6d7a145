"""Cluster-wide names over real nodes; what happens to them under faults is in tests/sim/test_global_names.py."""

from __future__ import annotations

import pytest

from roost.cluster import global_name
from roost.cluster.name_service import PREFIX
from roost.core.global_name import title_of, voters
from roost.errors import NameTaken, NoSuchProcess, NotLocal, ProcessDown, TooLarge
from roost.otp import GenServer, call
from tests.cluster.flock import Flock, flock


class Leader(GenServer):
    @call
    def where(self) -> str:
        return self.scheduler.name


def nothing(node: object) -> None:
    """No setup."""


async def test_a_name_is_found_from_every_node_and_moves_with_a_higher_epoch() -> None:
    async with flock("a", "b", "c", setup=nothing) as story:
        with story["a"].entered():
            first = await Leader.start()
            lease = await global_name.register("leader", first)
            assert repr(lease) == "Lease('leader', epoch=1)"
        for node in story.nodes.values():
            with node.entered():
                assert await (await global_name.whereis("leader", Leader)).where() == story["a"].name
        with story["b"].entered():
            second = await Leader.start()
            with pytest.raises(NameTaken):
                await global_name.register("leader", second)
            with pytest.raises(NoSuchProcess):
                await global_name.unregister("leader")
            far = await global_name.whereis("leader", Leader)
            with pytest.raises(NotLocal):
                await global_name.register("other", far)
        with story["a"].entered():
            await global_name.unregister("leader")
            assert not lease.is_valid
        with story["b"].entered():
            assert (await global_name.register("leader", second)).epoch == 2


async def test_the_end_of_the_owner_gives_the_name_back() -> None:
    async with flock("a", "b", setup=nothing) as story:
        with story["a"].entered():
            leader = await Leader.start()
            await global_name.register("leader", leader)
            leader.exit("kill")
            with pytest.raises(ProcessDown):
                await global_name.register("leader", leader)
            await global_name.register("leader", await Leader.start())
        assert len(story["a"].names._held) == 1


async def test_a_name_that_is_too_long_is_refused() -> None:
    async with flock("a", "b", setup=nothing) as story:
        with story["a"].entered(), pytest.raises(TooLarge):
            await global_name.register("x" * 255, await Leader.start())


async def _voters(story: Flock, letter: str) -> frozenset[str]:
    node = story[letter]
    electorate = voters(node.membership.members)
    outcome = await node.registers.change(PREFIX + "leader", lambda value: value, electorate, 5.0)
    assert title_of(outcome.value).epoch == 1
    return electorate(outcome.value)


async def test_names_that_nobody_renews_follow_the_members() -> None:
    async with flock("a", "b", "c", setup=nothing) as story:
        everybody = story["a"].membership.members
        for node in story.nodes.values():
            node.names._members = lambda: everybody[:2]
            node.names.follow_members()
        with story["a"].entered():
            leader = await Leader.start()
            await global_name.register("leader", leader)
            await global_name.unregister("leader")
        assert await _voters(story, "a") == set(everybody[:2])
        for node in story.nodes.values():
            node.names._members = lambda: everybody
            node.names.follow_members()
        found = await _voters(story, "c")
        while found != set(everybody):
            found = await _voters(story, "b")
