"""The application that an operator names on the command line: "module:attribute"."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from roost.errors import ConfigError
from roost.ops.plan import TARGET, no_module, split_target
from roost.web.app import Roost


def load_target(text: str) -> Roost:
    """Import the module, with the current directory on the path, and take its application.

    Raises:
        ConfigError: when there is no such module or attribute, the module fails, or the attribute is no `Roost`.
    """
    name, attribute = split_target(text)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: object = _import(name)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ConfigError(TARGET, f"the module {name} has no {attribute!r}: name its Roost(...) object")
    if not isinstance(found, Roost):
        raise ConfigError(TARGET, f"{text} is a {type(found).__name__}: name a Roost(...) object")
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise no_module(name) from None
        raise _failed(name, error) from None
    except Exception as error:
        raise _failed(name, error) from None


def _failed(name: str, error: Exception) -> ConfigError:
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    else:
        where = _own_line(error)
    text = " ".join(str(error).split())
    return ConfigError(TARGET, f"importing {name} failed: {type(error).__name__}: {text} ({where})")


def _own_line(error: Exception) -> str:
    """The innermost line of the operator's own files on the way to `error`; of any file when there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(Path(frame.filename))]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _is_own(file: Path) -> bool:
    return file.is_relative_to(Path.cwd()) and "site-packages" not in file.parts
