"""Writes a genome as the reward file that a person would have written: one named line per component."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from eureka_agent.contract.task import Task
from eureka_agent.proposers.grammar import Gate, Genome, Term
from eureka_agent.proposers.naming import component_names, summary
from eureka_sandbox.protocol import VariableSpec

WIDTH = 120
"""Longest line written, as in this project's own code."""


def write_reward(genome: Genome, task: Task) -> str:
    """The reward function as source code in the contract of `compute_reward`."""
    variables = {v.name: v for v in task.variables}
    names = component_names(genome, task.variables)
    body = [_line(name, term, variables) for name, term in zip(names, genome.terms, strict=True)]
    body += _total(names)
    return "\n".join(
        [
            *_docstring(summary(genome, task.variables)),
            "",
            "from __future__ import annotations",
            "",
            "import torch",
            "",
            "",
            *_signature(_arguments(genome, task.variables)),
            *body,
            *_returned(names),
            "",
        ]
    )


def _line(name: str, term: Term, variables: Mapping[str, VariableSpec]) -> str:
    one_line = f"    {name} = {expression(term, variables)}"
    if len(one_line) <= WIDTH or not term.gate:
        return one_line
    return f"    {name} = (\n        {_plain(term, variables)}\n        * {_factor(term.gate)}\n    )"


def _total(names: Sequence[str]) -> list[str]:
    one_line = f"    total = {' + '.join(names)}"
    if len(one_line) <= WIDTH:
        return [one_line]
    return ["    total = (", f"        {names[0]}", *(f"        + {name}" for name in names[1:]), "    )"]


def _docstring(text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - 6)
    return [f'"""{lines[0]}"""'] if len(lines) == 1 else [f'"""{lines[0]}', *lines[1:], '"""']


def _arguments(genome: Genome, variables: Sequence[VariableSpec]) -> list[str]:
    """Names of the state variables that the terms read, in the order of the task's table."""
    read = {term.variable for term in genome.terms} | {term.gate.variable for term in genome.terms if term.gate}
    if any(term.form == "change" for term in genome.terms):
        read.add("previous_actions")
    return [v.name for v in variables if v.name in read]


def _signature(arguments: Sequence[str]) -> list[str]:
    typed = [f"{name}: torch.Tensor" for name in arguments]
    result = ") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:"
    one_line = f"def compute_reward({', '.join(typed)}{result}"
    if len(one_line) <= WIDTH:
        return [one_line]
    return ["def compute_reward(", *(f"    {argument}," for argument in typed), result]


def _returned(names: Sequence[str]) -> list[str]:
    pairs = [f'"{name}": {name}' for name in names]
    one_line = f"    return total, {{{', '.join(pairs)}}}"
    if len(one_line) <= WIDTH:
        return [one_line]
    return ["    return total, {", *(f"        {pair}," for pair in pairs), "    }"]


def expression(term: Term, variables: Mapping[str, VariableSpec]) -> str:
    """One term as an expression in torch operations, `(N,)`."""
    plain = _plain(term, variables)
    return f"{plain} * {_factor(term.gate)}" if term.gate else plain


def _plain(term: Term, variables: Mapping[str, VariableSpec]) -> str:
    """The term without its gate."""
    x = _variable(term, variables[term.variable])
    signed = x if term.direction > 0 else f"(-{x})"
    plain = _number(term.weight)
    along = _number(term.weight * term.direction)
    scale = _number(term.scale)
    return {
        "linear": f"{along} * {x}",
        "clipped": f"{along} * {_shifted(x, term.centre)}.clamp(-{scale}, {scale})",
        "tanh": f"{along} * torch.tanh({x} / {scale})",
        "near": f"{plain} * {_bell(x, term.centre, term.scale)}",
        "inverse": f"{plain} / (1.0 + {x} / {scale})",
        "cosine": f"{plain} * torch.cos({x})",
        "above": f"{plain} * {_step(x, term.centre, term.scale)}",
        "absolute": f"{plain} * {x if x.startswith('torch.linalg') else x + '.abs()'}",
        "square": f"{plain} * {x}.clamp(-{scale}, {scale}) ** 2",
        "idle": f"{plain} * torch.exp(-{signed}.clamp(min=0.0) / {scale})",
        "mean_square": f"{plain} * ({x}**2).mean(dim=-1)",
        "effort": f"{plain} * ({x}**2).sum(dim=-1)",
        "change": f"{plain} * (({x} - previous_{x}) ** 2).sum(dim=-1)",
        "alive": f"{plain} * (1.0 - {x})",
        "share": f"{plain} * {x}.mean(dim=-1)",
    }[term.form]


def _variable(term: Term, variable: VariableSpec) -> str:
    if term.axis is not None:
        return f"{variable.name}[:, {term.axis}]"
    if variable.shape and term.form in ("absolute", "near"):
        return f"torch.linalg.norm({variable.name}, dim=-1)"
    return variable.name


def _factor(gate: Gate) -> str:
    if gate.form == "near":
        return _bell(gate.variable, gate.centre, gate.scale)
    if gate.form == "above":
        return _step(gate.variable, gate.centre, gate.scale)
    return f"(-torch.cos({gate.variable})).clamp(min=0.0)"


def _bell(x: str, centre: float, scale: float) -> str:
    return f"torch.exp(-(({_shifted(x, centre)} / {_number(scale)}) ** 2))"


def _step(x: str, centre: float, scale: float) -> str:
    return f"torch.sigmoid({_shifted(x, centre)} / {_number(scale)})"


def _shifted(x: str, centre: float) -> str:
    if centre == 0.0:
        return x
    return f"({x} {'-' if centre > 0 else '+'} {_number(abs(centre))})"


def _number(value: float) -> str:
    """As a person writes constants; a genome holds no more than three significant digits."""
    text = f"{float(f'{value:.3g}'):.10f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
