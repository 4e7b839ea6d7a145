"""Handles of processes on other nodes: the same methods, sent over the links of the cluster."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from roost.errors import CallTimeout, NodeDown, NotSendable
from roost.limits import CALL_TIMEOUT_S
from roost.otp.declare import isolate_arguments
from roost.otp.face import is_face
from roost.otp.handle import build, derive, private_members
from roost.otp.isolation import ATOMS
from roost.otp.reply import Failed
from roost.otp.scheduler import Scheduler
from roost.otp.ties import Down
from roost.otp.timers import check_seconds

if TYPE_CHECKING:
    from roost.otp.declare import Spec
    from roost.otp.gen_server import GenServer
    from roost.otp.process import Process
    from roost.otp.ties import Monitor, Reason

ServerT = TypeVar("ServerT", bound="GenServer")


class Transport(Protocol):
    """The way to processes on other nodes. The scheduler of a node has one."""

    def call(
        self,
        target: RemoteProcess,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
    ) -> Awaitable[object]:
        """Ask; the awaitable gives the reply as `spec` declares it.

        It raises CallTimeout, NodeDown, NoSuchProcess, ProcessDown, Overloaded, or the refusal of the handler.
        """

    def cast(self, target: RemoteProcess, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Tell; raises NodeDown or Overloaded."""

    def watch(
        self, target: RemoteProcess, handle: GenServer, watcher: Process | None, deliver: Callable[[Down], None]
    ) -> Monitor:
        """Call `deliver` once when it ends, or is not there, or its node is lost. Raises Overloaded."""

    def link(self, target: RemoteProcess, handle: GenServer, process: Process) -> None:
        """Tie the ends of `process` and of the target together. Raises Overloaded."""

    def unlink(self, target: RemoteProcess, process: Process) -> None:
        """Untie them."""

    def exit(self, target: RemoteProcess, reason: Reason) -> None:
        """Send an exit signal; raises NodeDown."""

    def stop(self, target: RemoteProcess, reason: Reason) -> None:
        """Let it end after the mail that waits; raises NodeDown."""


class RemoteProcess:
    """Whom a remote handle means; it stands where a local handle has its process.

    Attributes:
        kind: the name of its class, for people.
        node: where it is.
        who: its name, or its number.
        incarnation: the boot of its node that a number belongs to; 0 for a name, which lives through boots.
        transport: the way there.
    """

    __slots__ = ("incarnation", "kind", "node", "transport", "who")

    def __init__(self, kind: str, node: str, who: str | int, incarnation: int, transport: Transport) -> None:
        self.kind, self.node, self.who, self.incarnation, self.transport = kind, node, who, incarnation, transport

    def __str__(self) -> str:
        who = f"#{self.who}" if isinstance(self.who, int) else repr(self.who)
        return f"{self.kind} {who} at {self.node}"

    @property
    def key(self) -> tuple[str, int, str | int]:
        """What tells it from others."""
        return self.node, self.incarnation, self.who

    def inform(self, message: object) -> None:
        """Only calls and casts are declared by a class, so only they cross between nodes."""
        raise AttributeError(f"send works on processes of this node only, not on {self}")


def remote_handle(cls: type[ServerT], who: str | int, node: str, transport: Transport, incarnation: int = 0) -> ServerT:
    """A handle of the process of class `cls` under a name, or with a number, on another node.

    Nothing is asked until the first call.
    """
    target = RemoteProcess(cls.__name__, node, who, incarnation, transport)
    return build(_remote_class(cls), target, CALL_TIMEOUT_S)


def target_of(handle: GenServer) -> RemoteProcess | None:
    """Whom a handle means on another node; None for a process of this one."""
    target: object = handle._process
    return target if type(target) is RemoteProcess else None


def _call(spec: Spec) -> Callable[..., Awaitable[object]]:
    def method(self: GenServer, *args: object, **kwargs: object) -> Awaitable[object]:
        target: object = self._process
        assert type(target) is RemoteProcess
        if kwargs or not ATOMS.issuperset(map(type, args)):
            try:
                args, kwargs = isolate_arguments(spec, args, kwargs)
            except NotSendable as error:
                return Failed(error)
        timeout_s = Scheduler.current().patience_s(self._timeout_s)
        return target.transport.call(target, spec, args, kwargs, timeout_s)

    return method


def _cast(spec: Spec) -> Callable[..., None]:
    def method(self: GenServer, *args: object, **kwargs: object) -> None:
        target = _target(self)
        args, kwargs = isolate_arguments(spec, args, kwargs)
        target.transport.cast(target, spec, args, kwargs)

    return method


def _target(handle: GenServer) -> RemoteProcess:
    target: object = handle._process
    assert isinstance(target, RemoteProcess)
    return target


def _with_timeout(self: ServerT, timeout_s: float | None) -> ServerT:
    if timeout_s is not None:
        check_seconds("timeout_s", timeout_s)
    return build(type(self), _target(self), timeout_s)


def _exit(self: GenServer, reason: Reason) -> None:
    """Send an exit signal to the process. Raises NodeDown when its node is not connected."""
    target = _target(self)
    target.transport.exit(target, reason)


def _down(self: GenServer) -> asyncio.Future[Down]:
    """What becomes a `Down` when the process ends; its reason is a NodeDown when its node is lost."""
    target = _target(self)
    future: asyncio.Future[Down] = asyncio.get_running_loop().create_future()

    def deliver(down: Down) -> None:
        if not future.done():
            future.set_result(down)

    monitor = target.transport.watch(target, self, None, deliver)
    future.add_done_callback(lambda _: monitor.cancel())
    return future


async def _stop(self: GenServer, reason: Reason = "normal", timeout_s: float | None = None) -> None:
    """As `GenServer.stop`. Raises NodeDown when its node is, or gets, lost: then it may run on."""
    target = _target(self)
    down = self.down()
    try:
        target.transport.stop(target, reason)
        async with asyncio.timeout(timeout_s):
            ended = await down
    except TimeoutError:
        raise CallTimeout(str(target), timeout_s or 0.0) from None
    finally:
        down.cancel()
    if isinstance(ended.reason, NodeDown):
        raise ended.reason


def _local_only(name: str) -> Callable[..., object]:
    def method(self: GenServer, *args: object, **kwargs: object) -> object:
        raise AttributeError(f"{name} works on processes of this node only, not on {_target(self)}")

    return method


def _set(self: GenServer, name: str, value: object) -> None:
    raise AttributeError(f"{name}: the state of a process is private; change it with a cast")


def _equal(self: GenServer, other: object) -> object:
    if type(other) is not type(self):
        return NotImplemented
    return _target(self).key == _target(other).key


def _hash(self: GenServer) -> int:
    return hash(_target(self).key)


def _show(self: GenServer) -> str:
    return f"<{_target(self)}>"


def _remote_class(cls: type[ServerT]) -> type[ServerT]:
    """The class of remote handles of `cls`; made once, and kept in it."""
    made: type[ServerT] | None = vars(cls).get("__remote__")
    if made is None:
        made = make_remote_class(cls)
        type.__setattr__(cls, "__remote__", made)
    return made


def make_remote_class(cls: type[ServerT]) -> type[ServerT]:
    """The class of remote handles of `cls`, made anew."""
    calls, casts = cls.__calls__, cls.__casts__
    namespace: dict[str, object] = {
        **private_members(cls, frozenset((*calls, *casts))),
        **{name: _call(spec) for name, spec in calls.items()},
        **{name: _cast(spec) for name, spec in casts.items()},
        **{name: _local_only(name) for name in ("is_alive", *_faces(cls))},
        "pid": property(_local_only("pid")),
        "with_timeout": _with_timeout,
        "exit": _exit,
        "down": _down,
        "stop": _stop,
        "__slots__": (),
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__handle_of__": cls,
        "__sendable__": True,
        "__setattr__": _set,
        "__eq__": _equal,
        "__hash__": _hash,
        "__repr__": _show,
    }
    return derive(cls, namespace)


def _faces(cls: type[GenServer]) -> list[str]:
    """What handles of this node have beside the declared messages: it needs the process itself."""
    return [name for name in dir(cls) if is_face(inspect.getattr_static(cls, name))]
