"""The caller's mistakes, and plain refusals: whoever is asked lives on."""

from __future__ import annotations

from typing import ClassVar

from roost.errors.root import Refusal


class NotSendable(Refusal):
    """A value that cannot cross from one process to another, because both could then change it."""

    code: ClassVar[str] = "not_sendable"

    def __init__(self, type_name: str, where: str) -> None:
        super().__init__(type_name, where)
        self.type_name, self.where = type_name, where

    def __str__(self) -> str:
        return (
            f"a {self.type_name} cannot be sent to another process ({self.where}): send str, int, float, bytes, "
            "bool, None, tuples, lists, dicts and sets of these, handles, or declare a message: "
            "class Name(msgspec.Struct, frozen=True)"
        )


class InvalidQuorum(Refusal):
    """n, r, w or another number of replicas that no cluster, or not this one, can satisfy."""

    code: ClassVar[str] = "invalid_quorum"

    def __init__(self, parameter: str, value: int | str, reason: str) -> None:
        super().__init__(parameter, value, reason)
        self.parameter, self.value, self.reason = parameter, value, reason

    def __str__(self) -> str:
        return f"{self.parameter}={self.value} is not possible: {self.reason}"


class NameTaken(Refusal):
    """A live process already holds this name: on this node, or a cluster-wide one anywhere."""

    code: ClassVar[str] = "name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"the name {self.name!r} belongs to a live process"


class NoSuchProcess(Refusal):
    """No live process under this name, or none of the class that was asked for: then `kind` names it."""

    code: ClassVar[str] = "no_such_process"

    def __init__(self, name: str, kind: str = "process") -> None:
        super().__init__(name, kind)
        self.name, self.kind = name, kind

    def __str__(self) -> str:
        return f"no {self.kind} is registered as {self.name!r}"


class NotLocal(Refusal):
    """A process of another node was given to something that looks into processes of this node."""

    code: ClassVar[str] = "not_local"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"{self.target} is on another node: ask there, or with roost process-info --node"


class NotExported(Refusal):
    """A function that no `@exported` lets other nodes call."""

    code: ClassVar[str] = "not_exported"

    def __init__(self, function: str) -> None:
        super().__init__(function)
        self.function = function

    def __str__(self) -> str:
        return f"{self.function} is not exported: declare it with @exported in a module that every node imports"


class NotDeclared(Refusal):
    """A message for subscribers on all nodes, of a class that no `@pubsub.message` declares."""

    code: ClassVar[str] = "not_declared"

    def __init__(self, type_name: str) -> None:
        super().__init__(type_name)
        self.type_name = type_name

    def __str__(self) -> str:
        return (
            f"a {self.type_name} is no declared message: put @pubsub.message above a class Name(msgspec.Struct, "
            "frozen=True), in a module that every node imports"
        )


class NoSuchDispatcher(Refusal):
    """A name under which no function is registered that hands out messages of topics."""

    code: ClassVar[str] = "no_such_dispatcher"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no dispatcher is called {self.name!r}: register it with pubsub.dispatcher, where every node imports it"


class ChildNotStarted(Refusal):
    """A supervisor was asked to start a child, and the child did not start."""

    code: ClassVar[str] = "child_not_started"

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id, self.reason = id, reason

    def __str__(self) -> str:
        return f"the child {self.id!r} did not start: {self.reason}"


class StartIgnored(Refusal):
    """A process does not run, because its init raised `Ignore`: there is nothing for it to do."""

    code: ClassVar[str] = "start_ignored"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"{self.target} does not run: its init said that there is nothing to do"


class ChildNotStopped(Refusal):
    """A supervisor was asked to restart or to delete a child that runs, or waits for its restart: terminate it first.

    `state` is "running" or "waiting".
    """

    code: ClassVar[str] = "child_not_stopped"

    def __init__(self, id: str, state: str) -> None:
        super().__init__(id, state)
        self.id, self.state = id, state

    def __str__(self) -> str:
        return f"the child {self.id!r} is {self.state}: terminate it first"


class ChildExists(Refusal):
    """A supervisor was asked to start a child under an id that it has given already.

    `state` is what that child does: "running", "waiting" for its restart, or "stopped".
    """

    code: ClassVar[str] = "child_exists"

    def __init__(self, id: str, state: str) -> None:
        super().__init__(id, state)
        self.id, self.state = id, state

    def __str__(self) -> str:
        return f"there is a child {self.id!r} already; it is {self.state}"


class NoSuchChild(Refusal):
    """A supervisor was asked about a child that it does not have."""

    code: ClassVar[str] = "no_such_child"

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"there is no child {self.id!r}"


class TooManyChildren(Refusal):
    """A DynamicSupervisor has as many children as it may have."""

    code: ClassVar[str] = "too_many_children"

    def __init__(self, max_children: int) -> None:
        super().__init__(max_children)
        self.max_children = max_children

    def __str__(self) -> str:
        return f"there are {self.max_children} children, and there may be no more"


class NoSuchHandler(Refusal):
    """The event manager has no handler with this id."""

    code: ClassVar[str] = "no_such_handler"

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"there is no event handler with the id {self.id!r}"


class HandlerFailed(Refusal):
    """An event handler failed in what it was asked for; it is out, or was never in. The manager lives on."""

    code: ClassVar[str] = "handler_failed"

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id, self.reason = id, reason

    def __str__(self) -> str:
        return f"the event handler {self.id!r} failed: {self.reason}"


class UpgradeFailed(Refusal):
    """The new source of a module could not be put under the processes that run it; the old code and states run on.

    `process` is the one that stands in the way, if it is one; `__cause__` is what was raised, if something was.
    """

    code: ClassVar[str] = "upgrade_failed"

    def __init__(self, module: str, process: str | None, reason: str) -> None:
        super().__init__(module, process, reason)
        self.module, self.process, self.reason = module, process, reason

    def __str__(self) -> str:
        where = "" if self.process is None else f" {self.process}:"
        return f"{self.module} was not upgraded:{where} {self.reason}"


class CallCycle(Refusal):
    """A call whose reply would wait for the caller itself; it can never be answered."""

    code: ClassVar[str] = "call_cycle"

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return "a call that waits for itself: " + " -> ".join(self.path)


class NotOwner(Refusal):
    """A task that belongs to somebody else: only who has started it may await or end it."""

    code: ClassVar[str] = "not_owner"

    def __init__(self, task: str, owner: str) -> None:
        super().__init__(task, owner)
        self.task, self.owner = task, owner

    def __str__(self) -> str:
        return f"{self.task} belongs to {self.owner}"


class BadMessage(Refusal):
    """Bytes from the network, or a value, that no declared message describes."""

    code: ClassVar[str] = "bad_message"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a declared message: {self.reason}"


class BadFunction(Refusal):
    """A function that is no use where it was given: it takes other arguments, or returns what makes no sense there."""

    code: ClassVar[str] = "bad_function"

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function, self.reason = function, reason

    def __str__(self) -> str:
        return f"{self.function} {self.reason}"


class TooLarge(Refusal):
    """Something over a limit; `what` names the limit of roost.limits."""

    code: ClassVar[str] = "too_large"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what, self.size, self.limit = what, size, limit

    def __str__(self) -> str:
        return f"{self.what}: {self.size} is over the limit of {self.limit}"


class Conflict(Refusal):
    """Concurrent values under one key, and no merge function to settle them.

    `values` are the siblings; write one value with `context` to settle the conflict.
    """

    code: ClassVar[str] = "conflict"

    def __init__(self, key: str, values: tuple[object, ...], context: str) -> None:
        super().__init__(key, values, context)
        self.key, self.values, self.context = key, values, context

    def __str__(self) -> str:
        return f"{self.key!r} has {len(self.values)} concurrent values: write one with the context to settle it"


class HandshakeRefused(Refusal):
    """The other side may not, or this side would not, open a link."""

    code: ClassVar[str] = "handshake_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the link was refused: {self.reason}"


class ConfigError(Refusal):
    """A setting that makes no sense."""

    code: ClassVar[str] = "config_error"

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(setting, reason)
        self.setting, self.reason = setting, reason

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"
