"""The ring of a node: born once, kept on disk, looked up by who is up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from roost.cluster.fabric import Fabric
from roost.cluster.ring import RING_FILE, Placement, load_ring
from roost.config import Config
from roost.core.claim import claim
from roost.core.ring import Replica, key_hash
from roost.errors import ConfigError
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from tests.cluster.flock import flock
from tests.cluster.meadow import configs


def test_a_ring_is_made_from_the_members() -> None:
    config = configs("a", "b", "c")[0]
    assert load_ring(config, None) == claim(config.members, config.ring_size)


def test_a_ring_outlives_its_node(tmp_path: Path) -> None:
    config = configs("a", "b", "c")[0]
    first = load_ring(config, FolderDisk(tmp_path))
    assert (tmp_path / RING_FILE).exists()
    assert load_ring(config, FolderDisk(tmp_path)) == first


@pytest.mark.parametrize("others", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", "d")])
def test_other_members_than_those_of_the_folder_are_refused(tmp_path: Path, others: tuple[str, ...]) -> None:
    load_ring(configs("a", "b", "c")[0], FolderDisk(tmp_path))
    with pytest.raises(ConfigError) as caught:
        load_ring(configs(*others)[0], FolderDisk(tmp_path))
    assert "a@127.0.0.1, b@127.0.0.1, c@127.0.0.1" in str(caught.value)
    assert "use another folder" in str(caught.value)


@pytest.mark.parametrize("change", [{"cluster": "other"}, {"ring_size": 32}])
def test_a_folder_of_another_cluster_is_refused(tmp_path: Path, change: dict[str, str | int]) -> None:
    config = configs("a", "b", "c")[0]
    load_ring(config, FolderDisk(tmp_path))
    settings: dict[str, object] = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    with pytest.raises(ConfigError):
        load_ring(Config(**{**settings, **change}), FolderDisk(tmp_path))  # type: ignore[arg-type]  # a changed copy


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80"])
def test_a_damaged_ring_file_is_refused_and_kept(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / RING_FILE).write_bytes(damage)
    with pytest.raises(ConfigError, match="damaged"):
        load_ring(configs("a")[0], FolderDisk(tmp_path))
    assert (tmp_path / RING_FILE).read_bytes() == damage


async def test_placement_follows_who_is_up() -> None:
    async with flock("a", "b", "c", setup=lambda node: None) as nodes:
        placement, ring = nodes["a"].placement, nodes["a"].ring
        names = nodes["a"].membership.members
        for partition in range(ring.size):
            assert placement.replicas(partition, 2) == ring.preference_list(partition, 2, names)
            assert placement.replicas(partition, 2) is placement.replicas(partition, 2)
            assert len(placement.spares(partition, 2)) == 1
        await nodes.stop("b")
        for partition in range(ring.size):
            assert placement.replicas(partition, 2) == ring.preference_list(partition, 2, (names[0], names[2]))
            assert placement.spares(partition, 2) == ()
        await nodes.start("b")
        await nodes.meet()
        assert placement.replicas(1, 3) == ring.preference_list(1, 3, names)


async def test_a_node_alone_holds_everything() -> None:
    config = Config(name="a@127.0.0.1")
    ring = load_ring(config, None)
    placement = Placement(ring, Fabric(config, Runtime.real(), ring.digest()))
    partition = placement.partition_of(b"bucket", b"key")
    assert partition == ring.partition_of(key_hash(b"bucket", b"key"))
    assert placement.replicas(partition, 3) == (Replica(partition, "a@127.0.0.1", True),)
