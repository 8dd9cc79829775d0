"""The components of a reward: what each is for, how it is computed, and what it paid over training."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from eureka_agent.contract.reward_code import FUNCTION, MAX_BYTES
from eureka_agent.contract.syntax import parse
from eureka_agent.population import Candidate, Training
from eureka_agent.report import charts
from eureka_agent.text import number, percent
from eureka_evaluation.components import PREFIX, ComponentStatistics, component_statistics, per_step

STEPS = "time/total_timesteps"
COLOURS = 8
"""Components with a colour of their own, the largest share first; the rest share the last."""
POINTS = 80
"""Of a component's curve that are drawn."""
LONGEST = 160
"""Characters of a formula that are shown."""


@dataclass(frozen=True)
class Part:
    """One component."""

    name: str
    css: str
    role: str
    """What it does, in words: pays or costs, and what stands out."""
    share: float
    """Of the summed magnitude of all components, 0 to 1."""
    first: str
    last: str
    """Mean per step at the start and at the end of training."""
    formula: str
    """The expression in the code, as far as its text shows it."""
    line: int | None
    spark: charts.Spark | None

    @property
    def percent(self) -> str:
        """The share as text."""
        return percent(self.share)


def parts(candidate: Candidate) -> list[Part]:
    """The components that were logged, the largest share first; before training, those that the code names."""
    written = formulas(candidate.code)
    if candidate.training is None:
        return [_part(name, number, None, candidate, written) for number, name in enumerate(written)]
    found = component_statistics(per_step(candidate.training.curves))
    return [_part(c.name, number, c, candidate, written) for number, c in enumerate(found)]


def _part(
    name: str, number_: int, c: ComponentStatistics | None, candidate: Candidate, written: dict[str, tuple[str, int]]
) -> Part:
    formula, line = written.get(name, ("", None))
    return Part(
        name=name,
        css=f"c{min(number_, COLOURS - 1)}",
        role=_role(c) if c else "",
        share=c.share if c else 0.0,
        first=number(c.values[0]) if c else "–",
        last=number(c.values[-1]) if c else "–",
        formula=formula,
        line=line,
        spark=_spark(name, candidate.training),
    )


def _role(c: ComponentStatistics) -> str:
    pays = all(v >= 0 for v in c.values)
    costs = all(v <= 0 for v in c.values)
    words = ["pays" if pays and not c.dead else "costs" if costs and not c.dead else "both ways" if not c.dead else ""]
    words += ["dominant"] * c.dominant + ["constant"] * c.constant + ["dead"] * c.dead + ["saturated"] * c.saturated
    words += [f"as {c.duplicate_of}"] if c.duplicate_of else []
    return ", ".join(word for word in words if word)


def _spark(name: str, training: Training | None) -> charts.Spark | None:
    if training is None or STEPS not in training.curves:
        return None
    values = per_step(training.curves).get(PREFIX + name, [])
    steps = [v or 0.0 for v in training.curves[STEPS]]
    return charts.sparkline(steps, values, training.peak_timesteps, f"{name} per step over training")


def stacked(candidate: Candidate) -> charts.Chart | None:
    """Mean per step of every component over training, what pays above zero and what costs below."""
    training = candidate.training
    if training is None or STEPS not in training.curves:
        return None
    curves = per_step(training.curves)
    names = [c.name for c in component_statistics(curves)]
    columns = [curves[PREFIX + name] for name in names]
    kept = [i for i, row in enumerate(zip(*columns, strict=True)) if all(v is not None for v in row)]
    kept = charts.thinned(kept, POINTS)
    if len(kept) < 2:
        return None
    xs = [training.curves[STEPS][i] or 0.0 for i in kept]
    highs, lows = [0.0] * len(kept), [0.0] * len(kept)
    areas = []
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        values = [column[i] or 0.0 for i in kept]
        for base, of in ((highs, [max(v, 0.0) for v in values]), (lows, [min(v, 0.0) for v in values])):
            if any(of):
                top = [b + v for b, v in zip(base, of, strict=True)]
                areas.append(charts.Area(xs, list(base), top, f"c{min(place, COLOURS - 1)}", name))
                base[:] = top
    return charts.line_chart(
        "Components, mean per step, stacked",
        [charts.Line(xs, [0.0] * len(xs), "zero")],
        x_label="steps",
        y_label="reward per step",
        areas=areas,
        size=(560, 240),
    )


def component_charts(candidate: Candidate) -> list[charts.Chart]:
    """Mean per step of each component over training, each on its own scale; the largest share first."""
    training = candidate.training
    if training is None or STEPS not in training.curves:
        return []
    curves = per_step(training.curves)
    names = [c.name for c in component_statistics(curves)][:COLOURS]
    steps = training.curves[STEPS]
    shown = []
    for place, name in enumerate(names):
        points = [(x, y) for x, y in zip(steps, curves[PREFIX + name], strict=True) if x is not None and y is not None]
        points = charts.thinned(points, POINTS)
        if len(points) > 1:
            line = charts.Line([x for x, _ in points], [y for _, y in points], f"of c{min(place, COLOURS - 1)}")
            size, y_label = (300, 150), "reward per step"
            shown.append(charts.line_chart(name, [line], x_label="steps", y_label=y_label, size=size))
    return shown


# ------------------------------------------------------------------------------------------------------------ formulas


def formulas(code: str) -> dict[str, tuple[str, int]]:
    """By component, the expression that the code's text gives for it, and its line; empty if it does not parse."""
    if len(code) > MAX_BYTES:
        return {}
    try:
        tree = parse(code, "reward.py")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION]
    if not functions:
        return {}
    assigned = {}
    for node in ast.walk(functions[-1]):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned.update({target.id: node.value for target in targets if isinstance(target, ast.Name)})
    found = {}
    for name, value in _returned(functions[-1], assigned):
        expression = assigned.get(value.id, value) if isinstance(value, ast.Name) else value
        found[name] = (_source(expression), expression.lineno)
    return found


def _returned(function: ast.FunctionDef, assigned: dict[str, ast.expr]) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
            parts = node.value.elts[1]
            parts = assigned.get(parts.id, parts) if isinstance(parts, ast.Name) else parts
            if isinstance(parts, ast.Dict):
                for key, value in zip(parts.keys, parts.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, value


def _source(expression: ast.expr) -> str:
    try:
        text = ast.unparse(expression)
    except (RecursionError, ValueError):  # nested too deeply, or an integer too long to be written
        return ""
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
