"""Transit: what commands to a slot go through while its content moves to other nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from roost.cluster.address import AGAIN, FORWARDED, PRIMARY
from roost.cluster.sender import OnReply, Sender
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.cluster.outgoing import Outgoing
    from roost.cluster.vnode import VnodeHost

Own = Callable[[OnReply], None]
"""Does here what is to be done, and tells what came of it."""


class Transit:
    """A slot of this node with everybody to whom its content is being given.

    Args:
        host: the vnodes of this node.
        slot: the slot.
        node: this node's name.
    """

    # Any: a host of vnodes of whatever class.
    def __init__(self, host: VnodeHost[Any], slot: int, node: str) -> None:
        self.takers: list[Outgoing] = []
        self._host = host
        self._slot = slot
        self._node = node

    @property
    def heir(self) -> Outgoing | None:
        """The transfer to the slot's next holder, if that one's answers count by now."""
        return next((one for one in self.takers if one.moves and one.giving.is_relaying), None)

    def take(self, command: object, sender: Sender, mode: int = PRIMARY) -> None:
        """Handle a command: here, and wherever else the slot is by now."""
        host, onward = self._host, AGAIN if mode == FORWARDED else FORWARDED
        try:
            host.check_room(self._slot)  # what is refused here must not be done elsewhere
            forwarded = host.vnode(self._slot).forwards(command)
        except RoostError as error:
            sender.reply(error)
            return
        except Exception as error:
            sender.reply(host.crashed(self._slot, error))
            return
        heir = self.heir
        if forwarded is not None:
            own = partial(self._apply, command, sender.node)
            self.did(host.encode_command(forwarded), own, sender.reply, onward)
        elif heir is not None:
            heir.relay(host.encode_command(command), sender.reply, onward)
        else:
            host.apply(self._slot, command, sender)

    def did(self, forwarded: bytes, own: Own, on_reply: OnReply, onward: int = FORWARDED) -> None:
        """Hand on a command that is done here.

        Args:
            forwarded: what the takers must do, encoded.
            own: does it here, or tells what came of it; called at once.
            on_reply: told what the next holder says when its answers count, else what came of it here.
            onward: the mode in which it is handed on.
        """
        if not any(one.giving.is_relaying for one in self.takers):
            own(on_reply)
            for one in self.takers:
                one.forward(forwarded, onward)
            return
        replies = _Replies(on_reply)
        own(replies.own)
        heir = self.heir  # None by now when the vnode has crashed on it
        for one in self.takers:
            if one.giving.is_relaying:
                one.relay(forwarded, replies.expected(is_heir=one is heir), onward)
            else:
                one.forward(forwarded, onward)
        replies.all_asked()

    def hand_on(self, items: tuple[tuple[bytes, bytes], ...], on_reply: OnReply) -> None:
        """Items of another node were stored here: the takers need them, too."""
        replies = _Replies(on_reply)
        replies.own(None)
        for one in self.takers:
            if one.giving.is_following or one.giving.is_relaying:
                one.share(items, replies.expected(is_heir=False))
        replies.all_asked()

    def crashed(self, error: RoostError) -> None:
        """The vnode here has crashed, so what it held may be less than what it has said."""
        for one in self.takers:
            one.fail(str(error))

    def _apply(self, command: object, node: str, on_reply: OnReply) -> None:
        self._host.apply(self._slot, command, Sender(node, on_reply))


class _Replies:
    """One reply made of several, once all are there: the heir's, or the own one. An error of the heir at once."""

    __slots__ = ("_has_heir", "_is_told", "_left", "_on_reply", "_reply", "_was_asked")

    def __init__(self, on_reply: OnReply) -> None:
        self._on_reply = on_reply
        self._left = 1
        self._reply: object = None
        self._has_heir = False
        self._is_told = False
        self._was_asked = False

    def own(self, reply: object) -> None:
        """What came of it here."""
        if not self._has_heir:
            self._reply = reply
        self._left -= 1
        self._look()

    def expected(self, *, is_heir: bool) -> OnReply:
        """One more is asked; what is returned is to be told its reply."""
        self._left += 1
        self._has_heir = self._has_heir or is_heir
        return partial(self._heard, is_heir)

    def all_asked(self) -> None:
        """Nobody else will be asked."""
        self._was_asked = True
        self._look()

    def _heard(self, is_heir: bool, reply: object) -> None:
        self._left -= 1
        if is_heir:
            self._reply = reply
            if isinstance(reply, RoostError):
                self._left = 0
        self._look()

    def _look(self) -> None:
        if self._was_asked and self._left <= 0 and not self._is_told:
            self._is_told = True
            self._on_reply(self._reply)
