"""The state of a process: the attributes of its server, read and written as one dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from roost.otp.handle import OWN

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer


def read_state(server: GenServer) -> dict[str, object]:
    """The attributes by name, in the order in which they were first set; those in `__slots__` come last."""
    state = dict(getattr(server, "__dict__", {}))
    for name in _slots(type(server)):
        if hasattr(server, name):
            state[name] = getattr(server, name)
    return state


def write_state(server: GenServer, state: Mapping[str, object]) -> None:
    """Make `state` all that the server has. What is not in it is removed.

    Raises:
        AttributeError: when the class has no place for one of them; the server keeps what it has.
        TypeError: when one of them does not take such a value; as above.
    """
    before = read_state(server)
    try:
        for name, value in state.items():
            object.__setattr__(server, name, value)
    except (AttributeError, TypeError):
        for name in read_state(server):
            if name not in before:
                object.__delattr__(server, name)
        for name, value in before.items():
            object.__setattr__(server, name, value)
        raise
    for name in before:
        if name not in state:
            object.__delattr__(server, name)


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in OWN and name not in ("__dict__", "__weakref__"):
                yield name
