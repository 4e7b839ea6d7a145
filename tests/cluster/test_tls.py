"""Links with certificates: who has a good one is linked, everybody else is refused with a reason, and harms nobody."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trustme
import uvloop

from roost.cluster.console_link import ConsoleLink
from roost.cluster.fabric import Fabric
from roost.config import Address, Config, Tls
from roost.errors import ConfigError, HandshakeRefused
from roost.runtime import Runtime
from tests.cluster.meadow import Meadow, configs, knowing, turns_until

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"
LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
SHORTLY_AFTER = datetime.datetime(2001, 2, 1, tzinfo=datetime.UTC)


class Notary:
    """An authority, and the folder where what it signs is kept."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.authority = str(folder / f"{name}.pem")
        self.ca.cert_pem.write_to_path(self.authority)

    def issue(self, name: str, host: str = "127.0.0.1", signer: trustme.CA | None = None, **dates: object) -> Tls:
        """A certificate for `host`; by another signer when one is given."""
        leaf = (signer or self.ca).issue_cert(host, **dates)  # type: ignore[arg-type]  # not_before, not_after
        certificate, key = str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")
        for number, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(certificate, append=number > 0)
        leaf.private_key_pem.write_to_path(key)
        return Tls(certificate, key, self.authority)


@asynccontextmanager
async def guarded(notary: Notary, *names: str) -> AsyncIterator[Meadow]:
    """Nodes with good certificates, that see each other."""
    settings = [dataclasses.replace(config, tls=notary.issue(config.name[0])) for config in configs(*names)]
    story = Meadow(*settings)
    await story.connect()
    try:
        yield story
    finally:
        await story.stop()


async def attempt(config: Config, peer: str, identity: bytes = b"id") -> str:
    """Dial `peer` as a stranger with these settings; return why there was no link."""
    stranger = knowing(config, identity)
    closed: list[str] = []
    stranger.closed = lambda link, reason: closed.append(reason)  # type: ignore[method-assign]  # the test listens in
    try:
        await stranger.dial(peer)
        await turns_until(lambda: bool(closed))
    except OSError as error:
        closed.append(str(error))
    assert stranger.up() == (config.name,)
    await stranger.stop("done")
    return closed[0]


async def still_well(story: Meadow) -> None:
    """The good links have come to no harm."""
    for here, there in (("b", C), ("c", B)):
        assert unpack(await story.fabrics[here].call(there, "echo", pack(here))) == here
    assert [len(events) for events in story.events.values()] == [1, 1]


def refused(caplog: pytest.LogCaptureFixture, *, by: str) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == by)


async def test_nodes_with_certificates_of_one_authority_are_linked_and_talk(tmp_path: Path) -> None:
    async with guarded(Notary(tmp_path), "b", "c") as story:
        large = pack(bytes(1_000_000))
        assert bytes(await story.fabrics["b"].call(C, "echo", large)) == large
        link = story.fabrics["b"]._peers[C]
        assert link._transport is not None
        assert link._transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert link._handshake.certified == ("127.0.0.1",)
        await still_well(story)


def test_the_same_holds_on_the_loop_that_nodes_run_on(tmp_path: Path) -> None:
    async def story() -> None:
        notary = Notary(tmp_path)
        async with guarded(notary, "b", "c") as two:
            await still_well(two)
            config = two.fabrics["b"]._config
            liar = notary.issue("liar", "elsewhere.example.org")
            reason = await attempt(dataclasses.replace(config, name=A, tls=liar), B)
            assert "made out to elsewhere.example.org" in reason
            plain = dataclasses.replace(config, name=A, tls=None)
            await attempt(plain, B)
            await still_well(two)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


def bad_certificate(notary: Notary, kind: str) -> Tls:
    """A certificate that no node of the notary should take."""
    if kind == "self-signed":
        own = trustme.CA()
        path = notary.folder / "self.pem"
        own.cert_pem.write_to_path(str(path))
        key = notary.folder / "self.key"
        own.private_key_pem.write_to_path(str(key))
        return Tls(str(path), str(key), notary.authority)
    if kind == "another authority":
        return notary.issue("other", signer=trustme.CA())
    if kind == "expired":
        return notary.issue("expired", not_before=LONG_AGO, not_after=SHORTLY_AFTER)
    return notary.issue("future", not_before=datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("self-signed", "certificate verify failed"),
        ("another authority", "certificate verify failed"),
        ("expired", "certificate has expired"),
        ("not yet valid", "not yet valid"),
    ],
)
async def test_a_bad_certificate_is_refused_before_a_word(
    kind: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        config = dataclasses.replace(story.fabrics["b"]._config, name=A, tls=bad_certificate(notary, kind))
        with caplog.at_level(logging.WARNING):
            await attempt(config, B)
            await turns_until(lambda: reason in refused(caplog, by="roost.tls"))
        assert not story.fabrics["b"]._links.keys() - story.fabrics["b"]._peers.values()
        await still_well(story)


async def test_a_bad_certificate_of_the_one_who_is_dialled_is_refused_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notary = Notary(tmp_path)
    first, second = configs("a", "b")
    impostor = knowing(dataclasses.replace(second, tls=notary.issue("b", signer=trustme.CA())))
    await impostor.listen()
    reason = await attempt(dataclasses.replace(first, tls=notary.issue("a")), B)
    assert "certificate verify failed" in reason
    await turns_until(lambda: len(asyncio.all_tasks()) == 1)  # asyncio's own, that accepts with TLS
    await impostor.stop("done")


async def test_a_certificate_for_another_host_is_refused_with_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        config = story.fabrics["b"]._config
        liar = dataclasses.replace(config, name=A, tls=notary.issue("liar", "elsewhere.example.org"))
        reason = await attempt(liar, B)
        assert f"the certificate of {A} is made out to elsewhere.example.org" in reason
        assert f"the certificate of {A} is made out to" in refused(caplog, by="roost.fabric")
        await still_well(story)


@pytest.mark.parametrize(
    ("change", "identity", "reason"),
    [
        ({"cookie": b"wrong"}, b"id", "cookies differ"),
        ({"cluster": "other"}, b"id", "belongs to cluster"),
        ({}, b"other", "another cluster"),
    ],
)
async def test_a_good_certificate_is_not_enough(
    change: dict[str, object], identity: bytes, reason: str, tmp_path: Path
) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        story.fabrics["b"].know({**story.fabrics["b"].known, A: Address("127.0.0.1", 1)})
        config = dataclasses.replace(story.fabrics["b"]._config, name=A, tls=notary.issue("a"), **change)  # type: ignore[arg-type]  # one of its fields
        assert reason in await attempt(config, B, identity)
        await still_well(story)


async def test_who_shows_no_certificate_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        listen = story.fabrics["b"]._config.listen
        assert listen is not None
        nameless = ssl.create_default_context(cafile=notary.authority)
        reader, writer = await asyncio.open_connection(*listen, ssl=nameless)
        with pytest.raises((OSError, EOFError)):
            await reader.readexactly(1)
        writer.close()
        assert "did not return a certificate" in refused(caplog, by="roost.tls")
        await still_well(story)


async def test_an_outdated_tls_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        listen = story.fabrics["b"]._config.listen
        assert listen is not None
        old = ssl.create_default_context(cafile=notary.authority)
        old.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*listen, ssl=old)
        assert "unsupported protocol" in refused(caplog, by="roost.tls").lower().replace("_", " ")
        await still_well(story)


async def test_plain_text_and_certificates_do_not_mix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        await attempt(dataclasses.replace(story.fabrics["b"]._config, name=A, tls=None), B)
        assert "refused before a word" in refused(caplog, by="roost.tls")
        await still_well(story)
    plain = Meadow(*configs("b", "c"))
    await plain.connect()
    await attempt(dataclasses.replace(plain.fabrics["b"]._config, name=A, tls=notary.issue("a")), B)
    assert "speaks TLS" in refused(caplog, by="roost.link")
    await still_well(plain)
    await plain.stop()


async def test_consoles_and_guests_come_with_certificates(tmp_path: Path) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        config = story.fabrics["b"]._config
        assert config.listen is not None
        runtime, cookie = Runtime.real(), config.cookie
        async with ConsoleLink(runtime, config.listen, cluster="meadow", cookie=cookie, tls=config.tls) as node:
            assert unpack(await node.call("echo", pack("console"))) == "console"
        outsider = Fabric(
            dataclasses.replace(config, name="z@z.example.org", seeds=(), tls=notary.issue("z", "z.example.org")),
            runtime,
            b"",
        )
        async with outsider.guest(config.listen) as guest:
            assert guest.peer.node == B
        liar = Fabric(dataclasses.replace(config, name="z@z.example.org", seeds=()), runtime, b"")
        with pytest.raises(HandshakeRefused, match="made out to 127"):
            await liar.guest(config.listen).__aenter__()
        await still_well(story)


async def test_a_renewed_certificate_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    notary = Notary(tmp_path)
    async with guarded(notary, "b", "c") as story:
        config = story.fabrics["b"]._config
        assert config.listen is not None
        served = await certificate_of(config.listen, notary.issue("client"))
        notary.issue("b")
        os.utime(tmp_path / "b.pem", ns=(1, 1))
        assert await certificate_of(config.listen, notary.issue("client")) != served
        (tmp_path / "b.key").write_text("damaged")
        assert await certificate_of(config.listen, notary.issue("client"))
        await still_well(story)


async def certificate_of(address: Address, tls: Tls) -> bytes:
    """What the node at `address` shows."""
    context = ssl.create_default_context(cafile=tls.authority)
    context.load_cert_chain(tls.certificate, tls.key)
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await reader.read()
    assert isinstance(shown, bytes)
    return shown


@pytest.mark.parametrize("missing", ["certificate", "key", "authority"])
async def test_files_that_are_of_no_use_are_named(missing: str, tmp_path: Path) -> None:
    tls = Notary(tmp_path).issue("a")
    config = configs("a")[0]
    for broken in ("absent", "empty"):
        path = tmp_path / broken
        if broken == "empty":
            path.write_bytes(b"")
        fabric = Fabric(dataclasses.replace(config, tls=tls._replace(**{missing: str(path)})), Runtime.real(), b"")
        with pytest.raises(ConfigError, match=broken):
            await fabric.listen()
