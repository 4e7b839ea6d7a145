"""What clients asked a world for, and what they were told: the evidence that the checkers judge."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.sim.trace import Trace

Outcome = Literal["open", "ok", "fail", "info"]
"""`ok`: acknowledged. `fail`: certainly not done. `info`: nobody knows. `open`: not answered yet."""


class Operation(msgspec.Struct):
    """One request of one client.

    Attributes:
        index: its place in the history.
        client: who asked.
        node: whom.
        kind: "put", "get" or "delete".
        key: of what.
        value: what a put wrote; unique in its history.
        seen: the values that the client knew it was replacing, by its own account and not by the store's.
        began_s: when it asked, in virtual seconds.
        ended_s: when it was told, or None.
        outcome: what it was told.
        got: the values that a get returned.
        note: why it did not succeed, or who acknowledged.
    """

    index: int
    client: str
    node: str
    kind: Literal["put", "get", "delete"]
    key: str
    value: str = ""
    seen: tuple[str, ...] = ()
    began_s: float = 0.0
    ended_s: float | None = None
    outcome: Outcome = "open"
    got: tuple[str, ...] = ()
    note: str = ""


class History:
    """The operations of one world, in the order in which they began.

    Args:
        trace: where each beginning and end is counted in.
    """

    def __init__(self, trace: Trace) -> None:
        self.operations: list[Operation] = []
        self._trace = trace

    def put(self, client: str, node: str, key: str, value: str, seen: tuple[str, ...]) -> Operation:
        """A client begins to write."""
        return self._begin(Operation(len(self.operations), client, node, "put", key, value, seen))

    def delete(self, client: str, node: str, key: str, seen: tuple[str, ...]) -> Operation:
        """A client begins to delete."""
        return self._begin(Operation(len(self.operations), client, node, "delete", key, seen=seen))

    def get(self, client: str, node: str, key: str) -> Operation:
        """A client begins to read."""
        return self._begin(Operation(len(self.operations), client, node, "get", key))

    def end(self, operation: Operation, outcome: Outcome, *, got: tuple[str, ...] = (), note: str = "") -> None:
        """A client is told."""
        operation.outcome, operation.got, operation.note = outcome, got, note
        operation.ended_s = self._trace.now()
        self._trace.add(f"{operation.kind} {outcome}", operation.index, repr(got), note)

    def acknowledged(self) -> list[Operation]:
        """The puts and deletes that their clients may rely on."""
        return [one for one in self.operations if one.outcome == "ok" and one.kind != "get"]

    def lines(self) -> bytes:
        """The history as JSON lines."""
        return b"".join(msgspec.json.encode(operation) + b"\n" for operation in self.operations)

    def _begin(self, operation: Operation) -> Operation:
        operation.began_s = self._trace.now()
        self.operations.append(operation)
        self._trace.add(operation.kind, operation.index, operation.client, operation.node, operation.key)
        return operation


def read_lines(lines: bytes) -> list[Operation]:
    """Read a history back from JSON lines.

    Raises:
        msgspec.DecodeError: when a line is not an operation.
    """
    return [msgspec.json.decode(line, type=Operation) for line in lines.splitlines() if line]
