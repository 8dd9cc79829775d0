"""Reads reward code as text: is it in the contract, which components does it return, has it been tried before?

Works on the syntax tree and never runs the code. It catches honest mistakes before a training is spent on them; it is
no defence against hostile code, which is the sandbox's work.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import hashlib
import re
from collections.abc import Iterator, Sequence

from eureka_agent.contract.renaming import number_locals
from eureka_agent.contract.reward_names import closest, identifiers, lookalike, spelled, undefined
from eureka_agent.contract.syntax import check_compiles, parse
from eureka_sandbox.bodies import TRAINING_PROGRESS
from eureka_sandbox.protocol import COMPONENT_NAME, Failure, VariableSpec, Verdict

FUNCTION = "compute_reward"
MAX_BYTES = 100_000
INTEGER_BITS = 1024
MODULES = frozenset(
    {"__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math", "numpy", "operator"}
    | {"torch", "typing"}
)
"""What a reward may import."""
HASHED = "2:"
"""How programs are told apart: begins every hash, and changes whenever the hash of a program would."""
MAX_DEPTH = 200
"""Deepest syntax tree; Python's own compiler recurses over it."""

_INVISIBLE = re.compile(
    "[\x01-\x08\x0b\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Controls (a terminal obeys them), joiners, bidirectional marks, line separators that are none to Python, fillers
(letters of a name to it), tags (text to a model): the code would not be what a reader sees. Variation selectors stay:
emoji have them."""
_ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
"""How one of a file's first two lines declares its encoding, https://peps.python.org/pep-0263."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Mistake(Exception):
    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def check_reward_code(source: str, variables: Sequence[VariableSpec]) -> Failure | None:
    """Say what keeps `source` from being a reward function over `variables`, or None if nothing visible does.

    Helpers, constants, classes, nested functions and `torch.jit.script` are welcome. Code that passes can still fail
    when it runs: shapes, values and the running time show only in the sandbox.
    """
    try:
        tree = _parse(normalised_source(source))
        function = _reward_function(tree)
        _check_form(function)
        _check_arguments(function, [v.name for v in variables])
        _check_returns(function)
        _check_identifiers(tree)
        _check_imports(tree)
        _check_defined(tree)
    except _Mistake as mistake:
        return Failure(verdict=Verdict.CODE_ERROR, message=str(mistake)[:1000], file="reward.py", line=mistake.line)
    return None


def normalised_source(source: str) -> str:
    """The same code with line feeds only, without a byte order mark, ending in one newline."""
    return source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"


def component_names(source: str) -> tuple[str, ...]:
    """Names of the components the code returns, as far as its text shows: dict literals and `parts["name"] = …`."""
    try:
        function = _reward_function(_parse(normalised_source(source)))
    except _Mistake:
        return ()
    return tuple(dict.fromkeys(name for name, _ in _components(function)))


def arguments(source: str) -> tuple[str, ...]:
    """The state variables that the code names; empty if it is no reward function."""
    try:
        return tuple(argument.arg for argument in _reward_function(_parse(normalised_source(source))).args.args)
    except _Mistake:
        return ()


def is_scheduled(source: str) -> bool:
    """Whether a reward may change with the progress of training, so that its own return may fall by design."""
    return TRAINING_PROGRESS.name in arguments(source)


def normalised_hash(source: str) -> str:
    """SHA-256, after `2:`, that ignores comments, layout, docstrings, annotations and what locals are called.

    Equal hashes mean the same program. Code that does not parse is hashed as text.
    """
    text = normalised_source(source)
    with contextlib.suppress(_Mistake, ValueError, RecursionError):  # an integer too long to be written, deep nesting
        tree = _Stripped().visit(_parse(text))
        text = ast.unparse(tree)
        number_locals(tree, _reward_function(tree))
        text = ast.unparse(tree)
    return HASHED + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def program_hash(known: str, source: str) -> str:
    """The hash of `source`: `known`, unless it is empty or an earlier version hashed it in another way."""
    return known if known.startswith(HASHED) else _hashed_once(source)


_hashed_once = functools.lru_cache(maxsize=10_000)(normalised_hash)
"""Every generation and every answer of the offline search looks at all rewards before it."""


def undefined_names(source: str) -> dict[str, int]:
    """Names that the code reads and nothing in it defines, with the first line of each; empty if it does not parse."""
    try:
        return undefined(_parse(normalised_source(source)))
    except _Mistake:
        return {}


# ------------------------------------------------------------------------------------------------------------ parsing


def _parse(source: str) -> ast.Module:
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        line = source.count("\n", 0, error.start) + 1
        raise _Mistake("the text holds half of a surrogate pair, which is no valid character", line) from error
    if size > MAX_BYTES:
        raise _Mistake(f"the code is {size / 1000:.0f} kB long; a reward function has at most {MAX_BYTES // 1000} kB")
    if "\0" in source:
        raise _Mistake("the text holds a NUL byte", source.count("\n", 0, source.index("\0")) + 1)
    if hidden := _INVISIBLE.search(source):
        line = source.count("\n", 0, hidden.start()) + 1
        raise _Mistake(f"the text holds the invisible character U+{ord(hidden.group()):04X}", line)
    _check_encoding(source)
    try:
        tree = parse(source, "reward.py")
        _check_depth(tree)
        _check_integers(tree)
        check_compiles(tree, "reward.py")
    except SyntaxError as error:
        raise _Mistake(f"syntax error: {error.msg}", error.lineno) from error
    except (RecursionError, MemoryError) as error:
        raise _Mistake("expressions are nested too deeply for Python to read") from error
    return tree


def _check_encoding(source: str) -> None:
    """Some encodings (`unicode_escape`) make code of what a reader takes for a comment, wherever the file is run."""
    for line, text in enumerate(source.split("\n")[:2], start=1):
        declared = _ENCODING.match(text)
        if declared and not re.fullmatch(r"utf[-_]?8([-_]sig)?", declared[1], re.IGNORECASE):
            raise _Mistake(f"the comment declares the encoding {declared[1][:64]!r}; reward code is UTF-8", line)


def _check_integers(tree: ast.AST) -> None:
    """Longer ones can be neither written in decimal nor be numbers of a reward."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > INTEGER_BITS:
            raise _Mistake(f"an integer of more than {INTEGER_BITS} bits", node.lineno)


def _check_depth(tree: ast.AST) -> None:
    level: list[ast.AST] = [tree]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            line = next((node.lineno for node in level if isinstance(node, ast.expr | ast.stmt)), None)
            raise _Mistake(f"expressions are nested more than {MAX_DEPTH} levels deep", line)
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def _reward_function(tree: ast.Module) -> _Function:
    """The definition that the module's name `compute_reward` ends up with (the last one counts, as in Python)."""
    functions = {node.name: node for node in tree.body if isinstance(node, _Function)}
    for node in reversed(tree.body):
        if isinstance(node, _Function) and node.name == FUNCTION:
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == FUNCTION for t in node.targets):
            value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
            if isinstance(value, ast.Name) and value.id in functions:
                return functions[value.id]
            raise _Mistake(f"{FUNCTION} is assigned; write it as a plain function with `def`", node.lineno)
    for inner in ast.walk(tree):
        if isinstance(inner, _Function) and inner.name == FUNCTION:
            raise _Mistake(f"{FUNCTION} is defined inside another block; define it at the top level", inner.lineno)
    for name, function in functions.items():
        if (letter := lookalike(name)) and difflib.SequenceMatcher(None, name, FUNCTION).ratio() > 0.6:
            raise _Mistake(f"no function {FUNCTION!r}: in {name[:64]!r}, {spelled(letter)}", function.lineno)
    close = difflib.get_close_matches(FUNCTION, functions, n=1)
    found = f"; rename {close[0]!r}" if close else ""
    raise _Mistake(f"no function {FUNCTION!r} at the top level{found}", functions[close[0]].lineno if close else None)


# ----------------------------------------------------------------------------------------------------------- contract


def _check_form(function: _Function) -> None:
    own = list(_own_nodes(function))
    if isinstance(function, ast.AsyncFunctionDef):
        raise _Mistake(f"{FUNCTION} is async; write a plain function", function.lineno)
    if lazy := next((n for n in own if isinstance(n, ast.Yield | ast.YieldFrom)), None):
        raise _Mistake(f"{FUNCTION} is a generator; return the total and the components instead", lazy.lineno)
    if not any(isinstance(node, ast.Return) and node.value is not None for node in own):
        raise _Mistake(f"{FUNCTION} returns nothing; it must return (total, components)", function.lineno)


def _check_arguments(function: _Function, names: Sequence[str]) -> None:
    given = function.args
    for star, argument in (("*", given.vararg), ("**", given.kwarg)):
        if argument is not None:
            raise _Mistake(f"argument {star}{argument.arg}: name each state variable instead", argument.lineno)
    if given.posonlyargs or given.kwonlyargs:
        raise _Mistake(f"{FUNCTION} must take plain arguments, without `/` or `*` between them", function.lineno)
    for default in given.defaults:
        message = "an argument has a default value; arguments are state variables, constants belong in the body"
        raise _Mistake(message, default.lineno)
    if not given.args:
        raise _Mistake(f"{FUNCTION} takes no state variable; choose from: {', '.join(names)}", function.lineno)
    for argument in given.args:
        if argument.arg not in names:
            raise _Mistake(_unknown_argument(argument.arg, names), argument.lineno)


def _unknown_argument(name: str, names: Sequence[str]) -> str:
    if name == "self":
        return f"{FUNCTION} is a plain function over state variables; it has no `self`"
    close = closest(name, names)
    hint = f"did you mean {close!r}?" if close else f"choose from: {', '.join(names)}"
    letter = lookalike(name)
    trap = f" ({spelled(letter)})" if letter else ""
    return f"unknown state variable {name[:64]!r}{trap}; {hint}"


def _check_returns(function: _Function) -> None:
    for node in _own_nodes(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) != 2:
            message = f"{FUNCTION} returns {len(node.value.elts)} values; it must return (total, components)"
            raise _Mistake(message, node.lineno)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict | ast.BinOp | ast.Constant):
            raise _Mistake(f"{FUNCTION} returns one value; it must return (total, components)", node.lineno)
    for name, line in _components(function):
        if not re.match(COMPONENT_NAME, name):
            message = f"component name {name[:64]!r}: use at most 32 lower-case letters, digits and underscores"
            raise _Mistake(message, line)


def _components(function: _Function) -> Iterator[tuple[str, int]]:
    """(name, line) of each string key in the dicts that the function returns."""
    own = list(_own_nodes(function))
    pairs = [n.value for n in own if isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple)]
    returned = [pair.elts[1] for pair in pairs if len(pair.elts) == 2]
    dicts = {node.id for node in returned if isinstance(node, ast.Name)}
    values = list(returned)
    for node in own:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in dicts:
                values.append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in dicts:
                values.append(value)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key)), ctx=ast.Store()):
                if name in dicts:
                    yield key, node.lineno
            case _:
                pass
    for value in values:
        if isinstance(value, ast.Dict):
            for key_node in value.keys:
                if isinstance(key_node, ast.Constant) and isinstance(key_node.value, str):
                    yield key_node.value, key_node.lineno
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
            yield from ((k.arg, k.value.lineno) for k in value.keywords if k.arg)


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """Nodes of the function's body in source order, without those of functions and classes defined inside it."""
    queue: list[ast.AST] = list(reversed(function.body))
    while queue:
        node = queue.pop()
        yield node
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            queue.extend(reversed(list(ast.iter_child_nodes(node))))


def _check_identifiers(tree: ast.Module) -> None:
    for name, line in identifiers(tree):
        if letter := lookalike(name):
            raise _Mistake(f"{name[:64]!r}: {spelled(letter)}; use plain letters", line)


def _check_imports(tree: ast.Module) -> None:
    """A pure function of tensors needs few modules, and no others are sure to be there where it runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        else:
            continue
        for module in modules:
            if module.partition(".")[0] not in MODULES:
                known = ", ".join(sorted(MODULES - {"__future__"}))
                raise _Mistake(f"imports {module[:64]!r}; a reward may import {known}", node.lineno)


def _check_defined(tree: ast.Module) -> None:
    for name, line in undefined(tree).items():
        hint = f"add `import {name}`" if name in ("torch", "math") else "import or define it"
        raise _Mistake(f"{name[:64]!r} is not defined; {hint}", line)


class _Stripped(ast.NodeTransformer):
    """Drops what changes nothing: docstrings, annotations and `from __future__` lines."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
            case ast.arg():
                node.annotation = None
            case _:
                pass
        if isinstance(node, _Function):
            node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node
