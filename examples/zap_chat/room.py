"""What happens in a room: pure functions from a room and a command to the next room and an answer.

Every copy of a room is told the same commands, and two copies that were apart are merged. So the time and all chance
come in the commands, and everything here can be merged in any order, and twice.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

LINES_MAX: Final = 50
"""What a room remembers of what was said."""
HERE_MAX: Final = 100
"""Who may be in a room at a time."""
PEOPLE_MAX: Final = 200
"""Who is remembered: those that are in the room, and the last that have left."""
SCORES_MAX: Final = 100
GUESSES_EACH: Final = 3
TOP_MAX: Final = 1_000
POINTS: Final = (10, 8, 8, 5, 3, 1)
"""For a winner who needed the first, second, ... guess of the game; later ones are worth as much as the last here."""


class Visitor(msgspec.Struct, frozen=True):
    """Who gives a command.

    Attributes:
        name: what the others call him.
        owner: a secret word of whoever took the name; with it he gets it back after his connection was lost.
        visit: this connection.
        node: the node that has the connection.
    """

    name: str
    owner: str
    visit: str
    node: str


class Line(msgspec.Struct, frozen=True, order=True):
    """Something that was said."""

    at_ms: int
    id: str
    name: str
    text: str


class Person(msgspec.Struct, frozen=True, order=True):
    """Somebody who is in the room since `at_ms`, or has left it then."""

    at_ms: int
    is_here: bool
    owner: str
    visit: str
    node: str


class Score(msgspec.Struct, frozen=True):
    """What became of somebody's games; the numbers only grow."""

    wins: int = 0
    losses: int = 0
    points: int = 0


class Game(msgspec.Struct, frozen=True, order=True):
    """A number to be guessed, and who has guessed what so far."""

    begun_ms: int
    guesses: tuple[tuple[str, int], ...]
    secret: int
    top: int
    is_over: bool = False


class Room(msgspec.Struct, frozen=True):
    """All of a room. It is a value: what changes it makes another one."""

    lines: tuple[Line, ...] = ()
    people: dict[str, Person] = {}
    scores: dict[str, Score] = {}
    game: Game | None = None

    def here(self) -> list[str]:
        """The names of those who are in the room."""
        return sorted(name for name, person in self.people.items() if person.is_here)

    def unread(self, name: str) -> tuple[Line, ...]:
        """What was said since somebody has left."""
        person = self.people.get(name)
        if person is None or person.is_here:
            return ()
        return tuple(line for line in self.lines if line.at_ms > person.at_ms)


class Enter(msgspec.Struct, frozen=True, tag=True):
    """Come in."""

    room: str
    who: Visitor
    at_ms: int


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Go; also for somebody whose connection, or node, is lost."""

    room: str
    who: Visitor
    at_ms: int


class Say(msgspec.Struct, frozen=True, tag=True):
    """Tell everybody in the room something."""

    room: str
    who: Visitor
    line: Line


class Read(msgspec.Struct, frozen=True, tag=True):
    """Somebody who is not in the room has seen what was said there."""

    room: str
    who: Visitor
    at_ms: int


class StartGame(msgspec.Struct, frozen=True, tag=True):
    """Think of a number from 1 to `top`."""

    room: str
    who: Visitor
    at_ms: int
    secret: int
    top: int


class Guess(msgspec.Struct, frozen=True, tag=True):
    """Guess the number."""

    room: str
    who: Visitor
    number: int


class Look(msgspec.Struct, frozen=True, tag=True):
    """Who is here, and who has won how often?"""

    room: str
    what: str


Change = Enter | Leave | Say | Read | StartGame | Guess


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What to tell whoever gave the command, and what to tell the others.

    Attributes:
        is_in: whether he is in the room.
    """

    to_you: tuple[str, ...] = ()
    to_all: tuple[str, ...] = ()
    is_in: bool = True


def change(room: Room, command: Change) -> tuple[Room, Answer]:
    """What a command makes of a room."""
    if isinstance(command, Enter):
        return _enter(room, command)
    if isinstance(command, Read):
        return _read(room, command), Answer()
    person = room.people.get(command.who.name)
    if person is None or not person.is_here or person.visit != command.who.visit:
        return room, Answer((f"you are not in {command.room}: join it first",), is_in=False)
    last_ms = room.lines[-1].at_ms if room.lines else 0
    if isinstance(command, Leave):
        gone = replace(person, is_here=False, at_ms=max(command.at_ms, person.at_ms, last_ms))
        after = replace(room, people={**room.people, command.who.name: gone})
        return after, Answer((f"left {command.room}",), (f"* {command.who.name} has left {command.room}",), False)
    if isinstance(command, Say):
        if any(line.id == command.line.id for line in room.lines):
            return room, Answer()  # it was said when the other copy did not know him
        line = replace(command.line, at_ms=max(command.line.at_ms, last_ms + 1))
        said = f"{command.room} - {line.name}: {line.text}"
        return replace(room, lines=(*room.lines, line)[-LINES_MAX:]), Answer(to_all=(said,))
    if isinstance(command, StartGame):
        return _start_game(room, command)
    return _guess(room, command)


def look(room: Room, command: Look) -> Answer:
    """What a room is like."""
    if command.what == "scores":
        if not room.scores:
            return Answer((f"nobody has finished a game in {command.room} yet",))
        ranked = sorted(room.scores.items(), key=lambda entry: (-entry[1].points, -entry[1].wins, entry[0]))
        lines = (f"  {name}: {s.points} points, {s.wins} won, {s.losses} lost" for name, s in ranked[:10])
        return Answer((f"scores of {command.room}:", *lines))
    here = room.here()
    return Answer((f"{len(here)} in {command.room}: {', '.join(here)}" if here else f"nobody is in {command.room}",))


def merge(mine: Room, given: Room) -> Room:
    """One room of two copies that were told of different things: nothing of either is lost, the newest counts."""
    lines = {line.id: line for line in sorted((*mine.lines, *given.lines))}
    people = dict(mine.people)
    for name, person in given.people.items():
        people[name] = max(person, people.get(name, person))
    scores = dict(mine.scores)
    for name, score in given.scores.items():
        old = scores.get(name, score)
        best = map(max, msgspec.structs.astuple(old), msgspec.structs.astuple(score))
        scores[name] = Score(*best)
    games = [game for game in (mine.game, given.game) if game is not None]
    game = max(games, key=lambda game: (game.begun_ms, game.is_over, game), default=None)
    return Room(tuple(sorted(lines.values()))[-LINES_MAX:], _bounded(people), _few(scores), game)


def _enter(room: Room, command: Enter) -> tuple[Room, Answer]:
    who, old = command.who, room.people.get(command.who.name)
    was_here = old is not None and old.is_here
    if old is not None and was_here and old.owner != who.owner:
        return room, Answer((f"somebody in {command.room} is called {who.name} already: set-name first",), is_in=False)
    if not was_here and len(room.here()) >= HERE_MAX:
        return room, Answer((f"{command.room} is full: it has room for {HERE_MAX}",), is_in=False)
    at_ms = command.at_ms if old is None else max(command.at_ms, old.at_ms)
    person = Person(at_ms, True, who.owner, who.visit, who.node)
    after = replace(room, people=_bounded({**room.people, who.name: person}))
    said = tuple(f"{command.room} - {line.name}: {line.text}" for line in room.lines)
    joined = f"joined {command.room}! 'say {command.room} <message>' to chat"
    return after, Answer((joined, *said), () if was_here else (f"* {who.name} has joined {command.room}",))


def _read(room: Room, command: Read) -> Room:
    person = room.people.get(command.who.name)
    if person is None or person.is_here:
        return room
    seen = replace(person, at_ms=max(command.at_ms, person.at_ms))
    return replace(room, people={**room.people, command.who.name: seen})


def _start_game(room: Room, command: StartGame) -> tuple[Room, Answer]:
    if room.game is not None and not room.game.is_over:
        return room, Answer((f"a game is on in {command.room}: the number is from 1 to {room.game.top}",))
    game = Game(command.at_ms, (), command.secret, command.top)
    news = (
        f"* {command.who.name} has started a game in {command.room}: guess a number from 1 to {command.top} "
        f"with 'guess {command.room} <number>', {GUESSES_EACH} guesses each"
    )
    return replace(room, game=game), Answer(to_all=(news,))


def _guess(room: Room, command: Guess) -> tuple[Room, Answer]:
    game, name = room.game, command.who.name
    if game is None or game.is_over:
        return room, Answer((f"no game is on in {command.room}: 'start-game {command.room} 100'",))
    if sum(1 for guesser, _ in game.guesses if guesser == name) >= GUESSES_EACH:
        return room, Answer((f"you have had your {GUESSES_EACH} guesses",))
    game = replace(game, guesses=(*game.guesses, (name, command.number)))
    tried = f"* {name} guesses {command.number}"
    if command.number != game.secret:
        hint = "higher" if command.number < game.secret else "lower"
        if any(_guesses_left(game, other) for other in room.here()):
            return replace(room, game=game), Answer(to_all=(f"{tried}: {hint}",))
        over = _finished(room, game, None)
        return over, Answer(to_all=(f"{tried}: {hint}", f"* nobody has guesses left: it was {game.secret}"))
    points = POINTS[min(len(game.guesses), len(POINTS)) - 1]
    won = f"{tried}: winner! {points} point{'' if points == 1 else 's'} for {name}"
    return _finished(room, game, name), Answer(to_all=(won,))


def _guesses_left(game: Game, name: str) -> int:
    return GUESSES_EACH - sum(1 for guesser, _ in game.guesses if guesser == name)


def _finished(room: Room, game: Game, winner: str | None) -> Room:
    """The game is over: everybody who has guessed has won or lost it."""
    scores = dict(room.scores)
    for name in {guesser for guesser, _ in game.guesses}:
        old = scores.get(name, Score())
        if name == winner:
            points = POINTS[min(len(game.guesses), len(POINTS)) - 1]
            scores[name] = replace(old, wins=old.wins + 1, points=old.points + points)
        else:
            scores[name] = replace(old, losses=old.losses + 1)
    return replace(room, game=replace(game, is_over=True), scores=_few(scores))


def _bounded(people: dict[str, Person]) -> dict[str, Person]:
    """Without those who left longest ago, when they are too many."""
    if len(people) <= PEOPLE_MAX:
        return people
    ranked = sorted(people, key=lambda name: (people[name].is_here, people[name]), reverse=True)
    return {name: people[name] for name in ranked[:PEOPLE_MAX]}


def _few(scores: dict[str, Score]) -> dict[str, Score]:
    """The best ones."""
    if len(scores) <= SCORES_MAX:
        return scores
    ranked = sorted(scores, key=lambda name: (scores[name].points, scores[name].wins, name), reverse=True)
    return {name: scores[name] for name in ranked[:SCORES_MAX]}
