"""Every exception Roost raises, on one page.

    RoostError
    ├── Refusal                 the caller asked for something that is not allowed; the process lives on
    │   ├── NotSendable         a value that cannot cross between processes
    │   ├── InvalidQuorum       n, r or w that cannot be satisfied by this cluster
    │   ├── NameTaken           a second process under a registered name
    │   ├── NoSuchProcess       nothing runs under that name
    │   ├── NotLocal            a process of another node, where only one of this node will do
    │   ├── ChildNotStarted     a child that a supervisor was asked to start, and that did not
    │   ├── NoSuchHandler       an event handler that the manager does not have
    │   ├── HandlerFailed       an event handler that failed when it was added, asked or deleted
    │   ├── ChildNotStopped     a child that must not run, or wait for its restart, for what a supervisor was asked
    │   ├── ChildExists         a second child under the id of another
    │   ├── NoSuchChild         a child that a supervisor does not have
    │   ├── TooManyChildren     one more child than a supervisor may have
    │   ├── StartIgnored        a process whose init said that there is nothing to do
    │   ├── UpgradeFailed       new code that could not be put under its processes; the old code runs on
    │   ├── CallCycle           a call that would wait for itself
    │   ├── NotOwner            a task that somebody else has started
    │   ├── BadMessage          bytes or a value that no declared message describes
    │   ├── BadFunction         a function that is no use where it was given
    │   ├── TooLarge            something over a limit of roost.limits
    │   ├── Conflict            a key with concurrent values and no merge function
    │   ├── HandshakeRefused    a node, or a console, that may not join this cluster
    │   └── ConfigError         a setting that makes no sense; says which
    ├── Unavailable             the world failed; a retry may help
    │   ├── CallTimeout         no reply within the timeout; the call may have happened
    │   ├── DeadlineExceeded    a quorum did not answer in time; the write may have happened
    │   ├── ProcessDown         the process ended before it replied
    │   ├── StartFailed         a process whose init raised
    │   ├── CpuFailed           a function that raised in its worker process
    │   ├── WorkerLost          a worker process that ended while it ran a function
    │   ├── NodeDown            the node left while, or before, it was asked
    │   ├── NoQuorum            fewer replicas answered than were needed
    │   ├── StorageFailed       the disk refused a write; it is in memory, and will be tried again
    │   └── Overloaded          a bounded queue is full; says when to come back
    ├── FlowFailed              a flow one of whose functions raised; says which, and for which element
    ├── StageFailed             a stage whose handler of events raised a refusal, which nobody could take
    ├── BadTransition           a state machine that wants what its rules forbid; the process crashes
    ├── InvariantViolated       a bug in Roost
    └── SimulationError         a run of roost.sim that proves nothing
        ├── SimulationStuck     every task waits for another, or the virtual time is up
        ├── SimulationLeak      code went around the seams, to a real clock or to real randomness
        ├── SimulationUnclean   callbacks or tasks failed unseen, or would not end
        └── NodeCrashed         the simulated node died while it served this request

A leaf carries its facts as attributes and renders them in ``__str__``. `code` is its name on the wire and in
JSON. Only declared errors cross between nodes: their arguments travel, never a class name to look up.
"""

from __future__ import annotations

from typing import ClassVar


class RoostError(Exception):
    """The root of every exception of Roost."""

    code: ClassVar[str] = "roost_error"

    def facts(self) -> dict[str, object]:
        """The attributes of this error by name: what JSON bodies and logs show beside the sentence."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Refusal(RoostError):
    """The caller's mistake, or a plain "no" of the application.

    A handler that raises a Refusal answers its caller with it and keeps its process alive; any other
    exception in a handler is a crash. Applications subclass it for their own refusals::

        class SoldOut(Refusal):
            def __init__(self, key: str, available: int) -> None:
                super().__init__(key, available)
                self.key, self.available = key, available
    """

    code: ClassVar[str] = "refusal"


class Unavailable(RoostError):
    """The world failed: a retry may help."""

    code: ClassVar[str] = "unavailable"


class InvariantViolated(RoostError):
    """A bug in Roost: something that cannot happen has happened."""

    code: ClassVar[str] = "invariant_violated"


class FlowFailed(RoostError):
    """A function of a flow raised; its `__cause__` is what it raised. `element` is shown, and cut when it is long."""

    code: ClassVar[str] = "flow_failed"

    def __init__(self, step: str, element: str, reason: str) -> None:
        super().__init__(step, element, reason)
        self.step, self.element, self.reason = step, element, reason

    def __str__(self) -> str:
        return f"{self.step} failed for {self.element}: {self.reason}"


class StageFailed(RoostError):
    """A handler of a stage refused its events. Nobody has called, so nobody can be refused: the stage crashes."""

    code: ClassVar[str] = "stage_failed"

    def __init__(self, stage: str, handler: str, reason: str) -> None:
        super().__init__(stage, handler, reason)
        self.stage, self.handler, self.reason = stage, handler, reason

    def __str__(self) -> str:
        return f"{self.handler} of {self.stage} failed: {self.reason}"


class BadTransition(RoostError):
    """A handler of a state machine wants something that makes no sense there, such as another state in an enter call.

    It is a mistake in the class, so it is no refusal: the process crashes.
    """

    code: ClassVar[str] = "bad_transition"

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(state, reason)
        self.state, self.reason = state, reason

    def __str__(self) -> str:
        return f"in state {self.state}: {self.reason}"


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
    """n, r or w that no cluster, or not this one, can satisfy."""

    code: ClassVar[str] = "invalid_quorum"

    def __init__(self, parameter: str, value: int, reason: str) -> None:
        super().__init__(parameter, value, reason)
        self.parameter, self.value, self.reason = parameter, value, reason

    def __str__(self) -> str:
        return f"{self.parameter}={self.value} is not possible: {self.reason}"


class NameTaken(Refusal):
    """A live process already holds this name on this node."""

    code: ClassVar[str] = "name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"the name {self.name!r} belongs to a live process on this node"


class NoSuchProcess(Refusal):
    """No live process under this name."""

    code: ClassVar[str] = "no_such_process"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no process is registered as {self.name!r}"


class NotLocal(Refusal):
    """A process of another node was given to something that looks into processes of this node."""

    code: ClassVar[str] = "not_local"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"{self.target} is on another node: ask there, or with roost process-info --node"


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


class SimulationError(RoostError):
    """A simulated run that proves nothing: see `roost.sim`."""

    code: ClassVar[str] = "simulation"


class SimulationStuck(SimulationError):
    """The virtual world cannot go on."""

    code: ClassVar[str] = "simulation_stuck"

    def __init__(self, at_s: float, reason: str) -> None:
        super().__init__(at_s, reason)
        self.at_s, self.reason = at_s, reason

    def __str__(self) -> str:
        return f"the simulation is stuck at {self.at_s:g} virtual seconds: {self.reason}"


class SimulationLeak(SimulationError):
    """A module reached a real clock, or real randomness, that no seed decides."""

    code: ClassVar[str] = "simulation_leak"

    def __init__(self, door: str, module: str) -> None:
        super().__init__(door, module)
        self.door, self.module = door, module

    def __str__(self) -> str:
        return f"{self.module} called {self.door} in a simulation: go through the node's Runtime"


class SimulationUnclean(SimulationError):
    """The story ended well, but something failed where nobody looked."""

    code: ClassVar[str] = "simulation_unclean"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "unnoticed failures in the simulation: " + "; ".join(self.problems)


class NodeCrashed(SimulationError):
    """The simulated node died while it served this request: whether it took effect is unknown."""

    code: ClassVar[str] = "node_crashed"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} crashed while it served the request"
