"""The typed grammar of the offline search: which terms a reward over a task's state variables can have.

A reward is a *genome*: a list of terms, each one line of the reward function. A *rule* says which form a variable of
some kind may take and in which range its weight (log-uniform) and scale lie. Ranges are in the variable's unit and
reflect what reward functions for such robots commonly use; they are the same for every task.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Literal

from eureka_agent.contract.syntax import parse
from eureka_agent.contract.task import Task
from eureka_agent.population import Record
from eureka_sandbox.bodies import TRAINING_PROGRESS, Kind
from eureka_sandbox.protocol import VariableSpec

Form = Literal[
    "linear", "clipped", "tanh", "near", "inverse", "cosine", "above", "absolute", "square", "idle",
    "mean_square", "effort", "change", "alive", "share",
]  # fmt: skip
GateForm = Literal["near", "above", "inverted"]
Role = Literal["goal", "shaping", "cost", "survival"]
Range = tuple[float, float]


class Gate(Record):
    """A factor between 0 and 1 that a term is multiplied with: it pays only in the right posture."""

    form: GateForm
    """`near`: exp(-(x/scale)²); `above`: sigmoid((x - centre)/scale); `inverted`: 1 upside down, 0 on the feet."""
    variable: str
    scale: float = 1.0
    centre: float = 0.0


class Term(Record):
    """One reward component: `weight` times a form of one variable."""

    form: Form
    variable: str
    axis: int | None = None
    """Which entry of a vector variable; None for scalars and for forms over the whole vector."""
    direction: Literal[1, -1] = 1
    """Which way along a signed variable is meant."""
    weight: float
    """Negative where the term charges."""
    scale: float = 1.0
    """Where bounded forms bend, in the variable's unit."""
    centre: float = 0.0
    gate: Gate | None = None

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What makes two terms the same choice, apart from their numbers."""
        return (self.form, self.variable, self.axis)


class Genome(Record):
    """A reward function as data."""

    format: Literal[1] = 1
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Rule:
    """Variables of `kind` may enter in `form`."""

    kind: Kind
    form: Form
    role: Role
    sign: Literal[1, -1, 0]
    """+1 pays, -1 charges, 0 either."""
    weight: Range
    scale: Range = (1.0, 1.0)
    takes: Literal["scalar", "axis", "norm", "vector"] = "scalar"
    """`axis`: one entry of a vector, or a scalar; `norm`: length of a vector; `vector`: all entries in one figure."""

    @property
    def directed(self) -> bool:
        """True if the two ways along the variable mean different things."""
        return self.kind in ("velocity", "angular_velocity") and self.form in ("linear", "clipped", "tanh", "idle")


RULES: tuple[Rule, ...] = (
    Rule("velocity", "linear", "goal", 1, (0.5, 3.0), takes="axis"),
    Rule("velocity", "clipped", "goal", 1, (0.5, 3.0), (2.0, 8.0), takes="axis"),
    Rule("velocity", "tanh", "goal", 1, (1.0, 5.0), (1.0, 6.0), takes="axis"),
    Rule("velocity", "idle", "shaping", -1, (0.2, 1.0), (0.3, 2.0), takes="axis"),
    Rule("velocity", "absolute", "shaping", -1, (0.05, 0.5)),
    Rule("velocity", "absolute", "shaping", -1, (0.02, 0.3), takes="norm"),
    Rule("angular_velocity", "linear", "goal", 1, (0.1, 0.6), takes="axis"),
    Rule("angular_velocity", "clipped", "goal", 1, (0.1, 0.6), (6.0, 20.0), takes="axis"),
    Rule("angular_velocity", "tanh", "goal", 1, (1.0, 5.0), (3.0, 12.0), takes="axis"),
    Rule("angular_velocity", "idle", "shaping", -1, (0.3, 1.2), (1.0, 4.0), takes="axis"),
    Rule("angular_velocity", "square", "shaping", -1, (0.003, 0.03), (5.0, 10.0), takes="axis"),
    Rule("angular_velocity", "mean_square", "cost", -1, (0.0003, 0.01), takes="vector"),
    Rule("distance", "linear", "goal", -1, (1.0, 10.0)),
    Rule("distance", "tanh", "goal", -1, (1.0, 4.0), (0.05, 0.5)),
    Rule("distance", "near", "goal", 1, (0.5, 4.0), (0.02, 0.3)),
    Rule("distance", "inverse", "goal", 1, (0.5, 4.0), (0.02, 0.3)),
    Rule("distance", "absolute", "goal", -1, (1.0, 10.0), takes="norm"),
    Rule("distance", "near", "goal", 1, (0.5, 4.0), (0.02, 0.3), takes="norm"),
    Rule("angle", "near", "shaping", 1, (0.2, 1.0), (0.08, 0.5)),
    Rule("angle", "cosine", "shaping", 1, (0.2, 1.0)),
    Rule("angle", "absolute", "shaping", -1, (0.1, 2.0)),
    Rule("angle", "mean_square", "shaping", -1, (0.02, 0.5), takes="vector"),
    Rule("orientation", "linear", "shaping", 1, (0.2, 1.0)),
    Rule("position", "near", "shaping", 1, (0.2, 1.5), (0.1, 1.0)),
    Rule("position", "absolute", "shaping", -1, (0.05, 1.0)),
    Rule("height", "above", "shaping", 1, (0.2, 0.8), (0.04, 0.2)),
    Rule("height", "clipped", "shaping", 1, (0.3, 0.9), (0.4, 1.0)),
    Rule("contact", "share", "shaping", 0, (0.05, 0.4), takes="vector"),
    Rule("action", "effort", "cost", -1, (0.0005, 0.02), takes="vector"),
    Rule("action", "change", "cost", -1, (0.001, 0.02), takes="vector"),
    Rule("flag", "linear", "goal", 0, (0.5, 5.0)),
    Rule("flag", "alive", "survival", 1, (0.3, 1.5)),
    Rule("flag", "linear", "survival", -1, (2.0, 15.0)),
)

_STANDING = re.compile(r"(-?\d+(?:\.\d+)?) (?:standing|at the reset)")


@dataclass(frozen=True)
class Slot:
    """A rule applied to one variable (and axis) of a task."""

    rule: Rule
    variable: VariableSpec
    axis: int | None = None

    @property
    def key(self) -> tuple[str, str, int | None]:
        """Equal to the key of the terms that fill this slot."""
        return (self.rule.form, self.variable.name, self.axis)


def slots(task: Task) -> tuple[Slot, ...]:
    """Every term that the grammar allows over a task's state variables."""
    kinds = {v.name: kind_of(v, task) for v in task.variables}
    names = set(kinds)
    distances = any(kinds[v.name] == "distance" and not v.shape for v in task.variables)
    found = []
    for variable in task.variables:
        for rule in RULES:
            if rule.kind != kinds[variable.name] or not _suits(rule, variable):
                continue
            if rule.takes == "norm" and rule.kind == "distance" and distances:
                continue  # the task gives the same length as a scalar
            if rule.role == "survival" and not can_end_early(task):
                continue
            if rule.form == "change" and "previous_actions" not in names:
                continue
            axes = range(variable.shape[0]) if rule.takes == "axis" and variable.shape else (None,)
            found += [Slot(rule, variable, axis) for axis in axes]
    return tuple(found)


def _suits(rule: Rule, variable: VariableSpec) -> bool:
    """Whether a rule makes sense for a variable of its kind: shape, frame and unit."""
    if rule.kind == "flag":
        return not variable.shape and (variable.name == "terminated") == (rule.role == "survival")
    if rule.kind == "action" and variable.name != "actions":
        return False
    if rule.takes == "vector":
        return len(variable.shape) == 1 and (rule.kind in ("contact", "action") or variable.frame == "joint")
    if rule.takes == "norm":
        return len(variable.shape) == 1
    if variable.frame == "joint" or len(variable.shape) > (rule.takes == "axis"):
        return False
    if rule.kind == "angle":  # whole turns add up in a cumulative angle, so that only its rate says anything
        return "cumulative" not in variable.name
    return True


def kind_of(variable: VariableSpec, task: Task) -> Kind | None:
    """The kind of a state variable: the body's own word, or for derived ones what unit and name suggest."""
    for known in (*task.body.variables, TRAINING_PROGRESS):
        if known.name == variable.name:
            return known.kind
    words = set(variable.name.split("_"))
    match variable.unit:
        case "m":
            if variable.shape == () and words & {"height", "z"}:
                return "height"
            return "distance" if words & {"distance", "error", "gap", "to"} else "position"
        case "m/s":
            return "velocity"
        case "rad":
            return "angle"
        case "rad/s":
            return "angular_velocity"
        case "s":
            return "time"
        case "1" if words & {"contact", "contacts"}:
            return "contact"
        case "1":
            return "flag"
        case _:
            return None


def can_end_early(task: Task) -> bool:
    """True if an episode can end in a terminal state: by the body's rule or by `terminated` in task.py."""
    own = next((v.meaning for v in task.body.variables if v.name == "terminated"), "it has none")
    tree = parse(task.files["task.py"])
    return "it has none" not in own or any(isinstance(n, ast.FunctionDef) and n.name == "terminated" for n in tree.body)


def standing_height(variable: VariableSpec) -> float:
    """Height at the reset as the variable's meaning states it (`1.25 standing`); 0 if it does not."""
    stated = _STANDING.search(variable.meaning)
    return float(stated.group(1)) if stated else 0.0


def gates(term_kind: Kind, task: Task) -> tuple[tuple[GateForm, VariableSpec], ...]:
    """(gate form, variable) pairs that may multiply a term over a variable of `term_kind`."""
    found: list[tuple[GateForm, VariableSpec]] = []
    for variable in task.variables:
        kind = kind_of(variable, task)
        if variable.shape or variable.frame == "joint" or "cumulative" in variable.name:
            continue
        if kind == "angle":
            found.append(("inverted" if term_kind == "angular_velocity" else "near", variable))
        if kind == "height" and term_kind == "velocity":
            found.append(("above", variable))
    return tuple(found)
