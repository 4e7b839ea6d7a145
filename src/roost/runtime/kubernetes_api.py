"""The API of the Kubernetes cluster that this machine is a pod of: read only, with the pod's service account.

The token is read anew for every question, as Kubernetes replaces it every hour. Requests are the standard library's,
in a thread: one every few seconds is no reason for a client of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from roost import limits
from roost.config import Address

ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


class KubernetesApi:
    """Questions to one API server.

    Args:
        server: where it is.
        account: the folder with `token` and `ca.crt`.
    """

    def __init__(self, server: Address, account: Path) -> None:
        self._server = server
        self._account = account

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str]) -> KubernetesApi:
        """The API server that Kubernetes names to every pod.

        Args:
            environ: has KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT_HTTPS, and may have
                ROOST_KUBERNETES_ACCOUNT, the folder of the service account when it is not at its usual place.

        Raises:
            OSError: when this is no pod.
        """
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        if not host or not port.isdecimal():
            raise OSError("this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST is not set")
        return cls(Address(host, int(port)), Path(environ.get("ROOST_KUBERNETES_ACCOUNT", ACCOUNT_FOLDER)))

    async def get(self, path: str, timeout_s: float) -> bytes:
        """The body of the answer to GET `path`.

        Raises:
            OSError: when nobody answers within `timeout_s`, the server's certificate is not the cluster's, or the
                answer is anything but 200 OK or longer than DISCOVER_BYTES_MAX.
        """
        asked = asyncio.get_running_loop().run_in_executor(None, self._get, path, timeout_s)
        async with asyncio.timeout(timeout_s):
            return await asked

    def _get(self, path: str, timeout_s: float) -> bytes:
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        token = (self._account / "token").read_text().strip()
        connection = http.client.HTTPSConnection(*self._server, timeout=timeout_s, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read(limits.DISCOVER_BYTES_MAX + 1)
        except http.client.HTTPException as error:
            raise OSError(f"the Kubernetes API at {self._server} does not speak HTTP: {error!r}") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(
                f"the Kubernetes API at {self._server} answers {answer.status} {answer.reason} to GET {path}: "
                "may the pod's service account list pods?"
            )
        if len(body) > limits.DISCOVER_BYTES_MAX:
            raise OSError(f"the Kubernetes API at {self._server} answers with more than {limits.DISCOVER_BYTES_MAX} B")
        return body
