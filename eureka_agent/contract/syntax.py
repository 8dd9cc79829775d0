"""Parsing Python source from several threads."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def _alone_and_quiet() -> Iterator[None]:
    # CPython 3.11 keeps the depth of the tree under construction per interpreter: two threads that parse at once end in
    # "SystemError: AST constructor recursion depth mismatch". `catch_warnings` is not made for threads either.
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(source: str | bytes, filename: str = "<unknown>") -> ast.Module:
    """As `ast.parse`, one thread at a time, without warnings about the source.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse`.
    """
    with _alone_and_quiet():
        return ast.parse(source, filename)


def check_compiles(tree: ast.Module, filename: str = "<unknown>") -> None:
    """Find what only the compiler refuses, such as `return` outside a function.

    Raises:
        SyntaxError, RecursionError, MemoryError: as `compile`.
    """
    with _alone_and_quiet():
        compile(tree, filename, "exec", dont_inherit=True)
