"""Writes a genome as the reward file that a person would have written: one named line per component."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from eureka_agent.proposers.grammar import Gate, Genome, Term
from eureka_agent.proposers.words import sign_convention
from eureka_agent.task import Task
from eureka_sandbox.protocol import VariableSpec

WIDTH = 100
_AXES = "xyz"
_FORM_NAMES = {
    "effort": "control",
    "change": "smoothness",
    "alive": "alive",
    "idle": "idle",
    "near": "near",
    "inverse": "proximity",
    "share": "contact",
}


def write_reward(genome: Genome, task: Task) -> str:
    """The reward function as source code in the contract of `compute_reward`."""
    variables = {v.name: v for v in task.variables}
    names = component_names(genome, task.variables)
    lines = [f"{name} = {expression(term, variables)}" for name, term in zip(names, genome.terms, strict=True)]
    lines.append("total = " + " + ".join(names))
    body = "\n".join("    " + line for line in lines)
    return (
        f'"""{_summary(names, genome)}"""\n\n'
        "from __future__ import annotations\n\nimport torch\n\n\n"
        f"{_signature(_arguments(genome, task.variables))}\n{body}\n{_returned(names)}\n"
    )


def component_names(genome: Genome, variables: Sequence[VariableSpec]) -> tuple[str, ...]:
    """A readable, unique name per term, in order: `forward`, `upright`, `control`, `fall`, …"""
    by_name = {v.name: v for v in variables}
    names: list[str] = []
    for term in genome.terms:
        base = _base_name(term, by_name[term.variable], variables)[:27].rstrip("_")
        choices = [base, f"{base}_{_ADJECTIVES[term.form]}"[:32], *(f"{base[:29]}_{i}" for i in range(2, 100))]
        names.append(next(name for name in choices if name not in names))
    return tuple(names)


def expression(term: Term, variables: Mapping[str, VariableSpec]) -> str:
    """One term as an expression in torch operations, `(N,)`."""
    x = _variable(term, variables[term.variable])
    signed = x if term.direction > 0 else f"(-{x})"
    plain = _number(term.weight)
    along = _number(term.weight * term.direction)
    scale = _number(term.scale)
    text = {
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
    return f"{text} * {_factor(term.gate)}" if term.gate else text


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
    """Two significant digits, as a person writes constants."""
    text = f"{float(f'{value:.2g}'):.10f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


# -------------------------------------------------------------------------------------------------------------- names

_ADJECTIVES = {
    "linear": "linear", "clipped": "capped", "tanh": "bounded", "near": "near", "inverse": "inverse", "cosine": "cosine",
    "above": "above", "absolute": "size", "square": "square", "idle": "idle", "mean_square": "square",
    "effort": "effort", "change": "change", "alive": "bonus", "share": "share",
}  # fmt: skip


def _base_name(term: Term, variable: VariableSpec, variables: Sequence[VariableSpec]) -> str:
    stem = variable.name.removeprefix("torso_")
    axis = f"_{_AXES[term.axis]}" if term.axis is not None and term.axis < 3 else ""
    if term.gate and term.gate.form == "inverted":
        return "stall" if term.form == "idle" else "recover"
    if term.form in _FIXED_NAMES:
        return _FIXED_NAMES[term.form]
    if term.form in ("linear", "clipped", "tanh") and variable.unit in ("m/s", "rad/s"):
        way = _way(term, sign_convention(variable, variables)) if term.axis is None else ""
        turning = "_rotation" if variable.unit == "rad/s" else ""
        return f"{way}{turning}" if way else f"{stem}{axis}"
    match term.form:
        case "linear" if variable.name == "terminated":
            return "fall"
        case "near" | "cosine" | "absolute" if stem in ("pitch", "pole_angle"):
            return "upright"
        case "near" | "inverse" if variable.unit == "m" and "distance" in variable.name:
            return "closeness"
        case "above" | "clipped" if stem == "z":
            return "height"
        case "absolute" if variable.unit == "m/s":
            return {"y": "drift", "z": "bounce"}.get(stem[0], f"{stem.removesuffix('_velocity')}_speed") + axis
        case "square":
            return f"{stem.removesuffix('_velocity')}{axis}_wobble"
        case "mean_square":
            return "joint_speed" if variable.unit == "rad/s" else "posture"
        case _:
            return f"{stem}{axis}"
