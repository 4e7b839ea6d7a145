"""Handles of processes on other nodes: the same methods, sent over the links of the cluster."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from roost.errors import NotSendable
from roost.limits import CALL_TIMEOUT_S
from roost.otp.declare import isolate_arguments
from roost.otp.face import is_face
from roost.otp.handle import build, derive, private_members
from roost.otp.isolation import ATOMS
from roost.otp.reply import Failed
from roost.otp.scheduler import Scheduler
from roost.otp.timers import check_seconds

if TYPE_CHECKING:
    from roost.otp.declare import Spec
    from roost.otp.gen_server import GenServer

ServerT = TypeVar("ServerT", bound="GenServer")


class Transport(Protocol):
    """The way to processes on other nodes. The scheduler of a node has one."""

    def call(
        self,
        node: str,
        name: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
        spec: Spec,
    ) -> Awaitable[object]:
        """Ask; the awaitable gives the reply as `spec.decode_reply` makes it.

        It raises CallTimeout, NodeDown, NoSuchProcess, ProcessDown, Overloaded, or the refusal of the handler.
        """

    def cast(
        self, node: str, name: str, method: str, args: tuple[object, ...], kwargs: dict[str, object], spec: Spec
    ) -> None:
        """Tell; raises NodeDown or Overloaded."""


class _Target:
    """Whom a remote handle means; it stands where a local handle has its process."""

    __slots__ = ("kind", "name", "node", "transport")

    def __init__(self, kind: str, name: str, node: str, transport: Transport) -> None:
        self.kind, self.name, self.node, self.transport = kind, name, node, transport

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} at {self.node}"

    def inform(self, message: object) -> None:
        """Only calls and casts are declared by a class, so only they cross between nodes."""
        raise AttributeError(f"send works on processes of this node only, not on {self}")


def remote_handle(cls: type[ServerT], name: str, node: str, transport: Transport) -> ServerT:
    """A handle of the process of class `cls` under `name` on another node. Nothing is asked until the first call."""
    return build(_remote_class(cls), _Target(cls.__name__, name, node, transport), CALL_TIMEOUT_S)


def _call(spec: Spec) -> Callable[..., Awaitable[object]]:
    def method(self: GenServer, *args: object, **kwargs: object) -> Awaitable[object]:
        target: object = self._process
        assert type(target) is _Target
        if kwargs or not ATOMS.issuperset(map(type, args)):
            try:
                args, kwargs = isolate_arguments(spec, args, kwargs)
            except NotSendable as error:
                return Failed(error)
        timeout_s = Scheduler.current().patience_s(self._timeout_s)
        return target.transport.call(target.node, target.name, spec.name, args, kwargs, timeout_s, spec)

    return method


def _cast(spec: Spec) -> Callable[..., None]:
    def method(self: GenServer, *args: object, **kwargs: object) -> None:
        target = _target(self)
        args, kwargs = isolate_arguments(spec, args, kwargs)
        target.transport.cast(target.node, target.name, spec.name, args, kwargs, spec)

    return method


def _target(handle: GenServer) -> _Target:
    target: object = handle._process
    assert isinstance(target, _Target)
    return target


def _with_timeout(self: ServerT, timeout_s: float | None) -> ServerT:
    if timeout_s is not None:
        check_seconds("timeout_s", timeout_s)
    return build(type(self), _target(self), timeout_s)


def _local_only(name: str) -> Callable[..., object]:
    def method(self: GenServer, *args: object, **kwargs: object) -> object:
        raise AttributeError(f"{name} works on processes of this node only, not on {_target(self)}")

    return method


def _set(self: GenServer, name: str, value: object) -> None:
    raise AttributeError(f"{name}: the state of a process is private; change it with a cast")


def _equal(self: GenServer, other: object) -> object:
    if type(other) is not type(self):
        return NotImplemented
    mine, theirs = _target(self), _target(other)
    return (mine.node, mine.name) == (theirs.node, theirs.name)


def _hash(self: GenServer) -> int:
    target = _target(self)
    return hash((target.node, target.name))


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
        **{name: _local_only(name) for name in ("is_alive", "exit", "stop", "down", *_faces(cls))},
        "pid": property(_local_only("pid")),
        "with_timeout": _with_timeout,
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
