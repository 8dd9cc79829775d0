"""Parsing side by side."""

from __future__ import annotations

import ast
import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eureka_agent.contract.syntax import parse

SOURCE = "def f(x):\n" + "".join(f"    y{i} = (x + {i}) * (x - {i}) if x else [x, {{'a': x}}]\n" for i in range(300))


class Yielding:
    """Garbage whose collection lets another thread run, as anything that waits in a finaliser does."""

    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        time.sleep(0.001)


def side_by_side(function: Callable[[str], Any]) -> set[str]:
    """Dumps of the trees that many threads make while garbage is collected in the midst of it."""

    def one(_: int) -> str:
        Yielding()
        return ast.dump(function(SOURCE))

    thresholds = gc.get_threshold()
    gc.set_threshold(50, 1, 1)
    try:
        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(one, range(48)))
    finally:
        gc.set_threshold(*thresholds)


def test_many_threads_parse_at_once_without_disturbing_each_other() -> None:
    assert side_by_side(parse) == {ast.dump(ast.parse(SOURCE))}


def test_a_file_that_only_parses_in_part_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        parse("def f(:\n")
