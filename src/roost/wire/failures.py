"""Errors between nodes: the code and the arguments of a declared error, and back.

Only classes of `roost.errors`, and subclasses of `Refusal` that an application declares, cross. The receiver looks
the code up among the classes it has declared itself, and checks the arguments against the constructor's annotations;
what does not fit arrives as BadMessage. No class is ever named, imported or built from what the wire says alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import get_type_hints

import msgspec

from roost.errors import BadMessage, InvariantViolated, ProcessDown, RoostError

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(list[object]).decode


def encode_failure(error: BaseException, target: str) -> tuple[str, bytes]:
    """The code and the encoded arguments of `error`.

    An error that is not declared crosses as ProcessDown of `target`, with its text as the reason; one whose arguments
    cannot be encoded as BadMessage. This never raises: whoever asked gets an answer, whatever the error is made of.
    """
    if not isinstance(error, RoostError) or isinstance(error, InvariantViolated):
        return ProcessDown.code, _encode((target, _text(error)))
    try:
        return error_code(type(error)), _encode(error.args)
    except Exception:  # an argument beyond 64 bits, text that is no UTF-8, a __str__ that fails
        return BadMessage.code, _encode((f"an error that cannot be sent: {_text(error)}",))


def decode_failure(code: str, arguments: msgspec.Raw | bytes) -> RoostError:
    """The declared error of `code`, built from `arguments`; BadMessage when this node declares no such error."""
    declared = next((cls for cls in _declared(RoostError) if error_code(cls) == code), None)
    if declared is None:
        return BadMessage(f"the other side refused with an error that is not declared here: {code}")
    try:
        return declared(*_checked(declared, _decode(arguments)))
    except Exception as problem:  # what an application's constructor does with wrong arguments is its own affair
        return BadMessage(f"the other side refused with {code}, but its facts are wrong: {_text(problem)}")


def error_code(cls: type[RoostError]) -> str:
    """The name of an error class on the wire: its own `code`, or where it is defined for one that declares none."""
    return cls.code if "code" in vars(cls) else f"{cls.__module__}.{cls.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        sentence = str(error)
    except Exception:
        sentence = "it cannot say why"
    return f"{type(error).__name__}: {sentence}".encode(errors="backslashreplace").decode()


def _declared(cls: type[RoostError]) -> Iterator[type[RoostError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _declared(child)


def _checked(cls: type[RoostError], arguments: list[object]) -> list[object]:
    hints = get_type_hints(cls.__init__)
    names = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    if not hints or len(names) < len(arguments):
        return arguments
    return [msgspec.convert(value, hints.get(name, object)) for name, value in zip(names, arguments, strict=False)]
