"""What a node keeps of its cluster, and which folders it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from roost.cluster.record import BIRTH, FILE, Record, encode_cluster, places_of
from roost.config import Config
from roost.core import membership as core
from roost.core.caspaxos import Acceptor, Ballot, Entry
from roost.errors import ConfigError
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from tests.cluster.meadow import configs


def on_disk(folder: Path) -> Runtime:
    return Runtime.real(FolderDisk(folder))


def test_members_that_know_of_each_other_are_born_into_the_same_cluster() -> None:
    one, other = [Record(config, Runtime.real()) for config in configs("a", "b")]
    assert one.cluster == other.cluster
    assert one.cluster.names == ("a@127.0.0.1", "b@127.0.0.1")
    assert one.ballot == BIRTH
    assert not one.has_vote, "it may have voted before it was wiped"


def test_nodes_that_are_alone_are_born_into_different_clusters() -> None:
    config = dataclasses.replace(configs("a")[0], seeds=())
    one, other = Record(config, Runtime.real()), Record(config, Runtime.real())
    assert one.cluster.id != other.cluster.id
    assert one.has_vote


def test_what_was_learned_and_promised_is_there_after_a_restart(tmp_path: Path) -> None:
    config = configs("a", "b")[0]
    record = Record(config, on_disk(tmp_path))
    record.learn(Ballot(0, 7, "b"), core.succeed(record.cluster, "b@127.0.0.1"))
    acceptor = record.acceptor
    acceptor.prepare(Ballot(0, 9, "a"))
    record.keep(acceptor)
    record.give_vote([Acceptor(Ballot(0, 8, "b"))])
    again = Record(config, on_disk(tmp_path))
    assert again.cluster == record.cluster
    assert again.cluster.claimant == "b@127.0.0.1"
    assert again.ballot == Ballot(0, 7, "b")
    assert again.acceptor.promised == Ballot(0, 9, "a")
    assert again.acceptor.accepted == Ballot(0, 7, "b")
    assert again.has_vote


def test_what_is_learned_replaces_what_was_accepted_at_a_lower_ballot_only(tmp_path: Path) -> None:
    record = Record(configs("a", "b")[0], on_disk(tmp_path))
    older = core.succeed(record.cluster, "b@127.0.0.1")
    record.learn(Ballot(0, 7, "b"), older)
    accepted = record.acceptor.entry
    record.learn(Ballot(0, 5, "b"), core.set_policy(older, "auto"))
    assert record.acceptor.entry is accepted


def test_who_voted_before_a_change_is_not_asked_any_more_once_it_is_known_to_be_chosen(tmp_path: Path) -> None:
    record = Record(configs("a", "b")[0], on_disk(tmp_path))
    changed = core.succeed(record.cluster, "b@127.0.0.1")
    acceptor = record.acceptor
    acceptor.accept(Ballot(0, 7, "a"), Entry(encode_cluster(changed), ("a@127.0.0.1",)))
    record.keep(acceptor)
    record.learn(Ballot(0, 7, "a"), changed)
    assert record.acceptor.entry == Entry(encode_cluster(changed), ("a@127.0.0.1", "b@127.0.0.1"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cluster": "other"}, "belongs to cluster 'meadow', not 'other'"),
        ({"ring_size": 128}, "a ring of 64 partitions, not 128"),
    ],
)
def test_the_folder_of_another_cluster_is_refused(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    config = configs("a", "b")[0]
    Record(config, on_disk(tmp_path))
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = Config(**{**settings, **change})  # a changed copy
    with pytest.raises(ConfigError, match=reason):
        Record(changed, on_disk(tmp_path))


def test_the_folder_of_another_node_is_refused(tmp_path: Path) -> None:
    one, other = configs("a", "b")
    Record(one, on_disk(tmp_path))
    with pytest.raises(ConfigError, match=r"belongs to node a@127\.0\.0\.1, not b@127\.0\.0\.1"):
        Record(other, on_disk(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"\x96\x01"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        Record(configs("a")[0], on_disk(tmp_path))


def test_every_flipped_byte_of_the_file_is_refused_or_harmless(tmp_path: Path) -> None:
    config = configs("a")[0]
    Record(config, on_disk(tmp_path))
    whole = (tmp_path / FILE).read_bytes()
    for place in range(len(whole)):
        (tmp_path / FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(ConfigError):
            Record(config, on_disk(tmp_path))


def test_a_node_is_where_its_seed_says_unless_it_advertises_another_address() -> None:
    config = configs("a", "b")[0]
    assert config.listen is not None
    behind = dataclasses.replace(config, listen=config.listen._replace(host="127.0.0.9"))
    seed, listens = str(config.listen), str(behind.listen)
    assert [member.address for member in places_of(config)] == [seed]
    assert [member.address for member in places_of(behind)] == [seed, listens]
    told = dataclasses.replace(behind, advertise=behind.listen)
    assert [member.address for member in places_of(told)] == [listens, seed]
