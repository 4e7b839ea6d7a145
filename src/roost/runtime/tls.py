"""Certificates for the links between nodes: both sides show one, and neither believes a system's list of authorities.

Which node a certificate speaks for is decided by the handshake above (`roost.wire.handshake.check_certificate`): a node
is dialled by an address, and believed by its name. Here it is only seen to that the authority has signed it, that it
is valid now, and that it allows its use.

The files are looked at again for every connection that is dialled, and for every one that is accepted: a certificate
that is renewed in its place is used from then on, without a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from typing import Final

from roost.config import Tls
from roost.errors import ConfigError

logger = logging.getLogger("roost.tls")

NEVER_RESUME: Final = ssl.OP_NO_TICKET


class _Judged(ssl.SSLObject):
    """One side of a TLS connection. It tells the log why it came to nothing: event loops keep that to themselves."""

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            side = "accepted" if self.server_side else "dialled"
            logger.warning("a connection that was %s is refused before a word: %s", side, error)
            raise


class Keyring:
    """The TLS contexts of a node, made from its files when they are first needed, and anew when they change."""

    def __init__(self) -> None:
        self._made: dict[tuple[Tls, bool], tuple[ssl.SSLContext, tuple[int, ...]]] = {}

    def server(self, tls: Tls) -> ssl.SSLContext:
        """For those who accept.

        Raises:
            ConfigError: when a file cannot be read, or does not hold what it should.
        """
        context = self._context(tls, True)
        context.sni_callback = lambda connection, name, _: self._renew(tls, connection)
        return context

    def client(self, tls: Tls) -> ssl.SSLContext:
        """For those who dial.

        Raises:
            ConfigError: when a file cannot be read, or does not hold what it should.
        """
        return self._context(tls, False)

    def _renew(self, tls: Tls, connection: ssl.SSLObject | ssl.SSLSocket) -> None:
        try:
            connection.context = self._context(tls, True)
        except ConfigError as error:
            logger.error("the former certificate is still used: %s", error)

    def _context(self, tls: Tls, accepting: bool) -> ssl.SSLContext:
        written = _written(tls)
        context, made_of = self._made.get((tls, accepting), (None, ()))
        if context is None or made_of != written:
            context = _made(tls, accepting)
            self._made[tls, accepting] = (context, written)
        return context


def certified_hosts(transport: asyncio.BaseTransport) -> tuple[str, ...] | None:
    """The hosts and addresses that the other side's certificate was made out to; None when there is no TLS."""
    if transport.get_extra_info("ssl_object") is None:
        return None
    certificate = transport.get_extra_info("peercert") or {}
    return tuple(str(name) for kind, name in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))


def _written(tls: Tls) -> tuple[int, ...]:
    try:
        return tuple(os.stat(file).st_mtime_ns for file in tls)
    except OSError as error:
        raise _useless(tls, error) from None


def _made(tls: Tls, accepting: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if accepting else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # a node is believed by its name, which the handshake checks, not by its address
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= NEVER_RESUME
    context.sslobject_class = _Judged
    try:
        context.load_verify_locations(tls.authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("ROOST_TLS_CA", f"{tls.authority} is of no use as an authority: {error}") from None
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise _useless(tls, error) from None
    return context


def _useless(tls: Tls, error: OSError) -> ConfigError:
    return ConfigError("ROOST_TLS_CERT", f"{tls.certificate} with the key {tls.key} cannot be used: {error}")
