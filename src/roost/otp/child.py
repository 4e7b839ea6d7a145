"""How a supervisor starts, restarts and stops one child."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, get_args

from roost.errors import ConfigError
from roost.limits import SHUTDOWN_S

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer

Restart = Literal["permanent", "transient", "temporary"]
"""When a child that ended is started again: always, only after a crash, never."""
_RESTARTS: Final = get_args(Restart)


@dataclass(frozen=True, slots=True)
class Child:
    """The plan for one child.

    `start` must start a linked process and return its handle. `shutdown_s` is how long the child may take to stop
    before it is killed; None waits for ever, which is right for a child that is itself a supervisor.

    Raises:
        ConfigError: when `restart` is another word.
    """

    __sendable__: ClassVar[bool] = True

    id: str
    start: Callable[[], Awaitable[GenServer]]
    restart: Restart = "permanent"
    shutdown_s: float | None = SHUTDOWN_S

    def __post_init__(self) -> None:
        if self.restart not in _RESTARTS:
            raise ConfigError("restart", f"{self.restart!r} is not one of {', '.join(_RESTARTS)}")
