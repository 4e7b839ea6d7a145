"""The public names: all of them there, wherever they are asked for."""

from __future__ import annotations

import roost


def test_a_star_import_gives_every_public_name() -> None:
    found: dict[str, object] = {}
    exec("from roost import *", found)
    public = {"GenServer", "Supervisor", "Task", "Flow", "Roost", "Channel", "call", "cast", "info", "rpc", "pg"}
    assert public <= found.keys()
    assert public <= set(dir(roost))


def test_what_the_package_itself_imports_is_not_listed() -> None:
    assert not {"Final", "TYPE_CHECKING", "annotations", "import_module"} & set(dir(roost))
