"""A Config that makes sense survives the environment; one that does not says why."""

from __future__ import annotations

import pytest

from roost.config import Address, Config, Seed, Tls
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
        advertise=Address("a.example.org", 4200),
        join=(Address("::1", 4103), Address("x.example.org", 1)),
        discovery="dns:roost.example.org:4100",
        policy="auto",
        zone="rack-1",
        tls=Tls("a.pem", "a.key", "ca.pem"),
        data="/var/lib/roost",
    )
    assert Config.from_env(config.to_env()) == config


def test_an_empty_environment_is_a_node_that_is_alone() -> None:
    config = Config.from_env({})
    assert config.members == ("roost@127.0.0.1",)
    assert config.listen is None


def test_a_node_that_is_none_of_its_seeds_joins_them() -> None:
    config = Config.from_env(
        {
            "ROOST_NAME": "c@h",
            "ROOST_LISTEN": "0.0.0.0:3",
            "ROOST_ADVERTISE": "h:3",
            "ROOST_COOKIE": "x",
            "ROOST_SEEDS": "a@h=h:1,b@h=h:2",
            "ROOST_JOIN": "h:9",
        }
    )
    assert config.members == ("c@h",)
    assert config.contacts == (Address("h", 9), Address("h", 1), Address("h", 2))
    assert config.reachable == Address("h", 3)


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
        ({"ROOST_SEEDS": "b@h=127.0.0.1:1"}, "listen"),
        ({"ROOST_JOIN": "h:1"}, "listen"),
        ({"ROOST_JOIN": "h"}, "ROOST_JOIN"),
        ({"ROOST_DISCOVERY": "dns:h:1"}, "listen"),
        ({"ROOST_ADVERTISE": "h:1"}, "advertise"),
        ({"ROOST_LISTEN": "0.0.0.0:4100", "ROOST_COOKIE": "x"}, "advertise"),
        ({"ROOST_LISTEN": "[::]:4100", "ROOST_COOKIE": "x"}, "advertise"),
        ({"ROOST_POLICY": "perhaps"}, "ROOST_POLICY"),
        ({"ROOST_ZONE": "a b"}, "zone"),
        ({"ROOST_TLS_CERT": "a.pem"}, "ROOST_TLS_KEY"),
        ({"ROOST_SEEDS": "roost@127.0.0.1=h:1,roost@127.0.0.1=h:2"}, "twice"),
        ({"ROOST_SEEDS": "roost@127.0.0.1=h:1,b@h=h:2"}, "listen"),
        ({"ROOST_SEEDS": "roost@127.0.0.1"}, "ROOST_SEEDS"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Config.from_env(environ)
