"""`@call`, `@cast` and `@info`: what a process answers, declared on its methods.

A declared method is one typed thing with two faces. For the type checker, `handle.increment(2)` is an
`Awaitable[int]` whether the handler is a `def` or an `async def`, and `handle.reset()` of a cast is None. At run
time the class gets a plain function of the same name, which is the fastest way Python has to call a method.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Concatenate, Final, Generic, Never, ParamSpec, TypeVar, get_type_hints, overload
from typing import cast as typed

import msgspec

from roost.errors import BadMessage
from roost.otp.isolation import ATOMS, isolate, isolate_all
from roost.otp.reply import Reply

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Arguments = tuple[tuple[object, ...], dict[str, object]]

# How a mailbox holds a message: always as two entries, the Spec and what belongs to it. Its kind says what that is.
# Two appends are cheaper than a tuple of both, and the garbage collector has nothing to follow.
TOLD: Final = 0
"""A sync cast or info: all arguments of the function, the server first."""
ASKED: Final = 1
"""A sync call: arguments, keyword arguments, who waits, and the list of deadlines it is on."""
ASYNC: Final = 2
"""Anything with an async handler: the same four."""
CONTROL: Final = 3
"""An order to the process itself: the arguments of the order."""


class _Absent:
    """The argument that was not given."""


_ABSENT: Final = _Absent()
_ATOMS_OR_ABSENT: Final = ATOMS | {_Absent}


class Spec:
    """One declared message of a class: its handler and the types of what it takes and gives."""

    __slots__ = ("_decode_reply", "_queued", "_scope", "_signature", "function", "kind", "name", "owner")

    def __init__(self, function: Callable[..., object], kind: int, owner: str, scope: Mapping[str, object]) -> None:
        self.function = function
        self.name = function.__name__
        self.owner = owner
        self.kind = ASYNC if inspect.iscoroutinefunction(function) else kind
        self._scope = scope
        self._queued: Spec | None = None
        self._decode_reply: Callable[[bytes | msgspec.Raw], object] | None = None
        self._signature: tuple[list[type], dict[str, type], type | None, object] | None = None

    def __repr__(self) -> str:
        return f"{self.owner}.{self.name}"

    def argument(self, at: int) -> str:
        """What a positional argument is called in an error; the first is at 0."""
        return f"argument {at + 1} of {self!r}"

    @property
    def queued(self) -> Spec:
        """The same message in the form that also has keyword arguments."""
        if self.kind != TOLD:
            return self
        if self._queued is None:
            self._queued = Spec(self.function, ASKED, self.owner, self._scope)
        return self._queued

    @property
    def returns(self) -> object:
        """The declared type of the reply; `object` when it is not declared.

        Raises:
            NameError: when an annotation names something that does not exist.
        """
        return self._types()[3]

    def convert(
        self,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        hook: Callable[[type, object], object] | None = None,
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Arguments from the network as the handler declares them.

        Args:
            args: what has arrived.
            kwargs: the same.
            hook: makes values of types that only a node can make, such as handles: from the type and what has arrived.

        Raises:
            BadMessage: when there are too many, an unknown one, or one of another type. Too few are found out by
                the call itself.
        """
        positional, named, rest, _ = self._signature or self._types()
        if len(args) > len(positional):
            if rest is None:
                raise BadMessage(f"{self!r} takes {len(positional)} arguments, got {len(args)}")
            positional = positional + [rest] * (len(args) - len(positional))
        try:
            taken: list[object] = []
            for value, kind in zip(args, positional, strict=False):
                taken.append(value if type(value) is kind else msgspec.convert(value, kind, dec_hook=hook))
            if not kwargs:
                return tuple(taken), {}
            return tuple(taken), {
                name: msgspec.convert(value, named[name], dec_hook=hook) for name, value in kwargs.items()
            }
        except msgspec.ValidationError as error:
            raise BadMessage(f"{self!r}: {error}") from error
        except KeyError as error:
            raise BadMessage(f"{self!r} has no argument {error}") from error

    def decode_reply(self, reply: bytes | msgspec.Raw) -> object:
        """A reply from the network as the handler declares it, when there is no handle in it.

        Raises:
            BadMessage: when it is of another type.
        """
        if self._decode_reply is None:
            self._decode_reply = msgspec.msgpack.Decoder(typed("type[object]", self.returns)).decode
        try:
            return self._decode_reply(reply)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the reply of {self!r}: {error}") from error

    def message_type(self) -> type:
        """What an `@info` handler handles: the declared type of its one argument."""
        positional = self._types()[0]
        declared: list[object] = list(positional)
        if len(declared) != 1 or not isinstance(declared[0], type) or declared[0] is object:
            raise TypeError(f"@info {self!r} must take one argument, annotated with the class of the message")
        return declared[0]

    def _types(self) -> tuple[list[type], dict[str, type], type | None, object]:
        if self._signature is None:
            hints = get_type_hints(self.function, localns=dict(self._scope))
            positional: list[type] = []
            named: dict[str, type] = {}
            rest: type | None = None
            for parameter in self._parameters():
                kind = typed("type", hints.get(parameter.name, object))
                if parameter.kind is parameter.VAR_POSITIONAL:
                    rest = kind
                elif parameter.kind is not parameter.VAR_KEYWORD:
                    named[parameter.name] = kind
                    if parameter.kind is not parameter.KEYWORD_ONLY:
                        positional.append(kind)
            self._signature = positional, named, rest, hints.get("return", object)
        return self._signature

    def _parameters(self) -> list[inspect.Parameter]:
        """The parameters that a message fills: all but the process itself."""
        return list(inspect.signature(self.function).parameters.values())[1:]


CallSpec = Spec
"""A declared call or cast, as a table of a class holds it."""


class _Declared:
    """A handler as the class body wrote it, until its class is complete."""

    def __init__(self, function: Callable[..., object], scope: Mapping[str, object] | None = None) -> None:
        self.function = function
        self.scope = _enclosing_names(sys._getframe(2)) if scope is None else scope
        self.__doc__ = function.__doc__

    def compile(self, owner: str) -> tuple[Spec, FunctionType]:
        """The table's entry, and the plain function that replaces the declaration in the class."""
        raise TypeError("only @call, @cast and @info compile")

    def _finish(self, spec: Spec, method: object) -> tuple[Spec, FunctionType]:
        assert isinstance(method, FunctionType)
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(method, name, getattr(self.function, name))
        method.__dict__["__spec__"] = (type(self), spec)
        return spec, method


def _enclosing_names(class_body: FrameType) -> Mapping[str, object]:
    """The local names that annotations of a class inside a function may mean."""
    return {} if class_body.f_back is None else local_names(class_body.f_back)


def local_names(frame: FrameType) -> Mapping[str, object]:
    """What a frame can name besides the globals of its module."""
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


class Call(_Declared, Generic[P, R]):
    """A declared call. `handle.method` of it is a function that returns an awaitable of the reply."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Call[P, R]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> Callable[P, Awaitable[R]]: ...
        def __get__(self, instance: object, owner: type) -> object: ...

    def compile(self, owner: str) -> tuple[Spec, FunctionType]:
        """A function that runs the handler in the caller's turn when it can, else asks through the mailbox."""
        spec = Spec(self.function, ASKED, owner, self.scope)
        return self._finish(spec, _inline_call(spec) if spec.kind == ASKED else _queued_call(spec))


class Cast(_Declared, Generic[P]):
    """A declared cast. `handle.method` of it is a function that returns at once."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Cast[P]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> Callable[P, None]: ...
        def __get__(self, instance: object, owner: type) -> object: ...

    def compile(self, owner: str) -> tuple[Spec, FunctionType]:
        """A function that puts the message into the mailbox."""
        spec = Spec(self.function, TOLD, owner, self.scope)
        return self._finish(spec, _cast(spec))


class Info(_Declared, Generic[R]):
    """A declared handler of messages that arrive by `send`; the annotation of its argument chooses it."""

    def compile(self, owner: str) -> tuple[Spec, FunctionType]:
        """The handler itself: nobody calls it by name."""
        spec = Spec(self.function, TOLD, owner, self.scope)
        assert isinstance(self.function, FunctionType)
        return self._finish(spec, self.function)


@overload
def call(function: Callable[Concatenate[S, P], Coroutine[object, Never, R]]) -> Call[P, R]: ...
@overload
def call(function: Callable[Concatenate[S, P], R]) -> Call[P, R]: ...
def call(function: Callable[..., object]) -> object:
    """Declare a request with a reply. It runs alone, in the order of the mailbox.

    `await handle.method(...)` gives what the handler returns. It raises what the handler raises when that is a
    `Refusal`; any other exception is a crash of the process, and the caller gets `ProcessDown`. It raises
    `CallTimeout` when there is no reply in time (5 s, or `handle.with_timeout(s)`), `NodeDown` when the node of a
    remote process is lost, `Overloaded` when the mailbox is full, `CallCycle` when the reply would wait for the
    caller, and `NotSendable` for an argument or a reply that cannot cross.
    """
    return Call(function)


def cast(function: Callable[Concatenate[S, P], object]) -> Cast[P]:
    """Declare a message without a reply; the sender goes on at once and hears nothing of a crash.

    `handle.method(...)` raises `Overloaded` when the mailbox is full and `NotSendable` for an argument that cannot
    cross. To a process that has ended it is lost in silence.
    """
    return Cast(function)


def info(function: Callable[[S, R], object]) -> Info[R]:
    """Declare the handler of one class of messages: those that `send`, timers, links and monitors deliver."""
    return Info(function)


def isolate_arguments(
    spec: Spec, args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments as the other process may have them. Raises NotSendable."""
    if kwargs:
        kwargs = {name: isolate(value, f"argument {name!r} of {spec!r}") for name, value in kwargs.items()}
    return isolate_all(args, spec.argument) if args else args, kwargs


def _inline_call(spec: Spec) -> object:
    """The fast path: an idle process serves a sync handler in the turn of its caller. No future, no queue, no task.

    The budget of the scheduler bounds how many such calls run between two turns of the loop. While a handler runs
    the budget reads -1, so whatever it sends is queued: inline calls never nest.
    """
    function, reply_of = spec.function, f"reply of {spec!r}"

    def method(self: GenServer, *args: object, **kwargs: object) -> Awaitable[object]:
        process = self._process
        if process.open:
            scheduler = process.scheduler
            left = scheduler.reductions
            if left > 0:
                try:
                    for value in args:
                        if type(value) not in ATOMS:
                            args, kwargs = isolate_arguments(spec, args, kwargs)
                            break
                    if kwargs:
                        args, kwargs = isolate_arguments(spec, args, kwargs)
                    process.open = False
                    scheduler.reductions = -1
                    scheduler.running = process
                    value = function(process.server, *args, **kwargs)
                    if type(value) not in ATOMS:
                        value = isolate(value, reply_of)
                except BaseException as error:
                    return process.failed_inline(spec, args, kwargs, error, left - 1, self._timeout_s)
                scheduler.reductions = left - 1
                if process.mail:
                    scheduler.ready(process)
                else:
                    process.open = True
                return Reply(value)
        return process.ask(spec, args, kwargs, self._timeout_s)

    return method


def _queued_call(spec: Spec) -> object:
    def method(self: GenServer, *args: object, **kwargs: object) -> Awaitable[object]:
        return self._process.ask(spec, args, kwargs, self._timeout_s)

    return method


def _cast(spec: Spec) -> object:
    """A message of at most one plain argument that joins others in the mailbox costs two appends and nothing else."""

    def method(self: GenServer, first: object = _ABSENT, /, *rest: object, **kwargs: object) -> None:
        process = self._process
        mail = process.mail
        if mail and type(first) in _ATOMS_OR_ABSENT and not rest and not kwargs and len(mail) < process.entries_max:
            mail.append(spec)
            mail.append((process.server,) if first is _ABSENT else (process.server, first))
        else:
            args = () if first is _ABSENT else (first, *rest)
            process.tell(spec, *isolate_arguments(spec, args, kwargs))

    def told_later(self: GenServer, /, *args: object, **kwargs: object) -> None:
        self._process.tell(spec, *isolate_arguments(spec, args, kwargs))

    return method if spec.kind == TOLD else told_later
