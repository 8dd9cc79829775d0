"""Names in reward code: which are read but never defined, which only look plain, which are near misses."""

from __future__ import annotations

import ast
import builtins
import difflib
import unicodedata
from collections.abc import Iterator, Sequence

_LOOKALIKES = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνοιаеорсухіјѕһԁ", "ABEZHIKMNOPTYXvoiaeopcyxijshd")
LONGEST_NAME = 100
"""Characters of a name that are compared with others."""
_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__"})


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(name, line) of every variable, attribute, argument, function and class in the code."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case _:
                pass


def lookalike(name: str) -> str:
    """The first letter of `name` that looks Latin and is not, or an empty string. Greek as in `Δx` is fine."""
    return next((letter for letter in name if _looks_latin(letter)), "")


def _looks_latin(letter: str) -> bool:
    return not letter.isascii() and (ord(letter) in _LOOKALIKES or "CYRILLIC" in unicodedata.name(letter, ""))


def spelled(letter: str) -> str:
    """What a letter really is: `'о' is U+043E CYRILLIC SMALL LETTER O`."""
    return f"{letter!r} is U+{ord(letter):04X} {unicodedata.name(letter, 'unnamed character')}"


def closest(name: str, known: Sequence[str]) -> str:
    """The name in `known` that `name` most likely means, or an empty string.

    Whole words count beside spelling: `torso_vel` means `torso_x_velocity` rather than `torso_z`.
    """
    plain = name[:LONGEST_NAME].translate(_LOOKALIKES).lower()
    scores = {candidate: _similarity(plain, candidate) for candidate in known}
    best = max(scores, key=lambda candidate: scores[candidate], default="")
    return best if best and scores[best] >= 0.5 else ""


def _similarity(name: str, known: str) -> float:
    words = [word for word in name.split("_") if word]
    kept = sum(any(_same_word(word, part) for part in known.split("_")) for word in words)
    return 0.6 * difflib.SequenceMatcher(None, name, known).ratio() + 0.4 * kept / max(len(words), 1)


def _same_word(one: str, other: str) -> bool:
    return one == other or (min(len(one), len(other)) > 1 and (one.startswith(other) or other.startswith(one)))


def undefined(tree: ast.Module) -> dict[str, int]:
    """Names that the code reads and nothing in it defines, with the first line of each.

    Scopes are not told apart, so that every name reported is missing for certain. Annotations count only where Python
    evaluates them; after a star import nothing is reported.
    """
    bound = set(dir(builtins)) | _MODULE_NAMES
    read: dict[str, int] = {}
    unevaluated = _annotation_nodes(tree) if _postpones_annotations(tree) else set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                return {}
            case ast.Name(id=name, ctx=ast.Load()):
                if id(node) not in unevaluated:
                    read.setdefault(name, node.lineno)
            case _:
                bound.update(bound_by(node))
    return {name: line for name, line in read.items() if name not in bound}


def bound_by(node: ast.AST) -> list[str]:
    """Names that a node binds, and the name itself of any `Name`, read or bound."""
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [(alias.asname or alias.name).split(".")[0] for alias in aliases]
        case ast.Name(id=name) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case _:
            return []


def _postpones_annotations(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def _annotation_nodes(tree: ast.Module) -> set[int]:
    notes: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(returns=ast.expr() as note) | ast.AsyncFunctionDef(returns=ast.expr() as note):
                notes.append(note)
            case ast.arg(annotation=ast.expr() as note) | ast.AnnAssign(annotation=ast.expr() as note):
                notes.append(note)
            case _:
                pass
    return {id(inner) for note in notes for inner in ast.walk(note)}
