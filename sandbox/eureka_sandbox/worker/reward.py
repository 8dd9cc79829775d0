"""The reward contract: a user's `compute_reward` over named state variables, called once per step or rollout.

    def compute_reward(torso_x_velocity: torch.Tensor, actions: torch.Tensor
                       ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:

Arguments are float32 `(N, *shape)`, chosen by name; the total and each named component are `(N,)`.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eureka_sandbox.protocol import COMPONENT_NAME, MAX_COMPONENTS, Failure, Verdict
from eureka_sandbox.worker.user_code import UserCodeError, explain, load_module, one_line, out_of_memory

FUNCTION = "compute_reward"
_NAME = re.compile(COMPONENT_NAME)
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

Array = NDArray[np.float32]


class RewardError(UserCodeError):
    """The reward cannot be loaded, raised, or broke the contract; `line` is a line of reward.py."""


def load_reward(path: Path, variables: Mapping[str, tuple[int, ...]]) -> Reward:
    """Execute a reward file and check its signature.

    Args:
        path: the file; it must define `compute_reward`.
        variables: shape per environment of every state variable that the function may name.

    Raises:
        RewardError: it cannot be executed, defines no such function, or names unknown arguments.
    """
    lines = _Lines(path)  # before it runs: the file is the candidate's to change then
    try:
        module = load_module(path, "eureka_reward")
    except UserCodeError as error:
        raise RewardError(error.message, error.line) from error
    function = getattr(module, FUNCTION, None)
    if not callable(function) or inspect.isclass(function):
        found = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        close = difflib.get_close_matches(FUNCTION, found, n=1)
        hint = f"; rename {close[0]!r}?" if close else ""
        raise RewardError(one_line(f"no function {FUNCTION!r} in reward.py{hint}"))
    return Reward(function, _arguments(function, variables, lines), lines)


class Reward:
    """A loaded reward. Pure as far as it can be seen from here: it gets copies, and builds no graph."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[str, ...], lines: _Lines) -> None:
        self.arguments = arguments
        """State variables that it names, in its order."""
        self.components: tuple[str, ...] = ()
        """Names of its components; empty until the first call, fixed from then on."""
        self.calls = 0
        """Vector steps rewarded so far."""
        self._function = function
        self._lines = lines

    def __call__(self, state: Mapping[str, NDArray[Any]], steps: int = 1) -> tuple[Array, dict[str, Array]]:
        """Reward vector steps.

        Args:
            state: at least `arguments`, each `(N, *shape)`; neither kept nor changed.
            steps: how many vector steps these are, one after the other.

        Returns:
            The total, float32 `(N,)`, and every component, float32 `(N,)`, by name; all finite.

        Raises:
            RewardError: the function raised, or returned something else than the contract says.
        """
        inputs = {name: torch.from_numpy(np.array(state[name], dtype=np.float32)) for name in self.arguments}
        num_envs = len(inputs[self.arguments[0]])
        try:
            with torch.no_grad():
                returned = self._function(**inputs)
                values = self._stacked(returned, num_envs, steps)
        except RewardError:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt of the user's code included
            reason = explain(error, self._lines.path)
            raise RewardError(reason.message, reason.line) from error
        self.calls += steps
        return values[0], dict(zip(self.components, values[1:], strict=True))

    def _stacked(self, returned: Any, num_envs: int, steps: int) -> Array:
        """Total and components as one array `(1 + components, N)`, checked."""
        if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], dict):
            raise self._error(f"returned {_kind(returned)}; return (total, components), a tensor and a dict of tensors")
        total, components = returned
        first = not self.calls
        if first or tuple(components) != self.components:
            components = self._settled(components)
        tensors = (total, *components.values())
        stacked = None if first else _stack(tensors)
        if stacked is None or stacked.dtype is not torch.float32 or stacked.shape != (len(tensors), num_envs):
            names = ("", *components)
            stacked = torch.stack([self._checked(n, t, num_envs) for n, t in zip(names, tensors, strict=True)])
        values: Array = stacked.detach().numpy()
        if not np.isfinite(values).all():
            raise self._not_finite(values, steps)
        return values

    def _settled(self, components: dict[Any, Any]) -> dict[str, Any]:
        """Components in the order of the first call; names are checked then and must not change later."""
        if not self.calls:
            for name in components:
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise self._error(f"component name {str(name)[:40]!r}; names match {COMPONENT_NAME}", name)
            if len(components) > MAX_COMPONENTS:
                raise self._error(f"{len(components)} components; at most {MAX_COMPONENTS}")
            self.components = tuple(components)
        if set(components) != set(self.components):
            now, before = (", ".join(map(str, names)) or "none" for names in (components, self.components))
            message = f"components are {now}{self._when()}, they were {before}"
            raise self._error(f"{message}; return the same names on every call")
        return {name: components[name] for name in self.components}

    def _checked(self, name: str, value: Any, num_envs: int) -> torch.Tensor:
        """One returned value as float32 `(N,)`; `name` is empty for the total."""
        what = f"component {name!r}" if name else "the total"
        if not isinstance(value, torch.Tensor):
            hint = f"; use torch.full_like(total, {value})" if isinstance(value, (int, float)) else ""
            raise self._error(f"{what} is {_kind(value)}, not a tensor{hint}", name)
        if value.device.type != "cpu":
            raise self._error(f"{what} is on device {value.device}; use the device of the arguments", name)
        if value.shape != (num_envs,):
            shape = f"{what} has shape {tuple(value.shape)}, not (N,) = ({num_envs},)"
            raise self._error(shape + _shape_hint(value), name)
        if value.dtype not in _FLOATS:
            raise self._error(f"{what} is {str(value.dtype).removeprefix('torch.')}; make it float with .float()", name)
        return value.to(torch.float32)

    def _not_finite(self, values: Array, steps: int) -> RewardError:
        """Names the first component (before the total: it is likelier the cause) that is NaN or infinite, and when."""
        step = int((~np.isfinite(values)).any(axis=0).argmax() * steps // values.shape[1])
        values = np.split(values, steps, axis=1)[step]
        bad = ~np.isfinite(values)
        row = next((i for i in range(1, len(values)) if bad[i].any()), 0)
        name = self.components[row - 1] if row else ""
        what = f"component {name!r}" if name else "the total"
        value = "NaN" if np.isnan(values[row]).any() else "infinite"
        count = f"{int(bad[row].sum())} of {len(values[row])} environments{self._when(step)}"
        advice = "clamp what it divides by or takes exp, log or sqrt of"
        return self._error(f"{what} is {value} in {count}; {advice}", name)

    def _when(self, step: int = 0) -> str:
        return f" at vector step {self.calls + step}" if self.calls else " on the first call"

    def _error(self, message: str, component: Any = "") -> RewardError:
        return RewardError(one_line(message), self._lines.of_literal(component))


def reward_failure(error: RewardError, verdict: Verdict) -> Failure:
    """What the host is told about a reward that cannot go on: `verdict`, unless memory ran out in it."""
    verdict = Verdict.MEMORY if error.__cause__ and out_of_memory(error.__cause__) else verdict
    return Failure(verdict=verdict, message=error.message, file="reward.py", line=error.line)


def _arguments(function: Any, variables: Mapping[str, tuple[int, ...]], lines: _Lines) -> tuple[str, ...]:
    """The function's argument names, all of them state variables."""
    if isinstance(function, torch.jit.ScriptFunction):
        schema: Any = function.schema
        names = [argument.name for argument in schema.arguments]
    else:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError) as error:
            raise RewardError(f"{FUNCTION} has no readable signature", lines.of_function) from error
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        wrong = [str(p) for p in parameters if p.kind not in by_name]
        if wrong:
            message = f"argument {wrong[0]!r}: name each state variable, without *, ** or /"
            raise RewardError(one_line(message), lines.of_function)
        names = [p.name for p in parameters]
    if not names:
        raise RewardError(f"{FUNCTION} takes no argument; name at least one state variable", lines.of_function)
    for name in names:
        if name not in variables:
            close = difflib.get_close_matches(name, variables, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            listed = ", ".join(variables)
            message = f"unknown argument {name!r}; {hint}state variables: {listed}"
            raise RewardError(one_line(message), lines.of_argument(name))
    return tuple(names)


class _Lines:
    """Where in a reward's source things stand, for error messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = path.read_bytes().decode("utf-8-sig", "replace")

    @property
    def of_function(self) -> int | None:
        """Line of the last `def compute_reward`, the one that Python keeps."""
        functions = [n for n in self._tree().body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION]
        return functions[-1].lineno if functions else None

    def of_argument(self, name: str) -> int | None:
        """Line on which the function takes `name`."""
        lines = [n.lineno for n in ast.walk(self._tree()) if isinstance(n, ast.arg) and n.arg == name]
        return max(lines, default=self.of_function)

    def of_literal(self, text: Any) -> int | None:
        """First line with the string `text`, which is where a component gets its name; else the function's."""
        nodes = ast.walk(self._tree()) if text else ()
        lines = [n.lineno for n in nodes if isinstance(n, ast.Constant) and n.value == text]
        return min(lines, default=self.of_function)

    def _tree(self) -> ast.Module:
        return ast.parse(self._source)


def _stack(tensors: tuple[Any, ...]) -> torch.Tensor | None:
    """All values as rows of one tensor; None if they do not fit, for `Reward._checked` to say why."""
    try:
        return torch.stack(tensors)
    except (TypeError, RuntimeError):
        return None


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} ({', '.join(type(item).__name__ for item in value[:3])})"
    return f"{type(value).__name__}"


def _shape_hint(value: torch.Tensor) -> str:
    if value.ndim == 0:
        return "; it was reduced over the environments: sum or mean over dim=-1, not over everything"
    if value.ndim == 2 and value.shape[1] == 1:
        return "; use .squeeze(-1)"
    return "; reduce the other axes with sum(dim=-1)" if value.ndim > 1 else ""
