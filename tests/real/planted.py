"""The shop with a fault in Roost itself, chosen by ROOST_PLANTED, to see that the judges find it.

Each fault is one that a storage engine, or a handoff, is prone to. The application is otherwise the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from roost.cluster.node import Node
from roost.cluster.outgoing import Outgoing
from roost.data.storage import Committer, OnDurable, Storage, _Commit
from roost.otp import send
from tests.real.shop import app

__all__ = ["app"]

VARIABLE: Final = "ROOST_PLANTED"
LATER_S: Final = 1.0


def acknowledge_before_storing() -> None:
    """A write counts as durable at once, and the disk gets it a second later."""

    def when_durable(self: Storage, on_durable: OnDurable) -> None:
        on_durable(None)

    def commit_soon(self: Storage) -> None:
        if not self._is_committing and self._committer is not None:
            self._is_committing = True
            Node.current().runtime.clock.call_later(LATER_S, partial(_commit, self._committer))

    def _commit(committer: Committer) -> None:
        send(committer, _Commit())

    Storage.when_durable = when_durable  # type: ignore[method-assign]  # this is the fault
    Storage._commit_soon = commit_soon  # type: ignore[method-assign]  # this is the fault


def forget_before_it_is_acknowledged() -> None:
    """What is handed off is forgotten as soon as it is offered."""
    begin = Outgoing.begin

    def begin_and_forget(self: Outgoing) -> None:
        vnode = self._vnode()
        vnode.forget([(key, item) for key in vnode.held() if (item := vnode.item(key)) is not None])
        begin(self)

    Outgoing.begin = begin_and_forget  # type: ignore[method-assign]  # this is the fault


FAULTS: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {"acknowledge": acknowledge_before_storing, "forget": forget_before_it_is_acknowledged}
)
"""Every fault by name."""

PLANTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "acknowledge": ("--kinds=blackout", "--faults=1", "--changes=0"),
        "forget": ("--kinds=kill,cut off", "--faults=2", "--changes=2"),
    }
)
"""How to run each so that it shows."""

if VARIABLE in os.environ:
    FAULTS[os.environ[VARIABLE]]()
