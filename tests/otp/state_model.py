"""A reference model of gen_statem: lists, loops and the words of its manual, and nothing of Roost.

It is slow and short. Where two things are due at the same moment, the manual says nothing; such a run is `tied`.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.otp.state_programs import REST_TICKS, Answer, Key, Line, Program, Seen, Setting, Trace, trace


class Event(NamedTuple):
    """Something to handle. For calls `asked` is the number of the call."""

    kind: str
    content: int
    asked: int | None = None


class Timer(NamedTuple):
    """A timeout that runs."""

    key: Key
    due: float
    content: int


class Model:
    """One run of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.now = 0.0
        self.state = program.first
        self.lines = list(program.lines)
        self.count = 0
        self.queue: list[Event] = []
        self.postponed: list[Event] = []
        self.timers: list[Timer] = []
        self.zeros: list[tuple[Key, int]] = []
        self.settings: list[Setting] = []
        self.saved: list[int] = []
        self.unanswered: list[int] = []
        self.alive = True
        self.tied = False
        self.revived = False
        """Whether a timeout of zero that was about to come was set to a later time."""
        self.seen: list[Seen] = []
        self.answers: list[Answer] = []

    def run(self) -> Trace:
        """Live through the whole script."""
        self.queue += [Event("internal", event) for event in self.program.inserts]
        self.settings += self.program.settings
        self.enter(self.state)
        self.finish_queue()
        script = list(self.program.script)
        while script or self.timers:
            times = [timer.due for timer in self.timers] + [moment.at for moment in script[:1]]
            self.now = max(self.now, min(times))
            due = [timer for timer in self.timers if timer.due <= self.now]
            burst = [moment for moment in script if moment.at <= self.now]
            self.tied |= len(due) + bool(burst) > 1
            if due:
                self.timers.remove(due[0])
                self.handle(Event(str(due[0].key), due[0].content))
                self.finish_queue()
            for number, moment in enumerate(burst):
                del script[0]
                self.arrive(moment.kind, moment.event)
                more = number + 1 < len(burst)
                self.tied |= more and any(timer.due <= self.now for timer in self.timers)
            assert self.now < REST_TICKS
        return trace(self.seen, self.answers)

    def arrive(self, kind: str, event: int) -> None:
        """A message from outside."""
        asked = event if kind == "call" else None
        if asked is not None:
            self.unanswered.append(asked)
        if self.alive:
            self.handle(Event(kind, event, asked))
            self.finish_queue()
        elif asked is not None:
            self.answer(asked, "down")

    def finish_queue(self) -> None:
        """Everything that comes before the mailbox."""
        while self.alive and (self.queue or self.zeros):
            if self.queue:
                self.handle(self.queue.pop(0))
            else:
                key, content = self.zeros.pop(0)
                self.handle(Event(str(key), content))

    def handle(self, event: Event) -> None:
        """One event in the current state."""
        self.forget("event")
        line = self.next_line(event.kind, event.content)
        if line.postpone:
            self.postponed.append(event)
        else:
            self.reply(line, event.asked)
        if line.next in ("stop", "crash"):
            self.stop()
            return
        self.queue[:0] = [Event("internal", one) for one in line.inserts]
        self.settings += line.settings
        if isinstance(line.next, int) and line.next != self.state:
            before, self.state = self.state, line.next
            self.queue[len(line.inserts) : len(line.inserts)] = self.postponed
            self.postponed = []
            self.forget("state")
            self.enter(before)
        elif line.next == "repeat":
            self.enter(self.state)
        else:
            self.start_timeouts()

    def enter(self, before: int) -> None:
        """The enter call, again and again while it repeats the state."""
        repeat = self.program.enters
        while repeat:
            line = self.next_line("enter", before).within_enter()
            self.reply(line, None)
            if line.next in ("stop", "crash"):
                self.stop()
                return
            self.settings += line.settings
            repeat = line.next == "repeat"
        self.start_timeouts()

    def next_line(self, kind: str, content: int) -> Line:
        """Note that a handler runs; what it does."""
        self.seen.append(Seen(self.now, kind, content, self.state))
        self.count += 1
        return self.lines.pop(0) if self.lines else Line()

    def reply(self, line: Line, asked: int | None) -> None:
        """Who is answered."""
        if line.next == "crash":
            asked = None  # who asked does not get a reply any more
        if asked is not None and line.reply in ("later", "all"):
            self.saved.append(asked)
        if asked is not None and line.reply == "now":
            self.answer(asked, self.count - 1)
        if line.reply == "all":
            for one in self.saved:
                self.answer(one, self.count - 1)
            self.saved = []

    def answer(self, asked: int, value: int | str) -> None:
        """One caller hears."""
        self.unanswered.remove(asked)
        self.answers.append(Answer(self.now, asked, value if isinstance(value, int) else "down"))

    def stop(self) -> None:
        """The end."""
        self.alive = False
        self.seen.append(Seen(self.now, "down", 0, 0))
        self.timers, self.zeros, self.queue = [], [], []
        for asked in list(self.unanswered):
            self.answer(asked, "down")

    def forget(self, key: Key) -> None:
        """A timeout is over."""
        self.timers = [timer for timer in self.timers if timer.key != key]
        self.zeros = [zero for zero in self.zeros if zero[0] != key]

    def start_timeouts(self) -> None:
        """Of all that was wanted of one timeout, the last counts."""
        settings, self.settings = self.settings, []
        for number, setting in enumerate(settings):
            if not any(later.key == setting.key for later in settings[number + 1 :]):
                self.start_timeout(setting)

    def start_timeout(self, setting: Setting) -> None:
        """One of them."""
        key, content = setting.key, setting.content
        if setting.what == "update":
            running = any(key == one.key for one in self.timers) or any(key == zero[0] for zero in self.zeros)
            self.timers = [Timer(key, one.due, content) if key == one.key else one for one in self.timers]
            self.zeros = [(key, content) if key == zero[0] else zero for zero in self.zeros]
            if not running:
                self.zeros.append((key, content))
            return
        if setting.what != "cancel" and (setting.what == "abs" or setting.ticks > 0):
            self.revived |= any(key == zero[0] for zero in self.zeros)
        self.forget(key)
        if setting.what == "abs":
            self.timers.append(Timer(key, setting.ticks, content))
        elif setting.what == "set" and setting.ticks > 0:
            self.timers.append(Timer(key, self.now + setting.ticks, content))
        elif setting.what == "set":
            self.zeros.append((key, content))
