"""The rules of the house that a program can check. Each complaint says what to do instead."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple, TypeAlias, TypeGuard

FILE_LINES_MAX: Final = 600
FUNCTION_LINES_MAX: Final = 70

MUTABLE: Final = frozenset(
    "dict list set bytearray deque defaultdict Counter OrderedDict WeakKeyDictionary WeakValueDictionary WeakSet "
    "count".split()
)
MUTATORS: Final = frozenset(
    "append appendleft add update insert extend pop popleft popitem clear setdefault remove discard".split()
)
UNSAFE_MODULES: Final = frozenset("pickle marshal shelve dill cloudpickle".split())
UNSAFE_CALLS: Final = frozenset("eval exec __import__".split())
TASK_MAKERS: Final = frozenset("create_task ensure_future".split())
SKIPPERS: Final = frozenset("skip skipif xfail flaky importorskip".split())

# One letter of each word stands in brackets, so that this file does not complain about itself.
UNFINISHED: Final = re.compile(r"\b(?:TO[D]O|FIXM[E]|XX[X]|NotImplemente[d]Error)\b")
WORKPLACE: Final = re.compile(
    r"/wor[k]/|\bfar[m]\b|\bsessio[n] \d|\bissu[e] #?\d|npmj[s]\.org|pyp[i]\.org|pythonhoste[d]", re.IGNORECASE
)
SILENCED: Final = re.compile(r"type: ignore(?!\[[a-z, -]+\]  # \S)|noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)*  # \S)")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Documented: TypeAlias = dict[str, tuple[list[str], set[str]]]


class Complaint(NamedTuple):
    """One place that breaks one rule."""

    path: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


class Source(NamedTuple):
    """A Python file; its path counts from the root of the repository."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> Source:
        """Read `text` as the file at `path`."""
        return cls(path, text, ast.parse(text))

    def within(self, *folders: str) -> bool:
        """Whether this file lies under one of these folders."""
        return any(PurePosixPath(self.path).is_relative_to(folder) for folder in folders)

    def complaint(self, at: ast.stmt | ast.expr | int, rule: str) -> Complaint:
        """A complaint about a node, or a line, of this file."""
        return Complaint(self.path, at if isinstance(at, int) else at.lineno, rule)


def complaints(source: Source, documented: Documented) -> list[Complaint]:
    """Everything that is untidy in one Python file, in the order of its lines."""
    found = [*sizes(source), *doubtful_lines(source), *tests_that_do_not_test(source)]
    if source.within("src"):
        found += [*unsafe(source), *loose_tasks(source), *upward_names(source), *module_state(source)]
        found += [*undocumented(source, documented)]
    return sorted(found, key=lambda complaint: complaint.line)


def sizes(source: Source) -> Iterator[Complaint]:
    """Files and functions stay small enough to be read in one go."""
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield source.complaint(lines, f"{lines} lines, at most {FILE_LINES_MAX}: split it by noun")
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield source.complaint(node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}: split it")


def doubtful_lines(source: Source) -> Iterator[Complaint]:
    """Checkers are silenced one code at a time and with a reason; nothing is left for later."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and SILENCED.search(token.string):
            yield source.complaint(token.start[0], "silences a checker without code and reason: `[code]  # reason`")
    for number, line in enumerate(source.text.split("\n"), 1):
        if mark := UNFINISHED.search(line):
            yield source.complaint(number, f"{mark[0]}: finish it or leave it out")


def tests_that_do_not_test(source: Source) -> Iterator[Complaint]:
    """A test runs, every time, and waits for an event instead of for a while."""
    if not source.within("tests"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPPERS and _root(node) in ("pytest", "mark", "unittest"):
            yield source.complaint(node, f"{node.attr}: a test always runs; mend it or delete it")
        if (
            isinstance(node, ast.Call)
            and _name(node.func) == "sleep"
            and not _is_zero(node)
            and not _is_virtual(source, node)
        ):
            yield source.complaint(node, "sleeps: wait for an event, a condition or a line of output")


def unsafe(source: Source) -> Iterator[Complaint]:
    """Nothing that arrives is turned into code."""
    loads_by_name = not source.within("src/roost/ops") and PurePosixPath(source.path).name != "__init__.py"
    for node in ast.walk(source.tree):
        for module in _imports(node):
            top = module.split(".")[0]
            if top in UNSAFE_MODULES:
                yield source.complaint(_line(node), f"imports {top}: use a declared msgspec message")
            if top == "importlib" and loads_by_name:
                yield source.complaint(_line(node), "imports by name: use a closed table")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield source.complaint(node, f"calls {node.func.id}: use a closed table")


def loose_tasks(source: Source) -> Iterator[Complaint]:
    """Every task has an owner, and the owners live in otp. The simulator stands in for the operating system."""
    if source.within("src/roost/otp", "src/roost/sim"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _name(node.func) in TASK_MAKERS:
            yield source.complaint(node, f"calls {_name(node.func)}: start a process of otp")


def upward_names(source: Source) -> Iterator[Complaint]:
    """Roost itself imports from the module that defines a name, never from the face `roost`."""
    faces = {"cluster", "config", "core", "data", "demo", "errors", "limits", "live", "ops", "otp", "runtime", "web"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "roost" and not node.level:
            for alias in node.names:
                if alias.name not in faces | {"wire", "sim", "jobs"}:
                    yield source.complaint(node, f"imports {alias.name} from roost: import it from where it is defined")


def module_state(source: Source) -> Iterator[Complaint]:
    """What changes hangs on a node or a scheduler: two nodes in one program must not share it."""
    tables: dict[str, ast.stmt] = {}
    for statement in source.tree.body:
        for name, value in _bindings(statement):
            if _is_mutable(value):
                tables[name] = statement
                if _is_empty(value):
                    yield source.complaint(statement, f"{name} begins empty: hang what changes on the node")
    for function in ast.walk(source.tree):
        if not isinstance(function, Function):
            continue
        if any(_name(mark.func if isinstance(mark, ast.Call) else mark) == "cache" for mark in function.decorator_list):
            yield source.complaint(function, f"{function.name} is cached without bound: use lru_cache(maxsize=...)")
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield source.complaint(node, f"global {', '.join(node.names)}: hang what changes on the node")
            elif (name := _mutated(node)) in tables and name not in _locals(function):
                yield source.complaint(_line(node), f"changes {name} of the module: hang what changes on the node")


def undocumented(source: Source, documented: Documented) -> Iterator[Complaint]:
    """Public things say what they are for, here or in the class that first declares them."""
    if not ast.get_docstring(source.tree) and source.text.strip():
        yield source.complaint(1, "the module has no docstring: say what is here")
    for name, node, bases in _public(source.tree):
        if not ast.get_docstring(node) and not _inherits(node.name, bases, documented):
            yield source.complaint(node, f"{name} has no docstring: say what it is for")
        if isinstance(node, Function) and _says_any(node) and not _explains_any(source, node):
            yield source.complaint(node, f"{name} says Any: say object, or why above it: `# Any: ...`")


def index(sources: Iterable[Source]) -> Documented:
    """Per class of the tree: the names of its bases, and the methods that it documents."""
    found: Documented = {}
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                methods = {part.name for part in node.body if isinstance(part, Function) and ast.get_docstring(part)}
                found[node.name] = (_bases(node), methods)
    return found


def workplace_words(path: str, text: str) -> list[Complaint]:
    """Nothing in the repository speaks of the place where it is made. For files of any kind."""
    return [
        Complaint(path, number, f"{mark[0]!r} is no word of this project: leave it out")
        for number, line in enumerate(text.split("\n"), 1)
        if (mark := WORKPLACE.search(line))
    ]


def unused_limits(limits: Source, users: Iterable[Source]) -> list[Complaint]:
    """A bound that nothing enforces is a lie."""
    used: set[str] = set()
    for source in users:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and node.module == "roost.limits":
                used.update(alias.name for alias in node.names)
    return [
        limits.complaint(statement, f"{name} bounds nothing: enforce it or remove it")
        for statement in limits.tree.body
        for name, _ in _bindings(statement)
        if name.isupper() and name not in used
    ]


def error_tree(errors: Source, families: Iterable[Source]) -> list[Complaint]:
    """The picture in the docstring of `roost.errors` is the tree of all classes, with nothing missing or made up."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (ast.get_docstring(errors.tree) or "").split("\n"):
        if mark := re.match(r"^([ │├└─]*)([A-Z]\w+)", line.removeprefix("    ")):
            path = [*path[: len(mark[1]) // 4], mark[2]]
            if mark[1] or mark[2] == "RoostError":
                drawn[path[-1]] = path[-2] if len(path) > 1 else "Exception"
    real = {node.name: (family, node) for family in families for node in family.tree.body if _is_class(node)}
    wrong = [item for name, item in real.items() if drawn.get(name) != _bases(item[1])[0]]
    return [
        *(family.complaint(node, f"{node.name}: draw it under its base in the tree") for family, node in wrong),
        *(errors.complaint(1, f"{name} is drawn but not defined: remove it") for name in drawn if name not in real),
    ]


def _is_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | Function, list[str]]]:
    """The public classes, functions and methods of a module, with the names of the bases of a method's class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_") and not _is_echo(node):
            yield node.name, node, []
            if isinstance(node, ast.ClassDef):
                is_protocol = any(_name(base) == "Protocol" for base in node.bases)
                for part in node.body:
                    # The properties of a protocol are its attributes: the class speaks for them.
                    if is_protocol and isinstance(part, Function) and part.decorator_list:
                        continue
                    if isinstance(part, Function) and not part.name.startswith("_") and not _is_echo(part):
                        yield f"{node.name}.{part.name}", part, _bases(node)


def _is_echo(node: ast.ClassDef | Function) -> bool:
    """Whether this repeats what is documented beside it: an overload, or the setter of a property."""
    return any(_name(mark) in ("overload", "setter", "override") for mark in node.decorator_list)


def _says_any(function: Function) -> bool:
    """Whether a signature says Any. `*args: Any` does not count: that is how a base admits every signature below it."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    annotations = [note for note in (function.returns, *(one.annotation for one in plain)) if note]
    return any(isinstance(part, ast.Name) and part.id == "Any" for note in annotations for part in ast.walk(note))


def _explains_any(source: Source, function: Function) -> bool:
    first = min([function.lineno, *(mark.lineno for mark in function.decorator_list)])
    return source.text.split("\n")[first - 2].strip().startswith("# Any:")


def _inherits(method: str, bases: list[str], documented: Documented) -> bool:
    """Whether a base says what this method is for. Classes of other libraries document their own."""
    for base in bases:
        parents, methods = documented.get(base, ([], {method} if base not in ("object", "Generic") else set()))
        if method in methods or _inherits(method, parents, documented):
            return True
    return False


def _bases(node: ast.ClassDef) -> list[str]:
    plain = (
        "Protocol",
        "Struct",
        "NamedTuple",
        "Generic",
        "ABC",
        "Exception",
        "Enum",
        "StrEnum",
        "IntEnum",
        "TypedDict",
    )
    names = [_name(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
    return names if node.name == "RoostError" else [name for name in names if name not in plain]


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case _:
            pass


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call) and any(ast.unparse(word) == "maxlen=0" for word in value.keywords):
        return False
    literals = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
    return isinstance(value, literals) or (isinstance(value, ast.Call) and _name(value.func) in MUTABLE)


def _is_empty(value: ast.expr) -> bool:
    match value:
        case ast.Dict(keys=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return not parts
        case ast.Call(func=func, args=arguments):
            return not arguments or _name(func) in ("count", "deque", "defaultdict")
        case _:
            return False


def _mutated(node: ast.AST) -> str:
    """The plain name whose value this node changes in place."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)) if attribute in MUTATORS:
            return name
        case ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name), *_]):
            return name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.AugAssign(target=ast.Name(id=name)):
            return name
        case _:
            return ""


def _locals(function: Function) -> set[str]:
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}


def _imports(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


def _name(node: ast.expr) -> str:
    """The last word of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _root(node: ast.expr) -> str:
    """The first word of a dotted name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_zero(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _is_virtual(source: Source, call: ast.Call) -> bool:
    """Whether the time that passes is simulated."""
    simulates = source.within("tests/sim") or any(
        "roost.sim" in module for n in source.tree.body for module in _imports(n)
    )
    return simulates and _root(call.func) != "time"


def _line(node: ast.AST) -> int:
    return node.lineno if isinstance(node, ast.stmt | ast.expr) else 1
