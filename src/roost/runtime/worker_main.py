"""The program of a worker process: it runs one function after the other for the node that started it.

It is started as a script of its own, never forked, so it shares nothing with the node but one socket. It ends when the
node's end of that socket closes, however the node has ended, and in the middle of a function too. On Linux the system
sees to that even while a function in C, such as a match of a regular expression, lets no other thread run.
"""

from __future__ import annotations

import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Final, NamedTuple

HEADER_BYTES: Final = 4
"""A frame is its length, big-endian, and its body."""
VALUE: Final = b"v"
"""A reply: what the function has returned."""
DECLARED: Final = b"d"
"""A reply: the declared error that the function has raised; its class, its arguments, and where."""
FAILED: Final = b"f"
"""A reply: anything else that it has raised; what, and where."""

MARK: Final = "ROOST_WORKER"
"""The variable that holds the number of this process, so that code can see that it runs in a worker."""
MAIN: Final = "__roost_worker__"
"""What `__name__` is while a worker imports the script that the node was started from."""
PARENT_DEATH: Final = 1
"""What Linux calls PR_SET_PDEATHSIG: the signal that it sends to a process whose parent has ended."""
LAST_WORDS_S: Final = 0.2
"""How long a worker that does nothing may take to end in an orderly way once its node has gone."""


class Setup(NamedTuple):
    """The first frame, in JSON: what a worker takes over from the interpreter of its node.

    `script` is the path, or with `-m` the name of the module, that the node was started from.
    """

    path: list[str]
    argv: list[str]
    script: str
    is_module: bool
    memory_bytes_max: int
    payload_bytes_max: int


def is_worker() -> bool:
    """Whether this code runs in a worker process."""
    return os.environ.get(MARK) == str(os.getpid())


class Place:
    """Where functions and classes are found by name. Both ends of the socket belong to one program."""

    def __init__(self, setup: Setup | None = None) -> None:
        self._setup = setup
        self._imported = setup is None

    def name_of(self, thing: Callable[..., object]) -> str:
        """Where a class or a function is defined, as "module:qualname".

        Raises:
            LookupError: when it is not found there: it was defined inside a function, at a prompt, or decorated away.
        """
        module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str):
            found: object = sys.modules.get(module)
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is thing:
                return f"__main__:{name}" if module == MAIN else f"{module}:{name}"
        raise LookupError(f"{thing!r} is not defined at the top of a module")

    def find(self, name: str) -> object:
        """What is defined there; the module is imported when it was not yet."""
        if not self._imported and name.startswith("__main__:"):
            assert self._setup is not None
            _import_script(self._setup)
            self._imported = True
        # Not a name from the network: it comes from the other end of a pair of sockets that only these two have.
        return pkgutil.resolve_name(name)


def _import_script(setup: Setup) -> None:
    """Run the node's own script again under another `__name__`, for the functions that it defines."""
    sys.modules[MAIN] = module = types.ModuleType(MAIN)
    run = runpy.run_module if setup.is_module else runpy.run_path
    vars(module).update(run(setup.script, run_name=MAIN))
    sys.modules["__main__"] = module


class Jobs:
    """Runs what the jobs of a node say.

    Args:
        place: where functions are found.
        payload_bytes_max: the largest reply.
    """

    def __init__(self, place: Place, payload_bytes_max: int) -> None:
        from roost.wire.cargo import Cargo  # not before the search path is known

        self._place, self._payload_bytes_max = place, payload_bytes_max
        self._cargo = Cargo(place.name_of, place.find)

    def run(self, body: bytes | memoryview) -> tuple[bytes, bytes]:
        """Do one job. Returns the kind of the reply, and its content."""
        name = "a job"
        try:
            content = self._cargo.unpack(body)
            assert isinstance(content, list)
            name, *args = content
            function = self._place.find(name)
            assert callable(function)
            value = self._cargo.pack(function(*args), f"the result of {name}")
            if len(value) > self._payload_bytes_max:
                from roost.errors import TooLarge

                raise TooLarge("CPU_PAYLOAD_BYTES_MAX", len(value), self._payload_bytes_max)
        except BaseException as error:
            return self._explain(error, name)
        return VALUE, value

    def _explain(self, error: BaseException, name: str) -> tuple[bytes, bytes]:
        from roost.errors import InvariantViolated, RoostError

        where = f"an error of {name}"
        story = _text("".join(traceback.format_exception(error)))
        if isinstance(error, RoostError) and not isinstance(error, InvariantViolated):
            try:
                return DECLARED, self._cargo.pack([self._place.name_of(type(error)), error.args, story], where)
            except (LookupError, RoostError):
                pass  # it cannot be made again on the other side, so its text must do
        return FAILED, self._cargo.pack([_text(traceback.format_exception_only(error)[0].strip()), story], where)


class Desk:
    """Takes the jobs of one node from a socket, and answers them there."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        setup = Setup(*json.loads(bytes(self._frame())))
        sys.path[:], sys.argv[:] = setup.path, setup.argv
        if setup.memory_bytes_max:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (setup.memory_bytes_max, setup.memory_bytes_max))
        self._jobs = Jobs(Place(setup), setup.payload_bytes_max)

    def serve(self) -> None:
        """Do one job after the other, for as long as the node is there.

        Raises:
            EOFError: when the node has gone.
        """
        while True:
            kind, content = self._jobs.run(self._frame())
            _flush()
            self._socket.sendall((len(content) + 1).to_bytes(HEADER_BYTES) + kind + content)

    def _frame(self) -> memoryview:
        return self._take(int.from_bytes(self._take(HEADER_BYTES)))

    def _take(self, size: int) -> memoryview:
        data = memoryview(bytearray(size))
        got = 0
        while got < size:
            count = self._socket.recv_into(data[got:])
            if count == 0:
                raise EOFError
            got += count
        return data


def _text(text: str) -> str:
    """Text that can be encoded, whatever was in it."""
    return text.encode(errors="backslashreplace").decode()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # what the function has printed is its own affair


def _end_with(sock: socket.socket) -> None:
    """End this process when the other end of the socket has closed, even in the middle of a function."""
    poll = select.poll()
    poll.register(sock, 0)  # only the hang-up, which is always told
    poll.poll()
    time.sleep(LAST_WORDS_S)
    os._exit(1)


def _die_with_parent() -> None:
    """Let the system kill this process when the thread that has started it ends: that of the node's loop."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PARENT_DEATH, int(signal.SIGKILL))


def _stay(number: int, frame: types.FrameType | None) -> None:
    """Whoever signals a whole group of processes means the node; it will end its workers itself."""


def main() -> None:
    """Serve the node at the other end of the socket whose number is the first argument."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)
    os.environ[MARK] = str(os.getpid())
    # A handler, not SIG_IGN: programs that the function starts would inherit that.
    signal.signal(signal.SIGINT, _stay)
    signal.signal(signal.SIGTERM, _stay)
    threading.Thread(target=_end_with, args=(sock,), daemon=True).start()
    _die_with_parent()
    try:
        Desk(sock).serve()
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
