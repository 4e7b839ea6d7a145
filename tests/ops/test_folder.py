"""The data folder: the cookie, whose it is, one user at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.ops.folder import Birth, DataFolder, born
from roost.runtime.entropy import SystemEntropy

THREE = Birth("demo", 3)


def open_folder(path: Path, birth: Birth = THREE) -> DataFolder:
    return DataFolder(path, birth, SystemEntropy())


def test_the_cookie_is_made_once_and_is_closed_to_others(tmp_path: Path) -> None:
    first = open_folder(tmp_path / "data")
    first.close()
    second = open_folder(tmp_path / "data")
    second.close()
    assert first.cookie == second.cookie
    assert len(bytes.fromhex(first.cookie.decode())) == 32
    assert (tmp_path / "data" / "cookie").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_two_folders_have_two_cookies(tmp_path: Path) -> None:
    first, second = open_folder(tmp_path / "one"), open_folder(tmp_path / "two")
    assert first.cookie != second.cookie
    first.close()
    second.close()


def test_a_folder_in_use_is_refused_until_it_is_free(tmp_path: Path) -> None:
    first = open_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"another Roost is using .* --data DIR"):
        open_folder(tmp_path)
    first.close()
    open_folder(tmp_path).close()


def test_a_folder_of_a_cluster_of_another_size_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path).close()
    with pytest.raises(ConfigError, match=r"a cluster of 3 nodes: use --nodes 3, .* come with --join"):
        open_folder(tmp_path, Birth("demo", 5))
    open_folder(tmp_path).close()


def test_a_folder_of_another_cluster_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path).close()
    with pytest.raises(ConfigError, match="belongs to the cluster 'demo', this one is 'chat'"):
        open_folder(tmp_path, Birth("chat", 3))


def test_a_damaged_birth_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"cluster\.json is damaged"):
        open_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"--data: cannot write to .*file/data \(Not a directory\)"):
        open_folder(tmp_path / "file" / "data")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"--data: cannot write to .*file \(File exists\)"):
        open_folder(tmp_path / "file")


def test_a_folder_remembers_what_it_was_made_for(tmp_path: Path) -> None:
    assert born(tmp_path) is None
    open_folder(tmp_path).close()
    assert born(tmp_path) == THREE
    (tmp_path / "cluster.json").write_bytes(b"{")
    assert born(tmp_path) is None


NEWCOMER = Birth("demo", 1, "d", is_joining=True)


def join_folder(path: Path, birth: Birth = NEWCOMER, cookie: bytes | None = b"theirs") -> DataFolder:
    return DataFolder(path, birth, SystemEntropy(), cookie)


def test_newcomers_keep_the_cookie_of_the_cluster_that_they_join(tmp_path: Path) -> None:
    first = join_folder(tmp_path)
    first.close()
    again = join_folder(tmp_path, cookie=None)
    again.close()
    assert first.cookie == again.cookie == b"theirs"


def test_the_folder_of_newcomers_is_not_for_another_cluster_of_that_name(tmp_path: Path) -> None:
    join_folder(tmp_path).close()
    with pytest.raises(ConfigError, match="belongs to another cluster of this name"):
        join_folder(tmp_path, cookie=b"of others")


def test_the_folders_of_newcomers_and_of_a_new_cluster_are_not_mixed_up(tmp_path: Path) -> None:
    join_folder(tmp_path / "new").close()
    open_folder(tmp_path / "old").close()
    with pytest.raises(ConfigError, match="is for nodes that start with --join"):
        open_folder(tmp_path / "new", Birth("demo", 1))
    with pytest.raises(ConfigError, match="is for nodes that start without --join"):
        join_folder(tmp_path / "old", Birth("demo", 3, is_joining=True), None)
    with pytest.raises(ConfigError, match="belongs to the node d: use --name d"):
        join_folder(tmp_path / "new", Birth("demo", 1, "e", is_joining=True))
