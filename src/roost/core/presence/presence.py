"""A presence, and the shape in which clients are told of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class Origin(NamedTuple):
    """One boot of one node: who writes presences."""

    node: str
    incarnation: int


class Presence(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Someone, under a topic.

    `dot` is the number of the event that has added it; `ref` is as new as that. `meta` is a JSON object, encoded, with
    `phx_ref` in it, and `phx_ref_prev` after an update.
    """

    dot: int
    topic: str
    key: str
    ref: str
    meta: bytes


Metas = dict[str, dict[str, list[msgspec.Raw]]]


def by_key(presences: Iterable[Presence]) -> Metas:
    """The shape in which Phoenix clients expect presences: `{key: {"metas": [...]}}`, ready to be encoded as JSON."""
    grouped: Metas = {}
    for presence in presences:
        entry = grouped.get(presence.key)
        if entry is None:
            grouped[presence.key] = {"metas": [msgspec.Raw(presence.meta)]}
        else:
            entry["metas"].append(msgspec.Raw(presence.meta))
    return grouped
