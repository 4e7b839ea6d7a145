"""Members that are pods of one Kubernetes cluster, found by their labels through its API.

`kubernetes:shop/app=roost:4100` asks for the pods of the namespace `shop` with the label `app=roost`. The pod's
service account must be allowed to `list` `pods` there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote

import msgspec

from roost import limits
from roost.config import Address


class Api(Protocol):
    """As much of the API as is needed."""

    async def get(self, path: str, timeout_s: float) -> bytes:
        """The body of the answer to GET `path`.

        Raises:
            OSError: when there is none.
        """


class _Metadata(msgspec.Struct):
    deletionTimestamp: str | None = None


class _Status(msgspec.Struct):
    phase: str = ""
    podIP: str = ""


class _Pod(msgspec.Struct):
    metadata: _Metadata
    status: _Status


class _Pods(msgspec.Struct):
    items: list[_Pod]


class Kubernetes:
    """Asks the API, again for every look.

    Args:
        api: opens the API; called for every look, as a node may be started before it is there.
        namespace: where the pods are.
        selector: a label selector, such as "app=roost,tier=chat".
        port: at which every member listens.
    """

    def __init__(self, api: Callable[[], Api], namespace: str, selector: str, port: int) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods?labelSelector={quote(selector, safe='')}"
        self._port = port

    @classmethod
    def parse(cls, text: str, api: Callable[[], Api]) -> Kubernetes:
        """Read "namespace/selector:port".

        Raises:
            ValueError: when it is not of that form.
        """
        place, _, port = text.rpartition(":")
        namespace, slash, selector = place.partition("/")
        if not (slash and namespace and selector and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is not namespace/selector:port")
        return cls(api, namespace, selector, int(port))

    async def look(self) -> Sequence[Address]:
        """Where the pods are that run and are not on their way out.

        Raises:
            OSError: when the API does not answer, or not with pods.
        """
        body = await self._api().get(self._path, limits.DISCOVER_TIMEOUT_S)
        try:
            pods = msgspec.json.decode(body, type=_Pods)
        except msgspec.MsgspecError as error:
            raise OSError(f"the Kubernetes API answers with something else than pods: {error}") from None
        return sorted(
            Address(pod.status.podIP, self._port)
            for pod in pods.items
            if pod.status.podIP and pod.status.phase == "Running" and pod.metadata.deletionTimestamp is None
        )

    async def close(self) -> None:
        """It holds nothing."""
