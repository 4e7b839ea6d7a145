"""A Config that makes sense survives the environment; one that does not says why."""

from __future__ import annotations

import pytest

from roost.config import Address, Config, Seed
from roost.errors import ConfigError


def test_the_environment_carries_a_config_unchanged() -> None:
    config = Config(
        name="a@127.0.0.1",
        cluster="demo",
        listen=Address("127.0.0.1", 4100),
        seeds=(
            Seed("a@127.0.0.1", Address("127.0.0.1", 4100), Address("127.0.0.1", 4000)),
            Seed("b@127.0.0.1", Address("127.0.0.1", 4101)),
        ),
        cookie=b"secret",
        ring_size=32,
        web=Address("127.0.0.1", 4000),
        data="/var/lib/roost",
    )
    assert Config.from_env(config.to_env()) == config


def test_an_empty_environment_is_a_node_that_is_alone() -> None:
    config = Config.from_env({})
    assert config.members == ("roost@127.0.0.1",)
    assert config.listen is None


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"ROOST_NAME": "nameless"}, "name@host"),
        ({"ROOST_CLUSTER": "a b"}, "may only have"),
        ({"ROOST_RING_SIZE": "48"}, "power of 2"),
        ({"ROOST_RING_SIZE": "many"}, "ROOST_RING_SIZE"),
        ({"ROOST_LISTEN": "nowhere"}, "ROOST_LISTEN"),
        ({"ROOST_LISTEN": "127.0.0.1:70000", "ROOST_COOKIE": "x"}, "ROOST_LISTEN"),
        ({"ROOST_LISTEN": "127.0.0.1:4100"}, "cookie"),
        ({"ROOST_SEEDS": "b@h=127.0.0.1:1"}, "not among"),
        ({"ROOST_SEEDS": "roost@127.0.0.1=h:1,roost@127.0.0.1=h:2"}, "twice"),
        ({"ROOST_SEEDS": "roost@127.0.0.1=h:1,b@h=h:2"}, "listen"),
        ({"ROOST_SEEDS": "roost@127.0.0.1"}, "ROOST_SEEDS"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Config.from_env(environ)
