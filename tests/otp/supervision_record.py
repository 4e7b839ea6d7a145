"""Records what OTP's own supervisor does with some hundreds of drawn scripts.

    python -m tests.otp.supervision_record

needs Erlang (`escript`) and writes `erlang/supervisor_traces.json`, which the tests read. They need no Erlang.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from tests.otp.supervision_draw import Draw
from tests.otp.supervision_model import Model, Shape, Told
from tests.otp.supervision_script import Event, Script

HERE: Final = Path(__file__).parent / "erlang"
TRACES: Final = HERE / "supervisor_traces.json"
SCRIPTS: Final = 500
LENGTH_MIN: Final = 2
"""Shorter scripts tell nothing new."""


class Played(msgspec.Struct):
    """What OTP has done: the events of the start and of each step, and the tree before the last step, which ends it."""

    trace: list[list[str]]
    shape: Shape


class Recorded(msgspec.Struct):
    """A script and what OTP has done with it."""

    script: Script
    played: Played

    def events(self) -> list[list[Event]]:
        """The trace as the model and the grove tell it."""
        return [[parse(text) for text in told] for told in self.played.trace]


def parse(text: str) -> Event:
    """An event from its line."""
    verb, id, life, how = text.split(" ")
    return verb, id, int(life), how


def load() -> list[Recorded]:
    """What was recorded."""
    return msgspec.json.decode(TRACES.read_bytes(), type=list[Recorded])


def main() -> None:
    """Play the scripts on OTP and keep what it did."""
    scripts: list[Script] = []
    seed = 0
    while len(scripts) < SCRIPTS:
        script = Draw(seed, original=True).script()[0]
        seed += 1
        if len(script.steps) >= LENGTH_MIN:
            scripts.append(script)
    with tempfile.NamedTemporaryFile("w", suffix=".terms") as file:
        file.writelines(term(msgspec.to_builtins(script)) + ".\n" for script in scripts)
        file.flush()
        command = ["escript", str(HERE / "supervisor_play.escript"), file.name]
        output = subprocess.run(command, check=True, capture_output=True).stdout
    played = msgspec.json.decode(output, type=list[Played])
    recorded = [Recorded(script, one) for script, one in zip(scripts, played, strict=True)]
    lines = b",\n".join(msgspec.json.encode(one) for one in recorded)
    TRACES.write_bytes(b"[\n" + lines + b"\n]\n")
    print(f"{len(recorded)} scripts, {TRACES.stat().st_size} bytes", file=sys.stderr)
    for number, one in enumerate(recorded):
        problem = disagreement(one)
        if problem is not None:
            print(f"script {number}: {problem}", file=sys.stderr)


def expected(script: Script, *, leaves_orphans: bool) -> tuple[list[Told], Shape]:
    """What the model says: what each step leads to, and the tree before the last step, which ends it."""
    model = Model(script.root, leaves_orphans=leaves_orphans)
    told, shape = [model.boot()], model.shape()
    for step in script.steps:
        shape = model.shape()
        told.append(model.step(step))
    return told, shape


def disagreement(recorded: Recorded) -> str | None:
    """Where the model tells another story than OTP; None when it tells the same."""
    told, shape = expected(recorded.script, leaves_orphans=True)
    for number, (one, seen) in enumerate(zip(told, recorded.events(), strict=True)):
        problem = one.differs(seen)
        if problem is not None:
            return f"step {number}: {problem}"
    return None if shape == recorded.played.shape else f"the tree before the last step: {shape}"


def term(value: object) -> str:
    """A value of JSON as Erlang spells it."""
    match value:
        case dict():
            return "#{" + ",".join(f"{term(key)} => {term(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(term, value)) + "]"
        case bool():
            return str(value).lower()
        case str():
            return f'<<"{value}">>'
        case _:
            return repr(value)


if __name__ == "__main__":
    main()
