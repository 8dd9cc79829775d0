"""A task's `task.py`: the metric, the success predicate and, if it has them, derived variables and termination.

Trusted code of the task's author, but checked: what it returns becomes fitness. numpy in, numpy out; no torch here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode
from eureka_sandbox.worker.user_code import UserCodeError, explain, load_module, one_line

State = Mapping[str, NDArray[np.float32]]


class TaskCodeError(UserCodeError):
    """`task.py` cannot be loaded, raised, or returned something that is no metric, predicate or variable."""


@dataclass(frozen=True)
class TaskCode:
    """The functions of one `task.py`, wrapped so that whatever goes wrong raises `TaskCodeError`."""

    fitness: Callable[[Episode], float]
    """The task's own score of one episode; finite, higher is better."""
    success: Callable[[Episode], bool]
    derive: Callable[[State, float], dict[str, NDArray[np.float32]]] | None = None
    """`(state, dt)` → further state variables, each float32 `(N, *shape)`; dt in seconds per control step."""
    terminated: Callable[[State], NDArray[np.bool_]] | None = None
    """state → bool `(N,)`: replaces the body's own rule."""


def load_task_code(path: Path) -> TaskCode:
    """Execute `task.py`.

    Raises:
        TaskCodeError: it cannot be executed, or lacks `fitness` or `success`.
    """
    try:
        module = load_module(path, "eureka_task")
    except UserCodeError as error:
        raise TaskCodeError(error.message, error.line) from error
    functions = {name: getattr(module, name, None) for name in ("fitness", "success", "derive", "terminated")}
    for name in ("fitness", "success"):
        if not callable(functions[name]):
            raise TaskCodeError(f"no function {name!r}; task.py defines fitness(episode) and success(episode)")
    return TaskCode(
        fitness=_guarded(functions["fitness"], path, _fitness),
        success=_guarded(functions["success"], path, _success),
        derive=_guarded(functions["derive"], path, _derived) if functions["derive"] else None,
        terminated=_guarded(functions["terminated"], path, _terminated) if functions["terminated"] else None,
    )


def _guarded(function: Any, path: Path, convert: Callable[[Any], Any]) -> Any:
    def call(*arguments: Any) -> Any:
        try:
            value = function(*arguments)
        except (Exception, SystemExit) as error:
            reason = explain(error, path)
            message = one_line(f"{function.__name__}: {reason.message}{_variables_there(error, arguments[0])}")
            raise TaskCodeError(message, reason.line) from error
        try:
            return convert(value)
        except (TypeError, ValueError) as error:
            line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
            raise TaskCodeError(f"{function.__name__}: {error}", line) from error

    return call


def _variables_there(error: BaseException, given: Episode | State) -> str:
    """What a function that asked for an unknown state variable may have meant; empty after any other error."""
    state = given.state if isinstance(given, Episode) else given
    name = error.args[0] if isinstance(error, KeyError) and error.args else None
    if not isinstance(name, str) or name in state:
        return ""
    close = difflib.get_close_matches(name, state, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; state variables: {', '.join(sorted(state))}"


def _fitness(value: Any) -> float:
    if not np.isscalar(value) and np.ndim(value) > 0:
        raise ValueError(f"returned an array of shape {np.shape(value)}; fitness is one number per episode")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"returned {number}; fitness must be finite")
    return number


def _success(value: Any) -> bool:
    if np.ndim(value) > 0 or not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"returned {value!r}; success is True or False")
    return bool(value)


def _derived(value: Any) -> dict[str, NDArray[np.float32]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"returned {type(value).__name__}; derive returns a dict of arrays by name")
    return {str(name): np.asarray(array, dtype=np.float32) for name, array in value.items()}


def _terminated(value: Any) -> NDArray[np.bool_]:
    flags = np.asarray(value)
    if flags.dtype != np.bool_ or flags.ndim != 1:
        raise ValueError(f"returned {flags.dtype} of shape {flags.shape}; terminated returns bool (N,)")
    return flags
