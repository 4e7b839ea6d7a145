"""The histories that supervision is tested with, as data: a tree of plans, and what is done to it, step by step.

One script is played three times: by the reference model, by Roost, and by OTP itself, whose traces are recorded beside
`erlang/supervisor_record.py`. So everything here is a word or a number, and goes through JSON unchanged.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "dynamic"]
Shutdown = Literal["timed", "endless", "brutal"]
"""How a child is stopped: killed when it takes too long, waited for whatever it takes, or killed at once."""
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Start = Literal["ok", "late", "raise", "stop", "ignore"]
"""What `init` does: succeed, succeed after a while, crash, say no, or ask to be left out."""
Ending = Literal["ok", "late", "raise", "hang"]
"""What `terminate` does: return, return after a while, crash, or take longer than a timed shutdown allows."""


class Worker(msgspec.Struct, tag="worker", omit_defaults=True):
    """The plan of a process without children."""

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    shutdown: Shutdown = "timed"
    traps: bool = True
    starts: list[Start] = []
    """What its first, second, ... start does, whoever starts it; later ones succeed."""
    ending: Ending = "ok"
    named: bool = False
    """Whether it is registered under its id: then no second life can begin before the first has ended."""


class Branch(msgspec.Struct, tag="branch", omit_defaults=True):
    """The plan of a supervisor. The children of a dynamic one come by steps."""

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    shutdown: Shutdown = "endless"
    strategy: Strategy = "one_for_one"
    max_restarts: int = 1
    within: float = 1000.5
    """The window of `max_restarts`, in the units of `Step.at`. It never ends on a step: its edge is not in question."""
    auto_shutdown: AutoShutdown = "never"
    max_children: int | None = None
    each: Worker | None = None
    """What the children of a dynamic supervisor are like, where all have to be alike: in OTP's simple_one_for_one."""
    children: list[Worker | Branch] = []


Plan: TypeAlias = Worker | Branch

Verb = Literal[
    "crash",  # a handler of the worker raises
    "end",  # the worker ends itself, with the reason `word`
    "signal",  # somebody sends an exit signal with the reason `word`
    "kill",  # the same with the reason that nobody survives
    "stop",  # somebody stops it in an orderly way, with the reason `word`
    "start",  # start_child with `plan`
    "terminate",  # terminate_child of the id `word`
    "restart",  # restart_child of the id `word`
    "delete",  # delete_child of the id `word`
    "leave",  # whoever started the whole tree ends, with the reason `word`
]


class Step(msgspec.Struct, omit_defaults=True):
    """One thing done to the tree, when it is at rest."""

    at: float
    """When, in units; everything that a step sets off is over before half a unit has passed."""
    verb: Verb
    target: str
    """The id of the process that it is done to, in whatever life it has then."""
    word: str = ""
    plan: Worker | Branch | None = None


class Script(msgspec.Struct):
    """A tree that is started, and what happens then."""

    root: Branch
    steps: list[Step]


Event = tuple[str, str, int, str]
"""What happened, to which id, in which of its lives (counted by its starts), and how:

    ("start", id, life, what init does)      a worker's init begins; for a supervisor the last word is ""
    ("failed", id, life, "")                 a supervisor has not started
    ("terminate", id, life, reason)          a worker's terminate begins
    ("end", id, life, reason)                a process has ended
    ("reply", verb, 0, outcome)              the answer to a step
"""
