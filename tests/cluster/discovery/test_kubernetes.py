"""Pods are found through an API that speaks HTTPS, knows tokens and answers as that of Kubernetes does."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from roost import limits
from roost.cluster.discovery.kubernetes import Kubernetes
from roost.config import Address
from roost.runtime.kubernetes_api import KubernetesApi

PODS = [
    {"metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Running", "podIP": "10.0.0.2", "podIPs": []}},
    {"metadata": {"name": "b"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}},
    {"metadata": {"name": "c"}, "status": {"phase": "Pending"}},
    {
        "metadata": {"name": "d", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "podIP": "x"},
    },
    {"metadata": {"name": "e"}, "status": {"phase": "Succeeded", "podIP": "10.0.0.9"}},
]


class ApiServer(http.server.ThreadingHTTPServer):
    """As much of an API server as a pod asks."""

    token = "the token"
    answer = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": PODS}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        status, body = HTTPStatus.OK, self.server.answer
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            status, body = HTTPStatus.FORBIDDEN, b'{"kind": "Status"}'
        elif url.path != "/api/v1/namespaces/shop/pods" or parse_qs(url.query)["labelSelector"] != ["app=roost,x!=y"]:
            status, body = HTTPStatus.NOT_FOUND, b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is told."""


@contextmanager
def api_server(account: Path, ca: trustme.CA) -> Iterator[ApiServer]:
    """A server with a certificate of `ca`, and a service account that trusts it."""
    ca.cert_pem.write_to_path(str(account / "ca.crt"))
    (account / "token").write_text("the token\n")
    server = ApiServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def looking(server: ApiServer, account: Path) -> Kubernetes:
    """Discovery in a pod with this account."""
    environ = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT_HTTPS": str(server.server_port),
        "ROOST_KUBERNETES_ACCOUNT": str(account),
    }
    return Kubernetes.parse("shop/app=roost,x!=y:4100", lambda: KubernetesApi.in_cluster(environ))


async def test_the_pods_that_run_are_found(tmp_path: Path) -> None:
    with api_server(tmp_path, trustme.CA()) as server:
        assert await looking(server, tmp_path).look() == [Address("10.0.0.1", 4100), Address("10.0.0.2", 4100)]


async def test_a_token_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    with api_server(tmp_path, trustme.CA()) as server:
        pods = looking(server, tmp_path)
        server.token = "another"
        with pytest.raises(OSError, match=r"403 Forbidden .*list pods"):
            await pods.look()
        (tmp_path / "token").write_text("another")
        assert len(await pods.look()) == 2


async def test_a_server_of_another_authority_is_not_told_the_token(tmp_path: Path) -> None:
    with api_server(tmp_path, trustme.CA()) as server:
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        with pytest.raises(OSError, match="certificate verify failed"):
            await looking(server, tmp_path).look()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{}", "something else than pods"),
        (b"\xff", "something else"),
        (b" " * (limits.DISCOVER_BYTES_MAX + 1), "more"),
    ],
)
async def test_an_answer_that_is_none_is_said_to_be_none(answer: bytes, reason: str, tmp_path: Path) -> None:
    with api_server(tmp_path, trustme.CA()) as server:
        server.answer = answer
        with pytest.raises(OSError, match=reason):
            await looking(server, tmp_path).look()


def test_a_machine_that_is_no_pod_says_so() -> None:
    with pytest.raises(OSError, match="no pod"):
        KubernetesApi.in_cluster({})


@pytest.mark.parametrize("text", ["shop:1", "/app=x:1", "shop/:1", "shop/app=x:0", "shop/app=x:http", "shop/app=x"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not namespace/selector:port"):
        Kubernetes.parse(text, lambda: KubernetesApi.in_cluster({}))
