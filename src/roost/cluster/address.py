"""The address of a command: a slot, and how its sender sees the vnode there, in one number."""

from __future__ import annotations

from typing import Final

MODE_BITS: Final = 2
MODE_MASK: Final = (1 << MODE_BITS) - 1

PRIMARY: Final = 0
"""The vnode is asked as the holder of its slot; a node that does not hold it passes the command on."""
FALLBACK: Final = 1
"""It is asked in place of the holder, which is down."""
FORWARDED: Final = 2
"""Another node has handed the command on: it is done here, and by whoever takes the slot from here."""
AGAIN: Final = 3
"""It was handed on twice: it is done here, and goes no further, so that two nodes which see different layouts do not
hand it on for ever."""
