"""Bugs that are planted in presences. A story that misses one would miss it in the product."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from roost.core.presence.fragment import Fragment, View
from roost.core.presence.presence import Origin
from roost.core.presence.presences import Debt, Presences
from roost.core.presence.reach import Reach, Route
from roost.core.presence.replica import Change, Replica
from roost.core.presence.shard import Shard
from tests.sim.presence_story import tell

SEEDS_MAX: Final = 40
"""Within how many worlds a planted bug has to come to light."""

Patch = pytest.MonkeyPatch


def _the_dead_stay(patch: Patch) -> None:
    def hide(self: Shard, origin: Origin) -> None:
        """Nothing."""

    patch.setattr(Shard, "hide", hide)


def _a_word_outlives_its_link(patch: Patch) -> None:
    def down(self: Reach, node: str) -> None:
        self._direct.pop(node, None)

    patch.setattr(Reach, "down", down)


def _hearsay_is_repeated(patch: Patch) -> None:
    known = Presences._known

    def all_that_is_shown(self: Presences, origin: Origin) -> object:
        said = known(self, origin)
        return type(said)(origin, origin.node in self._shards[0].shown, said.clocks, said.goals)

    patch.setattr(Presences, "_known", all_that_is_shown)


def _nothing_is_passed_on(patch: Patch) -> None:
    def relayed(self: Reach, peer: str) -> list[Origin]:
        return []

    patch.setattr(Reach, "relayed", relayed)


def _common_peers_are_not_believed(patch: Patch) -> None:
    def routes(self: Reach) -> dict[str, Route]:
        return {node: Route(origin, node) for node, origin in self._direct.items()}

    patch.setattr(Reach, "routes", routes)


def _removals_are_not_told(patch: Patch) -> None:
    after = Replica.after

    def keep(self: Replica, clock: int) -> Fragment | None:
        fragment = after(self, clock)
        return fragment if fragment is None or fragment.is_whole else fragment._replace(removed=())

    patch.setattr(Replica, "after", keep)


def _removals_are_not_passed_on(patch: Patch) -> None:
    merge = Replica.merge

    def forget(self: Replica, fragment: Fragment) -> Change | None:
        change = merge(self, fragment)
        self._removals.clear()
        return change

    patch.setattr(Replica, "merge", forget)


def _told_before_the_view_has_come(patch: Patch) -> None:
    def hear(self: Presences, peer: str, view: View) -> bool:
        told = dict(self._told.get(peer, {}))
        for number, shard in enumerate(self._shards):
            told[number, self.origin] = shard.clock(self.origin)
        self._told[peer] = told
        return honest(self, peer, view)

    honest = Presences.hear
    patch.setattr(Presences, "hear", hear)


def _gaps_are_not_asked_for(patch: Patch) -> None:
    def merge(self: Presences, shard: int, fragment: Fragment) -> bool:
        honest(self, shard, fragment)
        return True

    def pay(self: Presences, peer: str, debt: Debt) -> None:
        paid(self, peer, debt)
        self._told[peer][debt.shard, debt.origin] += 1

    honest, paid = Presences.merge, Presences.pay
    patch.setattr(Presences, "merge", merge)
    patch.setattr(Presences, "pay", pay)


MUTANTS: Final[Mapping[str, Callable[[Patch], None]]] = {
    "the dead stay": _the_dead_stay,
    "a word outlives its link": _a_word_outlives_its_link,
    "hearsay is repeated": _hearsay_is_repeated,
    "nothing is passed on": _nothing_is_passed_on,
    "common peers are not believed": _common_peers_are_not_believed,
    "removals are not told": _removals_are_not_told,
    "removals are not passed on": _removals_are_not_passed_on,
    "told before the view has come": _told_before_the_view_has_come,
    "gaps are not asked for": _gaps_are_not_asked_for,
}


def search(name: str) -> tuple[int, str] | None:
    """The first world in which a planted bug comes to light, and how."""
    logging.disable()
    try:
        for seed in range(SEEDS_MAX):
            with pytest.MonkeyPatch.context() as patch:
                MUTANTS[name](patch)
                try:
                    broken = tell(seed).broken
                except Exception as error:
                    broken = [f"{type(error).__name__}: {error}"]
            if broken:
                return seed, broken[0]
        return None
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    for name in MUTANTS:
        print(name, search(name), flush=True)
