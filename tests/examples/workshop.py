"""Follows docs/workshop.md: types what is typed there, and compares what it prints with what is printed there.

Ports, process numbers and contexts are others each time. They are learned from the places where the page and the
cluster tell them, and put in wherever the page uses them again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.cluster import ROW, Cluster
from tests.examples.stage import ROOT, newcomer, wait_until

PAGE: Final = ROOT / "docs" / "workshop.md"
BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST_PORT: Final = 4000
PORT: Final = re.compile(r"(?<=localhost:|127\.0\.0\.1:)4[01]\d\d\b")
CONTEXT: Final = re.compile(r'(?<="context":")[^"]+')
VARYING: Final = re.compile(r"\d+|[a-z](?=@)")
"""In the answers to /ping, which goes anywhere."""


class Step(NamedTuple):
    """One command of the page, and what it prints."""

    command: str
    printed: str


def steps(exercise: int) -> Iterator[Step]:
    """What is typed in one exercise."""
    [section] = re.findall(rf"^## Exercise {exercise}:.*?(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for block in BLOCK.findall(section):
        for step in block.removeprefix("$ ").split("\n$ "):
            command, _, printed = step.partition("\n")
            yield Step(command, printed)


def follow(exercise: int, name: str, cluster: Cluster) -> None:
    """Follow an exercise with a cluster that has just been started."""
    with ExitStack() as started:
        visit = _Visit(name, cluster, started)
        for step in steps(exercise):
            visit.take(step)


class _Visit:
    """What is known so far of what the page calls otherwise."""

    def __init__(self, name: str, cluster: Cluster, started: ExitStack) -> None:
        self._name = name
        self._cluster = cluster
        self._started = started
        self._letters: dict[str, str] = {}
        self._ports = {FIRST_PORT + number: cluster.port + number for number in range(cluster.nodes)}
        self._contexts: dict[str, str] = {}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environ = {**cluster.environ, "PATH": path}

    def take(self, step: Step) -> None:
        """Type one command, and compare."""
        command, *flags = step.command.split(" --join ")
        if command.startswith("roost run "):
            assert command == f"roost run examples.{self._name}:app"
            self._start(step.printed, *flags)
        elif command.startswith("kill "):
            self._kill(command)
        else:
            self._ask(step)

    def _start(self, table: str, join: str = "") -> None:
        rows = [found for line in table.splitlines() if (found := ROW.search(line))]
        if join:
            assert join == self._name
            [row] = rows
            port = int(row["web"].rpartition(":")[2])
            self._ports[port] = self._started.enter_context(newcomer(self._cluster, self._name)).port
        else:
            self._letters = {row["pid"]: row["node"] for row in rows}
            assert list(self._letters.values()) == self._cluster.names()

    def _kill(self, command: str) -> None:
        """The numbers are those of the table; a node that has died is back before the next step."""
        letters = [self._letters[word] for word in command.split() if word.isdecimal()]
        pids = {letter: self._cluster.node_pid(letter) for letter in letters}
        option = command.split()[1]
        subprocess.run(["kill", option, *map(str, pids.values())], check=True)
        if option == "-9":
            for letter, pid in pids.items():
                self._cluster.wait_restarted(letter, pid)

    def _ask(self, step: Step) -> None:
        command = PORT.sub(lambda found: str(self._ports[int(found[0])]), step.command)
        for written, real in self._contexts.items():
            command = command.replace(written, real)
        changes_something = "PUT" in command or command.startswith("roost cluster")
        told: list[str] = []

        def is_as_written() -> bool:
            done = subprocess.run(
                ["bash", "-c", command], env=self._environ, cwd=ROOT, capture_output=True, text=True, timeout=60
            )
            told.append(done.stdout + done.stderr * done.returncode)
            return self._matches(step, told[-1])

        try:
            if changes_something:
                assert is_as_written()
            else:
                wait_until(is_as_written)  # what was changed before takes its time
        except AssertionError:
            raise AssertionError(f"$ {command}\n{told[-1]}\nis not as the page has it:\n{step.printed}") from None

    def _matches(self, step: Step, told: str) -> bool:
        written = PORT.sub(lambda found: str(self._port(int(found[0]))), step.printed)
        if step.command.endswith("/ping"):
            return VARYING.sub("?", told).strip() == VARYING.sub("?", written).strip()
        pattern = re.escape(_plain(written)).replace(re.escape("..."), ".*")
        if not re.fullmatch(pattern, _plain(told), re.DOTALL):
            return False
        self._contexts.update(zip(CONTEXT.findall(written), CONTEXT.findall(told), strict=True))
        return True

    def _port(self, written: int) -> int:
        return self._ports.get(written, written)


def _plain(text: str) -> str:
    """The same without what differs: contexts, the width of columns, lists in the order in which somebody answered, and
    who is the claimant, which another node may become when one has died."""
    text = CONTEXT.sub("?", text).replace(" (C) ", " ").replace(" (C)\n", "\n")
    return "\n".join(_plain_line(line) for line in text.split("\n")).strip()


def _plain_line(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return " ".join(line.split())
    if isinstance(found, dict):
        found = {key: sorted(value) if isinstance(value, list) else value for key, value in found.items()}
    return json.dumps(found)
