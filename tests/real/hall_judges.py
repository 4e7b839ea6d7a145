"""What the guests of the hall were promised, held against what they were told.

A message is owed to a listener when both nodes saw each other, from before it was sent until after it arrived: see
`Views.saw`. Between nodes that lose each other nothing is owed, and nothing may come that follows what was lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from roost.sim.checkers import Broken
from tests.real.guests import FOREVER, Hearing, Said, Seen, Visit
from tests.real.hall import CRIES, FLICKER, TALK
from tests.real.house import Place

SETTLED_S: Final = 1.0
"""How long nodes must have seen each other before a message is owed: so long they tell each other what they want."""
ARRIVES_S: Final = 5.0
"""Within what time a message has arrived, or the link is known to be down: 2 s, on a machine with twice the work."""
GONE_S: Final = 4.0
"""Within what time a node that ended, or hangs, is shown to nobody: promised are 2 s, on a machine with time for it."""


LOST_S: Final = 1.0
"""The same, when a node has noticed that it has lost who had told it so."""


class Views:
    """Which node saw which other one when, by what the nodes have told their guests."""

    def __init__(self, visits: Iterable[Visit]) -> None:
        told: dict[str, dict[Seen, None]] = {}
        for visit in visits:
            told.setdefault(visit.life, {}).update(visit.seen)
        self._spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for life, seen in told.items():
            for one in sorted(seen):
                spans = self._spans.setdefault((life, one.life), [])
                if one.up:
                    spans.append((one.at, FOREVER))
                elif spans:
                    spans[-1] = spans[-1][0], one.at

    def saw(self, one: str, other: str, since: float, until: float) -> bool:
        """Whether each saw the other all the time."""
        if one == other:
            return True
        return all(
            any(up <= since and until <= down for up, down in self._spans.get(pair, ()))
            for pair in ((one, other), (other, one))
        )


class Judged(NamedTuple):
    """What came of it: what was broken, and how many messages were owed."""

    broken: list[Broken]
    owed: int


def judge_topics(visits: Sequence[Visit], over: float) -> Judged:
    """Each listener has got what it was owed, once, in order, and nothing when it had left.

    Args:
        visits: of all guests.
        over: when the last of them has looked.
    """
    views = Views(visits)
    said = _said(visits)
    broken = [Broken("strange", visit.who, wrong) for visit in visits for wrong in visit.wrong]
    owed = 0
    for visit in visits:
        for hearing in visit.hearings:
            if hearing.topic not in (TALK, FLICKER, CRIES):
                continue
            broken += _disorder(visit, hearing)
            until = min(hearing.until, visit.until, over)
            for by, messages in said[hearing.topic].items():
                missing = _missing(visit, hearing, by, messages, views, until)
                for is_owed, n, why in missing:
                    owed += is_owed
                    if why:
                        broken.append(Broken("lost message", hearing.topic, f"{n} of {by} to {visit.who}: {why}"))
    return Judged(broken, owed)


def _said(visits: Iterable[Visit]) -> dict[str, dict[str, list[Said]]]:
    """What was said on each topic, by whom. Of the cries is known what was heard at home."""
    talk = {f"{visit.who}|{visit.life}": sorted(visit.said) for visit in visits if visit.life}
    cries: dict[str, dict[Said, None]] = {}
    for visit in visits:
        for hearing in visit.hearings:
            if hearing.topic == CRIES:
                for by, heard in hearing.got.items():
                    if _life(by) == visit.life:
                        cries.setdefault(by, {}).update(dict.fromkeys(Said(one.n, one.at) for one in heard))
    return {TALK: talk, FLICKER: talk, CRIES: {by: sorted(messages) for by, messages in cries.items()}}


def _life(by: str) -> str:
    return by.partition("|")[2]


def _disorder(visit: Visit, hearing: Hearing) -> Iterator[Broken]:
    for by, heard in hearing.got.items():
        for before, after in pairwise(heard):
            if after.n <= before.n:
                yield Broken("disorder", hearing.topic, f"{visit.who} heard {after.n} of {by} after {before.n}")


def _missing(
    visit: Visit, hearing: Hearing, by: str, messages: Sequence[Said], views: Views, until: float
) -> Iterator[tuple[bool, int, str]]:
    """For each message: whether it is owed, and what is wrong if it has not come."""
    heard = hearing.got.get(by, [])
    numbers = [one.n for one in heard]
    mine, theirs = visit.life, _life(by)
    for message in messages:
        if message.at < hearing.since:
            continue
        at = bisect_left(numbers, message.n)
        has_come = at < len(numbers) and numbers[at] == message.n
        since = message.at - SETTLED_S
        if at < len(heard) and views.saw(mine, theirs, since, heard[at].at):
            yield True, message.n, "" if has_come else f"{numbers[at]} has come all the same"
        elif message.at + ARRIVES_S <= until and views.saw(mine, theirs, since, message.at + ARRIVES_S):
            yield True, message.n, "" if has_come else "and they were connected all the time"


class Absence(NamedTuple):
    """A boot of a node of which nobody may be shown from some time on."""

    life: str
    place: Place
    since: float
    until: float
    kind: str


def absences(visits: Sequence[Visit], places: Iterable[Place]) -> list[Absence]:
    """The boots that have ended, and those that hung."""
    found: list[Absence] = []
    for place in places:
        lives = {visit.life: visit.since for visit in reversed(visits) if visit.letter == place.letter and visit.life}
        for spans, kind in ((place.ends, "ended"), (place.naps, "hung")):
            for began, ended in spans:
                before = [(since, life) for life, since in lives.items() if since < began]
                if before:
                    since, until = (ended, FOREVER) if kind == "ended" else (began, ended)
                    found.append(Absence(max(before)[1], place, since, until, kind))
    return found


def judge_room(visits: Sequence[Visit], places: Sequence[Place], over: float) -> tuple[list[Broken], dict[str, float]]:
    """Nobody is shown of a node that has ended, or hangs; returns also how long that took at most, by what happened."""
    naps = {place.letter: place.naps for place in places}
    broken: list[Broken] = []
    longest: dict[str, float] = {}
    for absence in absences(visits, places):
        for visit in visits:
            looks = _looks(visit, absence)
            if visit.in_room > absence.since or visit.life == absence.life:
                continue
            if _slept(naps.get(visit.letter, ()), absence.since, looks):
                continue
            until = min(visit.until, absence.until, over)
            if visit.shows(absence.life, absence.since):
                left = [
                    one.at for one in visit.shown if one.at > absence.since and not visit.shows(absence.life, one.at)
                ]
                if left and left[0] < until:
                    longest[absence.kind] = max(longest.get(absence.kind, 0.0), left[0] - absence.since)
            if looks < until and visit.shows(absence.life, looks):
                why = f"{absence.life} has {absence.kind} {looks - absence.since:.1f} s ago, and is shown"
                broken.append(Broken("ghost", visit.who, why))
            if absence.kind == "ended" and any(
                one.life == absence.life and one.is_join and one.at > looks for one in visit.shown
            ):
                broken.append(Broken("ghost", visit.who, f"{absence.life} has ended, and came back"))
    return broken, longest


def _looks(visit: Visit, absence: Absence) -> float:
    """When nobody may be shown any more.

    Who is seen by the word of a third node is shown until that takes it back, or is lost itself: that may happen just
    before it would have done so, and is noticed as late as anything.
    """
    limit = absence.since + GONE_S
    lost = [one.at for one in visit.seen if not one.up and absence.since < one.at < limit + GONE_S]
    return max([limit, *(at + LOST_S for at in lost)])


def _slept(naps: Iterable[tuple[float, float]], since: float, until: float) -> bool:
    """Whether a guest's own node hung at some time, or a second before."""
    return any(began < until and since < ended + 1.0 for began, ended in naps)
