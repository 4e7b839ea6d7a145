"""The program of the README, as it stands there, run as the README says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final, cast

from websockets.sync.client import ClientConnection, connect

from tests.e2e.cluster import Cluster

README: Final = Path(__file__).parents[2] / "README.md"


def push(connection: ClientConnection, event: str, payload: object) -> dict[str, object]:
    """Push an event on the topic room:tea and return the payload of its reply."""
    connection.send(json.dumps(["1", event, "room:tea", event, payload]))
    return wait(connection, "phx_reply")


def wait(connection: ClientConnection, event: str) -> dict[str, object]:
    """The payload of the next such event."""
    while True:
        *_, name, payload = json.loads(connection.recv(timeout=10))
        if name == event:
            return cast(dict[str, object], payload)


def test_the_program_of_the_readme_runs_as_a_cluster(tmp_path: Path) -> None:
    text = README.read_text("utf-8")
    program = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert program is not None
    (tmp_path / "party.py").write_text(program[1], "utf-8")
    assert "`roost run party:app`" in text
    with Cluster(tmp_path, command=("run", "party:app"), cwd=tmp_path) as cluster:
        address = "/socket/websocket?vsn=2.0.0"
        ada, bo = (cluster.web(node).replace("http", "ws") + address for node in "bc")
        with connect(ada) as ada_s, connect(bo) as bo_s:
            assert push(ada_s, "phx_join", {"name": "Ada"}) == {"status": "ok", "response": {"number": 1}}
            assert push(bo_s, "phx_join", {"name": "Bo"}) == {"status": "ok", "response": {"number": 2}}
            assert push(ada_s, "say", {"text": "hello"}) == {"status": "ok", "response": {}}
            assert wait(bo_s, "said") == {"by": "Ada", "text": "hello"}
