"""The console of a cluster with certificates: it finds the files in the run file, and is let in with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from roost.cluster.node import Node
from roost.cluster.status import MemberStatus
from roost.errors import NodeDown
from roost.ops.desk import console_child
from roost.ops.operator import first_answer
from roost.ops.questions import MemberStatusOf
from roost.ops.runfile import RunFile
from roost.runtime import Runtime
from tests.cluster.meadow import configs
from tests.cluster.test_tls import Notary


async def test_a_console_shows_the_certificate_of_the_run_file(tmp_path: Path) -> None:
    config = dataclasses.replace(configs("a")[0], tls=Notary(tmp_path).issue("a"))
    node = Node(config, Runtime.real())
    node.add_child(console_child(node))
    await node.start()
    run = RunFile(
        cluster=config.cluster,
        node=config.name,
        link=str(config.reachable),
        web="",
        cookie=config.cookie.decode(),
        pid=1,
        started_at=0.0,
        tls=config.tls,
    )
    run = msgspec.json.decode(msgspec.json.encode(run), type=RunFile)
    status = await first_answer([run], MemberStatusOf())
    assert isinstance(status, MemberStatus)
    assert status.node == config.name
    with pytest.raises(NodeDown):
        await first_answer([msgspec.structs.replace(run, tls=None)], MemberStatusOf())
    await node.stop()
