"""An example as a cluster of real processes, and nodes that join it and leave it as an operator lets them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from tests.e2e.cluster import HOST, Answer, Cluster, Visitor

ROOT: Final = Path(__file__).parents[2]
WAIT_S: Final = 30.0
KNOWS_THE_OTHERS: Final = "Number(document.querySelector('#status').dataset.nodes) === 3"
"""The condition that a page can go on with another node of three when its own dies."""


def example(name: str, folder: Path, nodes: int = 3) -> Cluster:
    """`roost run examples.<name>:app`, started from the root of the repository as its first lines say."""
    return Cluster(folder, nodes, command=("run", f"examples.{name}:app"), cwd=ROOT)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process stands still inside the block. A launcher that does leaves the dead dead."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again; each question takes a while by itself.

    Raises:
        AssertionError: when the answer is still no after WAIT_S.
    """
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, condition


def ask_until_answered(visitor: Visitor, method: str, path: str, value: object = None) -> Answer:
    """Ask until the nodes that are needed see each other again."""
    found: list[Answer] = []

    def is_answered() -> bool:
        found.append(visitor.ask(method, path, value))
        return found[-1].status not in (503, 504)

    wait_until(is_answered)
    return found[-1]


@contextmanager
def newcomer(cluster: Cluster, name: str) -> Iterator[Cluster]:
    """One more node of an example, started by a command of its own, which asks to join and waits for a commit.

    Its first node, "a" for a `Cluster`, is the newcomer, whatever it is called.
    """
    joining = Cluster(
        cluster.folder / "newcomer", 1, command=("run", f"examples.{name}:app", "--join", f"a@{HOST}"), cwd=ROOT
    )
    joining.environ["XDG_RUNTIME_DIR"] = cluster.environ["XDG_RUNTIME_DIR"]  # where it finds whom to join
    with joining:
        wait_until(lambda: "joining" in statuses(cluster).values())
        yield joining


def operate(cluster: Cluster, *command: str) -> str:
    """An operator types a `roost cluster` command; what it prints."""
    done = cluster.roost("cluster", *command, "--node", f"a@{HOST}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(cluster: Cluster) -> None:
    """Look at the plan, commit it, and wait until everything has arrived."""
    operate(cluster, "plan")
    operate(cluster, "commit")

    def is_settled() -> bool:
        return all((one["status"], one["pending_percent"]) == ("valid", None) for one in members(cluster))

    wait_until(is_settled)


def statuses(cluster: Cluster) -> dict[str, str]:
    """What the first node says about each member."""
    return {cast(str, member["name"]): cast(str, member["status"]) for member in members(cluster)}


def members(cluster: Cluster) -> list[dict[str, object]]:
    """The members as the first node sees them."""
    done = cluster.roost("member-status", "--format", "json", "--node", f"a@{HOST}")
    assert done.returncode == 0, done.stderr
    return cast(list[dict[str, object]], json.loads(done.stdout)["members"])
