"""What a client of Phoenix makes of the frames that it hears: phoenix.js in small, and stricter than that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Entries = dict[str, list[dict[str, Any]]]  # the metas of each key; they are JSON


@dataclass(eq=False)
class Joined:
    """One join of a topic.

    Attributes:
        join_ref: the client's reference.
        state: "joining", "joined", "refused" or "ended".
        left: whether the client has asked to leave.
        shown: the presences, once `presence_state` has come.
        early: the diffs that have come before it.
    """

    join_ref: str
    state: str = "joining"
    left: bool = False
    shown: Entries | None = None
    early: list[dict[str, Any]] = field(default_factory=list)


class Listener:
    """One client.

    Args:
        is_old: whether it speaks version 1, where frames do not say which join they are about.

    Attributes:
        is_ending: whether the connection is about to close, so that joins may stay without an answer.
    """

    def __init__(self, is_old: bool) -> None:
        self.transcript: list[object] = []
        self.is_ending = False
        self._is_old = is_old
        self._joins: dict[str, dict[str, Joined]] = {}
        self._last: dict[str, Joined] = {}
        self._asked: dict[str, tuple[str, str, str | None]] = {}
        self._news: dict[tuple[str, str], int] = {}

    # What it says

    def join_ref(self, topic: str) -> str | None:
        """The reference of its last join of a topic."""
        last = self._last.get(topic)
        return None if last is None else last.join_ref

    def says(self, join_ref: str | None, ref: str, topic: str, event: str) -> None:
        self.transcript.append(("says", join_ref, ref, topic, event))
        self._asked[ref] = topic, event, join_ref
        last = self._last.get(topic)
        if event == "phx_join":
            self._last[topic] = self._joins.setdefault(topic, {})[ref] = Joined(ref)
        elif event == "phx_leave" and last is not None and (self._is_old or join_ref in (None, last.join_ref)):
            last.left = True

    # What it hears

    def hears(self, frame: Any) -> None:
        self.transcript.append(("hears", frame))
        if isinstance(frame, dict):
            topic, event, payload, ref = frame["topic"], frame["event"], frame["payload"], frame["ref"]
            join_ref = None
        else:
            join_ref, ref, topic, event, payload = frame
        if event == "phx_reply":
            self._hears_reply(join_ref, ref, topic, payload)
        elif event in ("phx_close", "phx_error"):
            join = self._joins[topic][ref]
            given_up = join.left and event == "phx_close"
            assert join.state == "joined" or (join.state == "joining" and given_up), f"{event} of what is {join.state}"
            join.state = "ended"
            after = self._after(topic, join)
            assert after is None or after.state != "joining" or after.left or self.is_ending, "a close before a reply"
        elif join_ref is not None:
            join = self._joins[topic][join_ref]
            assert join.state == "joined" or (event == "parting" and join.state == "ended"), f"a push to a {join.state}"
            if event == "presence_state":
                self._hears_state(join, payload)
        else:
            self._hears_broadcast(topic, event, payload)

    def _hears_reply(self, join_ref: str | None, ref: str, topic: str, payload: Any) -> None:
        asked_topic, event, said = self._asked.pop(ref)  # a KeyError: answered twice
        assert topic == asked_topic
        if topic == "phoenix":
            return
        if event == "phx_join":
            join = self._joins[topic][ref]
            assert join.state == "joining"
            join.state = "joined" if payload["status"] == "ok" else "refused"
        elif join_ref is not None and event != "phx_leave":
            assert self._joins[topic][join_ref].state == "joined"
            assert said in (None, join_ref)
        elif not self._is_old and said in (joins := self._joins.get(topic, {})) and event != "phx_leave":
            assert joins[said].state in ("refused", "ended"), f"unmatched, though {joins[said].state}"

    def _after(self, topic: str, join: Joined) -> Joined | None:
        """The next join of the topic, if it was replaced by one."""
        joins = list(self._joins[topic].values())
        return next(iter(joins[joins.index(join) + 1 :]), None)

    def _hears_broadcast(self, topic: str, event: str, payload: Any) -> None:
        last = self._last.get(topic)
        open_ = [join for join in self._joins.get(topic, {}).values() if join.state == "joined"]
        assert open_ or (self._is_old and last is not None), "a broadcast on a topic that is not joined"
        if event == "news":
            source = topic, payload["by"]
            assert payload["n"] > self._news.get(source, 0), "news out of order, or twice"
            self._news[source] = payload["n"]
        elif event == "presence_state":
            assert last is not None
            self._hears_state(last, payload)
        elif event == "presence_diff" and last is not None:
            if last.shown is None:
                last.early.append(payload)
            else:
                _sync(last.shown, payload)

    def _hears_state(self, join: Joined, payload: Any) -> None:
        join.shown = {key: list(entry["metas"]) for key, entry in payload.items()}
        for diff in join.early:
            _sync(join.shown, diff)
        join.early = []

    # What it believes in the end

    def joined(self) -> dict[str, str]:
        """The topics it has joined, with the references of their joins."""
        return {topic: join.join_ref for topic, join in self._last.items() if join.state == "joined"}

    def unanswered(self) -> list[object]:
        """Joins and heartbeats without an answer."""
        return [
            ref for ref, (topic, event, _) in self._asked.items() if event == "heartbeat" or self._waits(topic, ref)
        ]

    def _waits(self, topic: str, ref: str) -> bool:
        join = self._joins.get(topic, {}).get(ref)
        return join is not None and join.state == "joining"

    def agrees(self, topic: str, listing: Entries) -> None:
        """Check that it sees the presences of a topic as the server does, if it sees any."""
        last = self._last.get(topic)
        if last is not None and last.state == "joined" and last.shown is not None:
            seen = {key: sorted(meta["phx_ref"] for meta in metas) for key, metas in last.shown.items()}
            assert seen == {key: sorted(meta["phx_ref"] for meta in metas) for key, metas in listing.items()}


def _sync(shown: Entries, diff: dict[str, Any]) -> None:
    """Apply a diff as phoenix.js does: joins first, then leaves, by their references."""
    for key, entry in diff["joins"].items():
        refs = {meta["phx_ref"] for meta in entry["metas"]}
        shown[key] = [meta for meta in shown.get(key, []) if meta["phx_ref"] not in refs] + list(entry["metas"])
    for key, entry in diff["leaves"].items():
        refs = {meta["phx_ref"] for meta in entry["metas"]}
        left = [meta for meta in shown.get(key, []) if meta["phx_ref"] not in refs]
        if left:
            shown[key] = left
        else:
            shown.pop(key, None)
