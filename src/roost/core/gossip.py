"""Gossip: how every node comes to know the newest cluster, without anybody telling all of them.

Whoever learns something new tells the age of it, and nothing else, to FANOUT others that he picks; whoever hears of
something newer than what he knows asks for it, and becomes one who has learned something new. Beside that every node
tells one other node its age now and then, whatever happens, so that who missed all of it catches up. This is push and
pull of rumours (Demers et al., "Epidemic Algorithms for Replicated Database Maintenance", PODC 1987) with digests in
place of the rumour itself, so that what is known already crosses no link twice.

A change reaches n nodes in about log(n) to the base of FANOUT + 1 rounds; each node says a constant number of words in
each round, whatever n is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

FANOUT: Final = 4
"""How many others hear of something new from each who has learned it."""


def audience(peers: Sequence[str], draw: Callable[[int], int], count: int = FANOUT) -> tuple[str, ...]:
    """Up to `count` of `peers`, each once.

    Args:
        draw: an integer in [0, n) for a given n.
    """
    left = list(peers)
    chosen: list[str] = []
    while left and len(chosen) < count:
        at = draw(len(left))
        left[at], left[-1] = left[-1], left[at]
        chosen.append(left.pop())
    return tuple(chosen)
