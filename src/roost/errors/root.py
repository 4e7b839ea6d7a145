"""What every error is: the caller's mistake, a failure of the world, a bug, or a computation that has failed."""

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
