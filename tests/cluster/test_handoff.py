"""What was kept for a node that was down reaches it, whole, and is then forgotten elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from roost import limits
from roost.cluster.fabric import Fabric
from roost.cluster.handover import Handover, Take, decode
from roost.cluster.link import OnReply
from roost.core.ring import slot_of
from roost.errors import CallTimeout
from tests.data.stage import Stage, stage

SERVICE = "handoff:kv"


async def written_without(story: Stage, letter: str, count: int, value: int = 1) -> list[str]:
    """Keys that were written, to all three of their nodes, while their first node was down."""
    keys = [key for key in map(str, range(10_000)) if story.primaries(key).startswith(letter)][:count]
    await story.flock.stop(letter)
    for key in keys:
        assert (await story["a"].put(key, value, n=3, w=3)).acks == 3
    return keys


def strays(story: Stage) -> int:
    return sum(one.items_total for letter in story.flock.nodes for one in story.kvs[letter].handoffs.status())


async def test_a_node_that_comes_back_gets_what_was_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDOFF_LOOK_S", 1000.0)  # its return is what starts it
    async with stage("a", "b", "c", "d") as story:
        keys = await written_without(story, "b", 250)
        assert strays(story) == 250
        await story.flock.start("b")
        await story.flock.until(lambda: strays(story) == 0)
        for key in keys:
            assert sorted(story.copies(key)) == sorted(story.primaries(key))
            found = await story["b"].get(key, n=1, r=1)
            assert found is not None
            assert found.value == 1


async def test_the_status_tells_what_waits_and_why() -> None:
    async with stage("a", "b", "c", "d") as story:
        keys = await written_without(story, "b", 5)
        status = [one for letter in "acd" for one in story.kvs[letter].handoffs.status()]
        assert sum(one.items_total for one in status) == len(keys)
        for one in status:
            assert one.target == "b@127.0.0.1"
            assert one.source != one.target
            assert story.flock["a"].placement.holder(slot_of(one.partition, one.index)) == "b@127.0.0.1"
            assert one.reason == "b@127.0.0.1 is down"


async def test_what_waits_is_found_again_after_a_restart(tmp_path: Path) -> None:
    async with stage("a", "b", "c", "d", folder=tmp_path) as story:
        keys = await written_without(story, "b", 20)
        for letter in "acd":
            await story.flock.stop(letter)
        for letter in "abcd":
            await story.flock.start(letter)
        await story.flock.meet()
        await story.flock.until(lambda: strays(story) == 0)
        for key in keys:
            assert sorted(story.copies(key)) == sorted(story.primaries(key))


async def test_a_handoff_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fabric.bulk
    failed: list[str] = []

    def request(self: Fabric, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        if service == SERVICE and len(failed) < 5 and is_told(body, Take):
            failed.append(peer)
            if len(failed) % 2:
                real(self, peer, service, body, timeout_s, lambda _: on_reply(CallTimeout(peer, timeout_s)))  # done
            else:
                on_reply(CallTimeout(peer, timeout_s))
            return
        real(self, peer, service, body, timeout_s, on_reply)

    async with stage("a", "b", "c", "d") as story:
        keys = await written_without(story, "b", 30)
        monkeypatch.setattr(Fabric, "bulk", request)
        await story.flock.start("b")
        await story.flock.until(lambda: len(failed) > 0)
        assert strays(story) == len(keys)
        await story.flock.until(lambda: strays(story) == 0)
        assert set(failed) == {"b@127.0.0.1"}
        for key in keys:
            assert sorted(story.copies(key)) == sorted(story.primaries(key))


async def test_nothing_is_forgotten_before_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fabric.bulk
    calls: list[str] = []

    def request(self: Fabric, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        if service == SERVICE and is_told(body, Take):
            calls.append(peer)
            on_reply(CallTimeout(peer, timeout_s))
        else:
            real(self, peer, service, body, timeout_s, on_reply)

    async with stage("a", "b", "c", "d") as story:
        keys = await written_without(story, "b", 3)
        monkeypatch.setattr(Fabric, "bulk", request)
        await story.flock.start("b")
        await story.flock.until(lambda: len(calls) >= 4)
        assert strays(story) == len(keys)
        status = [one for letter in "acd" for one in story.kvs[letter].handoffs.status()]
        assert any(one.attempts >= 1 and "no reply" in one.reason for one in status)
        for key in keys:
            assert len(story.copies(key)) == 3


async def test_what_changes_under_way_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fabric.bulk
    rewritten: list[str] = []

    def request(self: Fabric, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        if service == SERVICE and is_told(body, Take) and not rewritten:
            kv, message = story.kvs[self.node[0]], decode(msgspec.Raw(body))
            assert isinstance(message, Take)
            key = message.items[0][0]
            rewritten.append(key[2:].decode())
            kv.host.vnode(message.target).write(key, b"\x02", None, None)
        real(self, peer, service, body, timeout_s, on_reply)

    async with stage("a", "b", "c", "d") as story:
        await written_without(story, "b", 10)
        monkeypatch.setattr(Fabric, "bulk", request)
        await story.flock.start("b")
        await story.flock.until(lambda: strays(story) == 0)
        found = await story["b"].get(rewritten[0], n=1, r=1)
        assert found is not None
        assert found.value == 2


async def test_handoff_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Fabric.bulk
    sizes: list[int] = []

    def request(self: Fabric, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        if service == SERVICE and is_told(body, Take):
            sizes.append(len(body))
        real(self, peer, service, body, timeout_s, on_reply)

    async with stage("a", "b", "c", "d") as story:
        first = story.key(of="b")
        partition = story["a"].where(first, 1)[0].partition
        keys = [key for key in map(str, range(5_000)) if story["a"].where(key, 1)[0].partition == partition][:6]
        await story.flock.stop("b")
        for key in keys:
            await story["a"].put(key, "x" * (limits.HANDOFF_BATCH_BYTES // 2), n=3, w=3)
        monkeypatch.setattr(Fabric, "bulk", request)
        await story.flock.start("b")
        await story.flock.until(lambda: strays(story) == 0)
        assert len(sizes) == len(keys)
        assert max(sizes) < limits.HANDOFF_BATCH_BYTES


def is_told(body: bytes, kind: type[Handover]) -> bool:
    return isinstance(decode(msgspec.Raw(body)), kind)
