"""Terms: when an operation on several copies counts as done, as its caller asks for it and as numbers.

A caller says what matters to it, in numbers or by the names that Riak has given them, and leaves the rest to the
bucket. `resolve_write` and `resolve_read` make numbers of that, and refuse what can never be met. What the numbers then
do is in `core.quorum`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec

from roost.errors import InvalidQuorum
from roost.limits import TERMS_REMEMBERED

Symbol = Literal["one", "quorum", "all", "default"]
Count = int | Symbol
"""How many copies: a number, "one", "quorum" (more than half of n), "all" (n), or "default" (what the bucket says)."""


class WriteOptions(TypedDict, total=False):
    """What a write may ask for. What it does not name, or names as None, is as the bucket declares it.

    Attributes:
        n: on how many nodes; all that the bucket declares, or as many as there are.
        w: how many copies must have received it; more than half of n unless the bucket declares something else.
        dw: how many copies must have it on disk; w of them in a durable bucket, else none. When it is less than w, a
            copy is counted for w when it is in memory and for dw when it is on disk.
        pw: how many of the answers must come from nodes that hold the copy themselves, rather than from nodes that
            stand in for one that is down; none.
        node_confirms: how many different nodes must have answered; none.
        sloppy: whether other nodes may stand in for those that are down; they may.
    """

    n: int | None
    w: Count | None
    dw: Count | None
    pw: Count | None
    node_confirms: Count | None
    sloppy: bool | None


class ReadOptions(TypedDict, total=False):
    """What a read may ask for. What it does not name, or names as None, is as the bucket declares it.

    Attributes:
        n: on how many nodes the value is; all that the bucket declares, or as many as there are.
        r: how many of them must answer; more than half of n unless the bucket declares something else.
        pr: how many of the answers must come from nodes that hold the copy themselves; none.
        node_confirms: how many different nodes must have answered; none.
        notfound_ok: whether "nothing is here" is an answer that counts for r and pr; it is. When it is not, a read goes
            on until r copies have been found; it finds nothing when so many have nothing that r can no longer be
            found, none has failed and none has anything.
        basic_quorum: whether a read gives up when more than half of n have failed, or have nothing where that does not
            count, instead of waiting for all; it does not.
        sloppy: whether other nodes may stand in for those that are down; they may.
        hedge: whether to ask only as many nodes as must answer, quick ones first, and further ones when one of those
            takes longer than it usually does; otherwise all n are asked at once.
    """

    n: int | None
    r: Count | None
    pr: Count | None
    node_confirms: Count | None
    notfound_ok: bool | None
    basic_quorum: bool | None
    sloppy: bool | None
    hedge: bool | None


class Terms(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an operation needs, in numbers.

    Attributes:
        n: how many copies there are.
        needed: how many must answer: r or w.
        primaries: how many of the answers must be of holders: pr or pw.
        nodes: how many different nodes must answer: node_confirms.
        is_sloppy: whether nodes may stand in for holders that are down.
        durable: how many copies must be on disk: dw. Where that is at least `needed`, a copy is counted at all only
            when it is on disk, so that one answer of it says everything; where it is less, a copy is *staged*: it is
            counted when it is received, and again when it is on disk.
        names: what callers call `needed` and `primaries`.
    """

    n: int
    needed: int
    primaries: int = 0
    nodes: int = 0
    is_sloppy: bool = True
    durable: int = 0

    names: ClassVar[tuple[str, str]] = ("w", "pw")


class WriteTerms(Terms, array_like=True, frozen=True, gc=False):
    """What a write needs."""


class ReadTerms(Terms, array_like=True, frozen=True, gc=False):
    """What a read needs.

    Attributes:
        notfound_ok: whether "nothing is here" is an answer that counts.
        basic_quorum: whether to give up when more than half have failed.
        is_hedged: whether to ask no more nodes at first than must answer.
    """

    notfound_ok: bool = True
    basic_quorum: bool = False
    is_hedged: bool = False

    names: ClassVar[tuple[str, str]] = ("r", "pr")


class Keeper(NamedTuple):
    """Who keeps copies: a bucket, or a ring of vnodes.

    Attributes:
        name: how a sentence names it.
        copies: how many copies it keeps.
        is_durable: whether its copies count only when they are on disk.
        has_disk: whether there is a disk.
    """

    name: str
    copies: int
    is_durable: bool = False
    has_disk: bool = False


WRITE_OPTIONS: Final = frozenset(WriteOptions.__annotations__)
READ_OPTIONS: Final = frozenset(ReadOptions.__annotations__)


def majority(n: int) -> int:
    """More than half of `n`: what r and w are when nothing is said, so that reads see writes."""
    return n // 2 + 1


def resolve_write(options: WriteOptions, usual: WriteOptions, keeper: Keeper, members: int) -> WriteTerms:
    """What a write needs.

    Args:
        options: what its caller asks for.
        usual: what the keeper declares. A number there counts up to n, so that a bucket of three copies also works in
            a cluster of two nodes.
        keeper: who keeps the copies.
        members: how many nodes there can be copies on.

    Raises:
        InvalidQuorum: when no cluster, or not this one, can do what is asked for; it names the parameter.
        TypeError: when there is no such option.
    """
    _known(options, WRITE_OPTIONS)
    n = _copies(options.get("n"), keeper, members)
    w = _count("w", options, usual, n, 1, "quorum")
    least = 1 if keeper.is_durable else 0
    durable = _count("dw", options, usual, n, least, w if keeper.is_durable else 0)
    if durable and not keeper.has_disk:
        raise InvalidQuorum("dw", durable, "nothing can be on disk: give the node a data folder")
    primaries = _count("pw", options, usual, n, 0, 0)
    nodes = _count("node_confirms", options, usual, n, 0, 0)
    return WriteTerms(n, w, primaries, nodes, _flag("sloppy", options, usual, True), durable)


def resolve_read(options: ReadOptions, usual: ReadOptions, keeper: Keeper, members: int) -> ReadTerms:
    """What a read needs; as `resolve_write`."""
    _known(options, READ_OPTIONS)
    n = _copies(options.get("n"), keeper, members)
    return ReadTerms(
        n,
        _count("r", options, usual, n, 1, "quorum"),
        _count("pr", options, usual, n, 0, 0),
        _count("node_confirms", options, usual, n, 0, 0),
        _flag("sloppy", options, usual, True),
        0,
        _flag("notfound_ok", options, usual, True),
        _flag("basic_quorum", options, usual, False),
        _flag("hedge", options, usual, False),
    )


OptionsT = TypeVar("OptionsT", bound=Mapping[str, object])
TermsT = TypeVar("TermsT", bound=Terms)


class TermsBook(Generic[OptionsT, TermsT]):
    """What the operations of one keeper need; the same few options come again and again, so they are remembered.

    Args:
        resolve: `resolve_write` or `resolve_read`.
        usual: what the keeper declares.
        keeper: who keeps the copies.

    Raises:
        InvalidQuorum: when what it declares is never possible, however many nodes there are.
    """

    def __init__(
        self, resolve: Callable[[OptionsT, OptionsT, Keeper, int], TermsT], usual: OptionsT, keeper: Keeper
    ) -> None:
        self.keeper = keeper
        self._resolve = resolve
        self._usual = usual
        self._known: dict[tuple[object, ...], TermsT] = {}
        self._members = 0
        resolve(usual, usual, keeper, keeper.copies)

    def terms(self, options: OptionsT, members: int) -> TermsT:
        """What `options` mean where there can be copies on `members` nodes.

        Raises:
            InvalidQuorum: when it is not possible there.
            TypeError: when there is no such option.
        """
        if members != self._members or len(self._known) > TERMS_REMEMBERED:
            self._members = members
            self._known.clear()
        key = tuple(options.items())
        terms = self._known.get(key)
        if terms is None:
            terms = self._known[key] = self._resolve(options, self._usual, self.keeper, members)
        return terms


def check_terms(terms: WriteTerms, members: int) -> None:
    """Refuse numbers of another node that no cluster of `members` nodes can satisfy.

    Raises:
        InvalidQuorum: when one is out of its range.
    """
    _within("n", terms.n, 1, members, str(members))
    _within("w", terms.needed, 1, terms.n)
    for parameter, value in (("dw", terms.durable), ("pw", terms.primaries), ("node_confirms", terms.nodes)):
        _within(parameter, value, 0, terms.n)


def _copies(n: int | None, keeper: Keeper, members: int) -> int:
    if n is None:
        return min(keeper.copies, members)
    if not 1 <= n <= members:
        raise InvalidQuorum("n", n, f"it must be from 1 to {members}, the number of nodes in this cluster")
    if n > keeper.copies:
        raise InvalidQuorum("n", n, f"{keeper.name} keeps {keeper.copies} copies")
    return n


def _count(
    parameter: str, options: Mapping[str, object], usual: Mapping[str, object], n: int, least: int, otherwise: Count
) -> int:
    """One number of copies, from `least` to n."""
    given = options.get(parameter)
    if given is None or given == "default":
        given = usual.get(parameter)
        if given is None or given == "default":
            given = otherwise
        if isinstance(given, int):
            given = min(given, n)
    if isinstance(given, str):
        named = {"one": 1, "quorum": majority(n), "all": n}.get(given)
        if named is None:
            raise InvalidQuorum(parameter, given, 'it must be a number, "one", "quorum", "all" or "default"')
        return named
    if not isinstance(given, int) or isinstance(given, bool):
        raise InvalidQuorum(parameter, str(given), "it must be a number or a name of one")
    return _within(parameter, given, least, n)


def _within(parameter: str, value: int, least: int, most: int, called: str = "") -> int:
    if not least <= value <= most:
        raise InvalidQuorum(parameter, value, f"it must be from {least} to {called or f'n={most}'}")
    return value


def _flag(parameter: str, options: Mapping[str, object], usual: Mapping[str, object], otherwise: bool) -> bool:
    for said in (options.get(parameter), usual.get(parameter)):
        if said is not None:
            return bool(said)
    return otherwise


def _known(names: Iterable[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            raise TypeError(f"there is no option {name!r}: there are {', '.join(sorted(known))}")
