"""Failures of the world: a retry may help."""

from __future__ import annotations

from typing import ClassVar, Final

from roost.errors.root import Unavailable

_QUORUMS: Final = {
    "w": ("replicas", "answered"),
    "r": ("replicas", "answered"),
    "pw": ("primaries", "answered"),
    "pr": ("primaries", "answered"),
    "node_confirms": ("different nodes", "answered"),
    "dw": ("copies on disk", "were made"),
    "votes": ("voters", "answered"),
}
"""What is counted for each parameter of a quorum, and what it did in time."""


class CallTimeout(Unavailable):
    """No reply within the timeout. The call may still happen; a late reply is dropped."""

    code: ClassVar[str] = "call_timeout"

    def __init__(self, target: str, timeout_s: float) -> None:
        super().__init__(target, timeout_s)
        self.target, self.timeout_s = target, timeout_s

    def __str__(self) -> str:
        return f"no reply from {self.target} within {self.timeout_s:g} s"


class DeadlineExceeded(Unavailable):
    """The replicas did not answer in time. A write may still have reached some of them.

    `what` is the parameter that was not met: one of those of NoQuorum.
    """

    code: ClassVar[str] = "deadline"

    def __init__(self, got: int, needed: int, timeout_s: float, what: str = "w") -> None:
        super().__init__(got, needed, timeout_s, what)
        self.got, self.needed, self.timeout_s, self.what = got, needed, timeout_s, what

    def __str__(self) -> str:
        whom, did = _QUORUMS.get(self.what, _QUORUMS["w"])
        return f"{self.got} of the {self.needed} {whom} needed ({self.what}) {did} within {self.timeout_s:g} s"


class ProcessDown(Unavailable):
    """The process ended before it replied; `reason` says why."""

    code: ClassVar[str] = "process_down"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target, self.reason = target, reason

    def __str__(self) -> str:
        return f"{self.target} is down: {self.reason}"


class StartFailed(Unavailable):
    """A process that did not start: its init raised."""

    code: ClassVar[str] = "start_failed"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target, self.reason = target, reason

    def __str__(self) -> str:
        return f"{self.target} did not start: {self.reason}"


class CpuFailed(Unavailable):
    """A function raised an exception in its worker process; `traceback` is the text of where."""

    code: ClassVar[str] = "cpu_failed"

    def __init__(self, target: str, reason: str, traceback: str) -> None:
        super().__init__(target, reason, traceback)
        self.target, self.reason, self.traceback = target, reason, traceback
        self.add_note(f"in a worker process:\n{traceback}")

    def __str__(self) -> str:
        return f"{self.target} failed: {self.reason}"


class WorkerLost(Unavailable):
    """The worker process that ran the function has ended; what the function had done by then is unknown."""

    code: ClassVar[str] = "worker_lost"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target, self.reason = target, reason

    def __str__(self) -> str:
        return f"the worker process that ran {self.target} is lost: {self.reason}"


class NodeDown(Unavailable):
    """The node is not connected, or left before it replied."""

    code: ClassVar[str] = "node_down"

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node, self.reason = node, reason

    def __str__(self) -> str:
        return f"{self.node} is down: {self.reason}"


class NoQuorum(Unavailable):
    """Fewer replicas could answer than were needed. A write may have reached `got` of them, or more.

    `what` is the parameter that cannot be met: "r" or "w" (replicas), "pr" or "pw" (primaries), "node_confirms"
    (different nodes), "dw" (copies on disk), "votes" (nodes that decide on a change of the cluster, or of a name).
    """

    code: ClassVar[str] = "no_quorum"

    def __init__(self, got: int, needed: int, what: str = "w") -> None:
        super().__init__(got, needed, what)
        self.got, self.needed, self.what = got, needed, what

    def __str__(self) -> str:
        whom, _ = _QUORUMS.get(self.what, _QUORUMS["w"])
        could = "could be made" if self.what == "dw" else "could answer"
        return f"{self.got} of the {self.needed} {whom} needed ({self.what}) {could}"


class OutcomeUnknown(Unavailable):
    """A write was handed to `node`, which was lost before it answered: the write may have happened, or may not.

    Read the key before writing again, or write again with the same context.
    """

    code: ClassVar[str] = "outcome_unknown"

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node, self.reason = node, reason

    def __str__(self) -> str:
        return f"{self.node} was lost while it wrote ({self.reason}): the write may have happened"


class StorageFailed(Unavailable):
    """The disk refused a write. The write is in memory, is seen by readers, and will be tried again."""

    code: ClassVar[str] = "storage_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the disk failed: {self.reason}"


class HandoffRefused(Unavailable):
    """A node that does not take a slot now. Its giver keeps everything, and tries again."""

    code: ClassVar[str] = "handoff_refused"

    def __init__(self, node: str, partition: int, index: int, reason: str) -> None:
        super().__init__(node, partition, index, reason)
        self.node, self.partition, self.index, self.reason = node, partition, index, reason

    def __str__(self) -> str:
        return f"{self.node} does not take copy {self.index} of partition {self.partition} now: {self.reason}"


class CoverageFailed(Unavailable):
    """No node could answer for these partitions; everything that the others had to say was given."""

    code: ClassVar[str] = "coverage_failed"

    def __init__(self, partitions: tuple[int, ...], reason: str) -> None:
        super().__init__(partitions, reason)
        self.partitions, self.reason = partitions, reason

    def __str__(self) -> str:
        named = ", ".join(map(str, self.partitions))
        return f"no answer for the partitions {named}: {self.reason}"


class Overloaded(Unavailable):
    """A bounded queue is full; come back after `retry_after_s`."""

    code: ClassVar[str] = "overloaded"

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what, retry_after_s)
        self.what, self.retry_after_s = what, retry_after_s

    def __str__(self) -> str:
        return f"{self.what} is full: retry after {self.retry_after_s:g} s"
