"""Which part of an application serves a path: sockets at their mounts, and the files of the browser client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from roost.errors import ConfigError
from roost.web.answer import Scope
from roost.web.serving import Application

EVERY_KIND: Final = ("http", "websocket")
_VARIABLE: Final = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)


class Mounts:
    """A table of paths. A segment such as `{tenant}` stands for any one segment, which becomes a parameter."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self) -> None:
        self._exact: dict[str, tuple[Application, tuple[str, ...]]] = {}
        self._patterns: list[tuple[re.Pattern[str], Application, tuple[str, ...]]] = []

    def add(self, path: str, app: Application, kinds: tuple[str, ...] = EVERY_KIND) -> None:
        """Serve `path` with `app`. A path without variables is found first, then those that were added first.

        Args:
            path: see `clean`.
            app: an ASGI application.
            kinds: the kinds of ASGI scopes that it serves.
        """
        if "{" in path:
            self._patterns.append((_pattern(path), app, kinds))
        else:
            self._exact[path] = app, kinds

    def find(self, scope: Scope) -> tuple[Application, dict[str, str]] | None:
        """Who serves a request, and the parameters of its path; None when nobody here does."""
        kind = scope["type"]
        for path in _paths(scope):
            exact = self._exact.get(path)
            if exact is not None and kind in exact[1]:
                return exact[0], {}
            for pattern, app, kinds in self._patterns:
                if kind in kinds and (found := pattern.fullmatch(path)):
                    return app, found.groupdict()
        return None


def clean(path: str) -> str:
    """The path of a mount as it was given.

    Raises:
        ConfigError: it does not begin with a slash, or ends with one, or a variable in it is no whole segment, or is
            named twice.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigError("sockets", f"the path {path!r} must begin with a slash and not end with one")
    names = []
    for segment in path.split("/"):
        variable = _VARIABLE.fullmatch(segment)
        if variable is not None:
            names.append(variable[1])
        elif "{" in segment or "}" in segment:
            raise ConfigError("sockets", f"the path {path!r}: a variable is a whole segment, as in /socket/{{tenant}}")
    if len(set(names)) < len(names):
        raise ConfigError("sockets", f"the path {path!r} names a variable twice")
    return path


def _pattern(path: str) -> re.Pattern[str]:
    segments = []
    for segment in path.split("/"):
        variable = _VARIABLE.fullmatch(segment)
        segments.append(re.escape(segment) if variable is None else f"(?P<{variable[1]}>[^/]+)")
    return re.compile("/".join(segments))


def _paths(scope: Scope) -> Iterator[str]:
    """The path of a request, and the path below each place where this application may be mounted.

    `root_path` names the innermost mount, which may already be within this application.
    """
    path: str = scope["path"]
    yield path
    root: str = scope.get("root_path") or ""
    while root:
        if path.startswith(root + "/"):
            yield path[len(root) :]
        root = root.rpartition("/")[0]
