"""Changes of the cluster that are refused: nothing has changed, and the sentence says what to do instead."""

from __future__ import annotations

from typing import ClassVar

from roost.errors.root import Refusal


class ChangeRefused(Refusal):
    """The root of what is refused when an operator changes who belongs to the cluster."""

    code: ClassVar[str] = "change_refused"


class NotMember(ChangeRefused):
    """A node that does not belong to the cluster."""

    code: ClassVar[str] = "not_member"

    def __init__(self, node: str, cluster: str) -> None:
        super().__init__(node, cluster)
        self.node, self.cluster = node, cluster

    def __str__(self) -> str:
        return f"{self.node} is no member of the cluster {self.cluster}: roost member-status lists them"


class AlreadyMember(ChangeRefused):
    """A node that belongs to the cluster already, or another one of the same name does."""

    code: ClassVar[str] = "already_member"

    def __init__(self, node: str, status: str) -> None:
        super().__init__(node, status)
        self.node, self.status = node, status

    def __str__(self) -> str:
        return f"{self.node} is a member of the cluster already, with the status {self.status}"


class OnlyMember(ChangeRefused):
    """The last node that owns anything cannot go."""

    code: ClassVar[str] = "only_member"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} would leave nobody behind that keeps the data: let another node join first"


class AlreadyLeaving(ChangeRefused):
    """A node that goes already."""

    code: ClassVar[str] = "already_leaving"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} is leaving already: roost transfers shows what it still has to give"


class AlreadyStaged(ChangeRefused):
    """A node for which another change is staged."""

    code: ClassVar[str] = "already_staged"

    def __init__(self, node: str, action: str) -> None:
        super().__init__(node, action)
        self.node, self.action = node, action

    def __str__(self) -> str:
        return f"{self.action} is staged for {self.node} already: commit it, or take it back with roost cluster clear"


class IsClaimant(ChangeRefused):
    """The claimant cannot be removed by force while it drives the changes of the cluster."""

    code: ClassVar[str] = "is_claimant"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return (
            f"{self.node} is the claimant: stop it first, and another node succeeds it within seconds; "
            "or let it leave in good order"
        )


class HasNoVote(ChangeRefused):
    """A node whose word the cluster does not wait for, so that it makes no difference that it is dead."""

    code: ClassVar[str] = "no_vote"

    def __init__(self, node: str, status: str) -> None:
        super().__init__(node, status)
        self.node, self.status = node, status

    def __str__(self) -> str:
        what = (
            "take its join back with roost cluster clear"
            if self.status == "joining"
            else ("remove it with roost cluster force-remove, if it does not come back")
        )
        return f"{self.node} is {self.status} and has no vote, so nothing waits for it to be marked as down: {what}"


class InvalidReplacement(ChangeRefused):
    """The node that should take the place of another is none that has just joined."""

    code: ClassVar[str] = "invalid_replacement"

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node, self.reason = node, reason

    def __str__(self) -> str:
        return f"{self.node} cannot replace another node: {self.reason}; stage its join, and nothing else, first"


class NotReachable(ChangeRefused):
    """A node that does not answer, or does not let this one in."""

    code: ClassVar[str] = "not_reachable"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address, self.reason = address, reason

    def __str__(self) -> str:
        return f"no Roost node can be reached at {self.address}: {self.reason}"


class NotSingleNode(ChangeRefused):
    """A node that belongs to a cluster with others cannot join a second one."""

    code: ClassVar[str] = "not_single_node"

    def __init__(self, node: str, members: int) -> None:
        super().__init__(node, members)
        self.node, self.members = node, members

    def __str__(self) -> str:
        return f"{self.node} belongs to a cluster of {self.members} nodes: let it leave that one first"


class DifferentRingSizes(ChangeRefused):
    """A cluster whose ring has another number of partitions."""

    code: ClassVar[str] = "different_ring_sizes"

    def __init__(self, node: str, its_size: int, size: int) -> None:
        super().__init__(node, its_size, size)
        self.node, self.its_size, self.size = node, its_size, size

    def __str__(self) -> str:
        return (
            f"{self.node} has a ring of {self.its_size} partitions, the cluster one of {self.size}: "
            f"start it with ROOST_RING_SIZE={self.size} and an empty data folder"
        )


class SelfJoin(ChangeRefused):
    """A node was told to join itself."""

    code: ClassVar[str] = "self_join"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} cannot join itself: name the address of another node"


class NodeIsUp(ChangeRefused):
    """A node that can be reached cannot be marked as down."""

    code: ClassVar[str] = "is_up"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} is up: stop it first, or let it leave"


class NothingPlanned(ChangeRefused):
    """A commit without a plan that somebody has looked at."""

    code: ClassVar[str] = "nothing_planned"

    def __init__(self, staged: int) -> None:
        super().__init__(staged)
        self.staged = staged

    def __str__(self) -> str:
        if not self.staged:
            return "there are no staged changes: stage some with roost cluster join, leave, replace or force-remove"
        return "nobody has looked at the plan of the staged changes: see it with roost cluster plan first"


class PlanChanged(ChangeRefused):
    """What would be committed is not what was planned any more."""

    code: ClassVar[str] = "plan_changed"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "the cluster has changed since the plan was made: look at it again with roost cluster plan"


class ChangeFailed(ChangeRefused):
    """The voters could not be asked, or did not agree in time. What was asked for may still come to pass."""

    code: ClassVar[str] = "change_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the cluster could not agree on the change, which may still come to pass: {self.reason}"


class TransfersPending(ChangeRefused):
    """Too many changes are under way at the same time."""

    code: ClassVar[str] = "transfers_pending"

    def __init__(self, rings: int, limit: int) -> None:
        super().__init__(rings, limit)
        self.rings, self.limit = rings, limit

    def __str__(self) -> str:
        return (
            f"{self.rings} changes are under way, and there may be {self.limit}: wait until some of their transfers "
            "have finished, as roost transfers shows; a node that they wait for in vain can be removed by force"
        )
