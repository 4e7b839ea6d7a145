"""Records what the real gen_statem does with random programs.

    python -m tests.otp.state_recorder 400 > tests/otp/erlang/gen_statem_traces.json

It needs Erlang (`escript`), the tests do not. Programs that a real clock cannot repeat are left out: those in which
two things are due at once; and those that set a timeout of zero, which is about to come, to a later time: OTP 25 then
forgets whose timer it is, and hands its raw message to the machine. A trace counts when two runs have given it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from tests.otp.state_model import Model
from tests.otp.state_programs import Answer, Draw, Line, Program, Seen, Setting, Trace, trace

FOLDER: Final = Path(__file__).parent / "erlang"
TRACES: Final = FOLDER / "gen_statem_traces.json"
TICK_MS: Final = 20
TICKS: Final = 60
"""How long a run is watched."""
SEED: Final = 35


class Recorded(msgspec.Struct, frozen=True, array_like=True):
    """A program, and what gen_statem has made of it."""

    program: Program
    trace: Trace


class _Run(msgspec.Struct, frozen=True, array_like=True):
    """One line that the Erlang side prints."""

    id: int
    seen: list[tuple[int, str | int, int, int]]
    answers: list[tuple[int, int, int | Literal["down"]]]


def recorded() -> list[Recorded]:
    """The traces of the repository."""
    return msgspec.json.decode(TRACES.read_bytes(), type=list[Recorded])


def repeatable(draw: Draw) -> Iterator[Program]:
    """Programs that a real clock can repeat."""
    number = 0
    while True:
        program = draw.program(number)
        model = Model(program)
        seen = model.run().seen
        if not model.tied and not model.revived and seen[-1].at < TICKS - 5:
            yield program
            number += 1


def record(programs: list[Program]) -> Iterator[Recorded]:
    """Run them on gen_statem until two runs agree."""
    once: dict[int, set[Trace]] = {program.id: set() for program in programs}
    waiting = {program.id: program for program in programs}
    while waiting:
        for number, found in replay(waiting.values()).items():
            if found in once[number]:
                yield Recorded(waiting.pop(number), found)
            once[number].add(found)
        print(f"{len(waiting)} to go", file=sys.stderr)


def replay(programs: Iterable[Program]) -> dict[int, Trace]:
    """Run each of them once on gen_statem."""
    with tempfile.NamedTemporaryFile("w", suffix=".term") as file:
        file.writelines(f"{term(program)}.\n" for program in programs)
        file.flush()
        script = str(FOLDER / "gen_statem_replay.erl")
        done = subprocess.run(["escript", script, file.name, str(TICK_MS)], capture_output=True, check=True)
    runs = [msgspec.json.decode(line, type=_Run) for line in done.stdout.splitlines()]
    return {run.id: _trace(run) for run in runs}


def _trace(run: _Run) -> Trace:
    seen = [Seen(at, str(kind), content, state) for at, kind, content, state in run.seen]
    return trace(seen, [Answer(at, event, value) for at, event, value in run.answers])


def term(program: Program) -> str:
    """The program as an Erlang term."""
    mode = "state_functions" if program.states == "classes" else "handle_event_function"
    first = f"{{{program.first}, {list(program.inserts)}, {_list(map(_setting, program.settings))}}}"
    script = _list(f"{{{moment.at:.0f}, {moment.kind}, {moment.event}}}" for moment in program.script)
    enters = str(program.enters).lower()
    return f"{{{program.id}, {mode}, {enters}, {first}, {_list(map(_line, program.lines))}, {script}, {TICKS}}}"


def _line(line: Line) -> str:
    goes = f"{{next, {line.next}}}" if isinstance(line.next, int) else line.next
    settings = _list(map(_setting, line.settings))
    return f"{{{goes}, {str(line.postpone).lower()}, {list(line.inserts)}, {settings}, {line.reply}}}"


def _setting(setting: Setting) -> str:
    match setting.what:
        case "set" | "abs":
            return f"{{{setting.key}, {setting.what}, {setting.ticks:.0f}, {setting.content}}}"
        case "cancel":
            return f"{{{setting.key}, cancel}}"
        case "update":
            return f"{{{setting.key}, update, {setting.content}}}"


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"


def main() -> None:
    """Record as many traces as the first argument says."""
    programs = repeatable(Draw(SEED, grid=True))
    found = sorted(record([next(programs) for _ in range(int(sys.argv[1]))]), key=lambda one: one.program.id)
    lines = b",\n".join(msgspec.json.encode(one) for one in found)
    sys.stdout.buffer.write(b"[" + lines + b"]\n")


if __name__ == "__main__":
    main()
