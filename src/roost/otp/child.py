"""How a supervisor starts, restarts and stops one child, and what it tells about its children."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Literal, get_args

import msgspec

from roost.core.supervision import Restart as Restart
from roost.errors import ConfigError
from roost.limits import SHUTDOWN_S

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from roost.otp.gen_server import GenServer

    ServerT_co = TypeVar("ServerT_co", bound=GenServer, covariant=True, default=GenServer)
else:
    from typing import TypeVar

    ServerT_co = TypeVar("ServerT_co", covariant=True)

Kind = Literal["worker", "supervisor"]
"""What a child is; only reports make a difference."""

_RESTARTS: Final = get_args(Restart)


@dataclass(frozen=True, slots=True)
class Child(Generic[ServerT_co]):
    """The plan for one child. `Worker.child(...)` makes one; write one yourself for a start of your own.

    Args:
        id: what the supervisor calls it.
        start: starts a linked process and returns its handle. A DynamicSupervisor with extra arguments passes them.
        restart: "permanent" (always), "transient" (only after a crash) or "temporary" (never).
        shutdown_s: seconds that the child may take to stop before it is killed. 0 kills it at once, without
            `terminate`; None waits for ever, which is right for a child that is itself a supervisor.
        significant: whether its end by itself may end its supervisor, as `auto_shutdown` of that says.
        kind: what it counts as.

    Raises:
        ConfigError: when `restart` is another word, when `shutdown_s` is negative, or when a permanent child is
            significant: it never ends for good.
    """

    __sendable__: ClassVar[bool] = True

    id: str
    start: Callable[..., Awaitable[ServerT_co]]
    restart: Restart = "permanent"
    shutdown_s: float | None = SHUTDOWN_S
    significant: bool = False
    kind: Kind = "worker"

    def __post_init__(self) -> None:
        if self.restart not in _RESTARTS:
            raise ConfigError("restart", f"{self.restart!r} is not one of {', '.join(_RESTARTS)}")
        if self.shutdown_s is not None and not self.shutdown_s >= 0:
            raise ConfigError("shutdown_s", f"{self.shutdown_s!r} is not a number of seconds")
        if self.significant and self.restart == "permanent":
            raise ConfigError("significant", f"the child {self.id!r} is permanent: it never ends for good")


class ChildState(msgspec.Struct, frozen=True):
    """One line of `which_children`.

    `process` is None while the child waits for its restart (then `restarting` is true, also for those that wait with
    it), and when it has finished, was terminated, or had nothing to do.
    """

    id: str
    process: GenServer | None
    restart: Restart
    kind: Kind = "worker"
    restarting: bool = False


class ChildCounts(msgspec.Struct, frozen=True):
    """What `count_children` returns.

    `specs` are all children, whether they run or not; `active` those that run; `supervisors` and `workers` are all
    of each kind, whether they run or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int
