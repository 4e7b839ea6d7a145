"""Slow functions over what a vnode keeps: in worker processes, while commands go on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from roost import limits
from roost.cluster.coordinator import VnodeRing
from roost.cluster.fold import Items
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.node import Node
from roost.cluster.vnode import Fold, Later, Sender
from roost.errors import CoverageFailed, Overloaded, ProcessDown, Refusal
from tests.cluster.flock import flock


class Write(msgspec.Struct, frozen=True, tag=True):
    """Keep a word."""

    word: str


class Letters(msgspec.Struct, frozen=True, tag=True):
    """How many letters are there, by the function that `how` names?"""

    how: str = "count"


class Number(msgspec.Struct, frozen=True):
    """A number of letters."""

    letters: int


class TooMany(Refusal):
    """More letters than anybody wants."""

    code = "too_many"


def count(so_far: int, items: Items) -> int:
    return so_far + sum(len(msgspec.msgpack.decode(value)) for _, value in items)


def refuse(so_far: int, items: Items) -> int:
    raise TooMany


def fail(so_far: int, items: Items) -> int:
    return so_far // 0


FUNCTIONS = {"count": count, "refuse": refuse, "fail": fail}


class Words(KeyedVnode[Write | Letters, Number, str]):
    """Words under themselves."""

    def handle_command(self, command: Write | Letters, sender: Sender) -> Number | Later:
        if isinstance(command, Letters):
            return self.fold(FUNCTIONS[command.how], 0, Number)
        self.store[command.word] = command.word
        return Number(len(command.word))

    def forwards(self, command: Write | Letters) -> Write | None:
        return command if isinstance(command, Write) else None

    def cover(self, command: Write | Letters) -> Iterator[Number | Fold[int]]:
        assert isinstance(command, Letters)
        yield Number(0)
        yield self.fold(FUNCTIONS[command.how], 0, Number)
        yield Number(1000)


class Story:
    """The rings of a flock."""

    def __init__(self) -> None:
        self.rings: dict[str, VnodeRing[Write | Letters, Number]] = {}

    def setup(self, node: Node) -> None:
        self.rings[node.name[0]] = VnodeRing(node, Words, n=1)


def written(vnode: object) -> int:
    assert isinstance(vnode, Words)
    return sum(len(word) for word in vnode.store)


async def filled(story: Story) -> None:
    for number in range(200):
        await story.rings["a"].command(f"k{number}", Write("x" * number))


async def test_a_vnode_folds_over_what_it_keeps_and_takes_commands_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FOLD_BATCH_ITEMS", 3)
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        await filled(story)
        ring = story.rings["a"]
        by_node = dict.fromkeys("ab", 0)
        for letter in "ab":
            for vnode in story.rings[letter].host.running().values():
                by_node[letter] += written(vnode)
        assert all(by_node.values())
        found = [reply.letters async for reply in ring.coverage(Letters(), timeout_s=60.0)]
        size = nodes["a"].placement.size
        assert sum(found) == sum(range(200)) + 1000 * size
        for key in ("k1", "k2", "k3"):
            vnode = next(
                one.host.vnode(ring.partition(key) << 3)
                for one in story.rings.values()
                if ring.partition(key) << 3 in one.host.running()
            )
            expected = written(vnode)
            assert await ring.command(key, Letters(), timeout_s=60.0) == Number(expected)


async def test_who_asked_for_a_fold_that_fails_is_told() -> None:
    story = Story()
    async with flock("a", setup=story.setup):
        await filled(story)
        ring = story.rings["a"]
        with pytest.raises(TooMany):
            await ring.command("k7", Letters("refuse"), timeout_s=60.0)
        with pytest.raises(TooMany):
            [reply async for reply in ring.coverage(Letters("refuse"), timeout_s=60.0)]
        with pytest.raises(CoverageFailed) as caught:
            [reply async for reply in ring.coverage(Letters("fail"), timeout_s=60.0)]
        assert "ZeroDivisionError" in str(caught.value)
        assert ring.host.folds.under_way == 0
        assert len(ring.host.running()) > 0


@pytest.mark.parametrize("how", ["crash", "stop", "crowd"])
async def test_who_waits_for_a_fold_is_answered_whatever_happens(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    async with flock("a", setup=story.setup) as nodes:
        await filled(story)
        host = story.rings["a"].host
        slot = story.rings["a"].partition("k7") << 3
        told: list[object] = []
        host.ask(slot, Letters(), Sender("a", told.append))
        if how == "crash":
            host.crashed(slot, ZeroDivisionError())
            await nodes.until(lambda: host.folds.under_way == 0)
        elif how == "stop":
            await nodes.stop("a")
        else:
            monkeypatch.setattr(limits, "FOLDS_MAX", 1)
            host.ask(slot, Letters(), Sender("a", told.append))
        expected = Overloaded if how == "crowd" else ProcessDown
        assert [type(one) for one in told] == [expected]
