"""Failures of the world: a retry may help."""

from __future__ import annotations

from typing import ClassVar

from roost.errors.root import Unavailable


class CallTimeout(Unavailable):
    """No reply within the timeout. The call may still happen; a late reply is dropped."""

    code: ClassVar[str] = "call_timeout"

    def __init__(self, target: str, timeout_s: float) -> None:
        super().__init__(target, timeout_s)
        self.target, self.timeout_s = target, timeout_s

    def __str__(self) -> str:
        return f"no reply from {self.target} within {self.timeout_s:g} s"


class DeadlineExceeded(Unavailable):
    """The replicas did not answer in time. A write may still have reached some of them."""

    code: ClassVar[str] = "deadline"

    def __init__(self, got: int, needed: int, timeout_s: float) -> None:
        super().__init__(got, needed, timeout_s)
        self.got, self.needed, self.timeout_s = got, needed, timeout_s

    def __str__(self) -> str:
        return f"{self.got} of {self.needed} replicas answered within {self.timeout_s:g} s"


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
    """Fewer replicas could answer than were needed. A write may have reached `got` of them."""

    code: ClassVar[str] = "no_quorum"

    def __init__(self, got: int, needed: int) -> None:
        super().__init__(got, needed)
        self.got, self.needed = got, needed

    def __str__(self) -> str:
        return f"{self.got} of the {self.needed} replicas needed could answer"


class StorageFailed(Unavailable):
    """The disk refused a write. The write is in memory, is seen by readers, and will be tried again."""

    code: ClassVar[str] = "storage_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the disk failed: {self.reason}"


class Overloaded(Unavailable):
    """A bounded queue is full; come back after `retry_after_s`."""

    code: ClassVar[str] = "overloaded"

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what, retry_after_s)
        self.what, self.retry_after_s = what, retry_after_s

    def __str__(self) -> str:
        return f"{self.what} is full: retry after {self.retry_after_s:g} s"
