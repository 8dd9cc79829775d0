"""Names and a summary sentence for the terms of a genome, as a person would choose them."""

from __future__ import annotations

from collections.abc import Sequence

from eureka_agent.proposers.grammar import Genome, Term
from eureka_agent.proposers.words import Signs, sign_convention
from eureka_sandbox.protocol import VariableSpec

_AXES = "xyz"
_FIXED = {"effort": "control", "change": "smoothness", "alive": "alive", "share": "contact", "idle": "idle"}
_FALLBACK = {
    "linear": "linear", "clipped": "capped", "tanh": "bounded", "near": "near", "inverse": "inverse",
    "cosine": "cosine", "above": "above", "absolute": "size", "square": "square", "idle": "slow",
    "mean_square": "square", "effort": "effort", "change": "change", "alive": "bonus", "share": "share",
}  # fmt: skip
"""Told apart by form where two terms would have one name."""
_WAYS = {"forward": "forward", "backward": "backward", "left": "leftward", "right": "rightward", "up": "upward"}
_WAYS |= {"down": "downward"}


def component_names(genome: Genome, variables: Sequence[VariableSpec]) -> tuple[str, ...]:
    """A readable, unique name per term, in order: `forward`, `upright`, `control`, `fall`, …"""
    arguments = {v.name for v in variables}
    names: list[str] = []
    for term in genome.terms:
        base = _name(term, variables)[:22].rstrip("_")
        told_apart = _way(term, variables) if term.form == "idle" else _FALLBACK[term.form]
        options = [base, f"{base}_{told_apart or 'slow'}", *(f"{base}_{i}" for i in range(2, 100))]
        names.append(next(name for name in options if name not in names and name not in arguments))
    return tuple(names)


def summary(genome: Genome, variables: Sequence[VariableSpec]) -> str:
    """`Pays forward speed (up to 3 m/s) and an upright torso; charges effort and a fall.`"""
    phrases = [(term.weight > 0, _phrase(term, variables)) for term in genome.terms]
    paid = _listed([text for pays, text in phrases if pays])
    charged = _listed([text for pays, text in phrases if not pays])
    sentence = "; ".join(f"{verb} {text}" for verb, text in (("pays", paid), ("charges", charged)) if text)
    return sentence[0].upper() + sentence[1:] + "."


def _listed(phrases: Sequence[str]) -> str:
    unique = list(dict.fromkeys(phrases))
    return " and ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else "".join(unique)


def _name(term: Term, variables: Sequence[VariableSpec]) -> str:
    variable = _variable(term, variables)
    stem = _stem(variable, term.axis)
    if term.gate and term.gate.form == "inverted":
        return "stall" if term.form == "idle" else "recover"
    if term.form in _FIXED:
        return _FIXED[term.form]
    if term.form in ("linear", "clipped", "tanh") and variable.unit in ("m/s", "rad/s"):
        way = _way(term, variables)
        if variable.unit == "m/s":
            return way or stem.replace("velocity", "speed")
        return f"{way}_rotation" if way else stem.replace("velocity", "rotation")
    match term.form:
        case "linear" if variable.name == "terminated":
            return "fall"
        case "near" | "cosine" | "absolute" | "linear" if stem in ("pitch", "pole_angle", "up"):
            return "upright"
        case "near" | "inverse" if "distance" in variable.name or variable.name.endswith("target"):
            return "closeness"
        case "linear" | "tanh" | "absolute" if "distance" in variable.name or variable.name.endswith("target"):
            return "distance"
        case "near" if "position" in variable.name:
            return "centred"
        case "absolute" if "position" in variable.name:
            return "off_centre"
        case "above" | "clipped" if stem == "z":
            return "height"
        case "absolute" if variable.unit == "m/s":
            return {"y_velocity": "drift", "z_velocity": "bounce"}.get(stem, stem.replace("velocity", "speed"))
        case "square":
            return stem.replace("velocity", "wobble")
        case "mean_square":
            return "joint_speed" if variable.unit == "rad/s" else "posture"
        case _:
            return stem


def _phrase(term: Term, variables: Sequence[VariableSpec]) -> str:
    variable = _variable(term, variables)
    stem = _stem(variable, term.axis)
    plain = {"z": "height", "up": "an upright torso"}.get(stem, stem.replace("_", " "))
    unit = "" if variable.unit == "1" else f" {variable.unit}"
    limit = f"{term.scale:.2g}{unit}"
    moved = f"{_way(term, variables)} {'speed' if variable.unit == 'm/s' else 'rotation'}".strip()
    text = {
        "linear": "a fall" if variable.name == "terminated" else moved if unit.endswith("/s") else plain,
        "clipped": f"{moved} (capped at {limit})" if unit.endswith("/s") else plain,
        "tanh": f"{moved if unit.endswith('/s') else plain} (levelling off near {limit})",
        "near": f"{plain} near {term.centre:.2g}",
        "inverse": f"a small {plain}",
        "cosine": f"the cosine of {plain}",
        "above": f"{plain} above {term.centre:.2g}{unit}",
        "absolute": f"{plain} off zero",
        "square": f"{plain} off zero",
        "idle": f"{moved} below about {limit}",
        "mean_square": f"{plain} off zero",
        "effort": "effort",
        "change": "jerky actions",
        "alive": "staying alive",
        "share": "ground contact",
    }[term.form]
    match term.gate.form if term.gate else None:
        case "near":
            return f"{text} while upright"
        case "above":
            return f"{text} while high"
        case "inverted":
            return f"{text} while upside down"
        case _:
            return text


def _variable(term: Term, variables: Sequence[VariableSpec]) -> VariableSpec:
    return next(v for v in variables if v.name == term.variable)


def _stem(variable: VariableSpec, axis: int | None) -> str:
    stem = variable.name.removeprefix("torso_")
    return stem if axis is None else f"{stem}_{_AXES[axis] if axis < len(_AXES) else axis}"


def _way(term: Term, variables: Sequence[VariableSpec]) -> str:
    """The direction word of a signed term (`forward`), or an empty string where the meaning names none."""
    if term.axis is not None:
        return ""
    signs: Signs = sign_convention(_variable(term, variables), variables)
    heading = term.direction if term.weight > 0 or term.form == "idle" else -term.direction
    return next((word for way, word in _WAYS.items() if signs.get(way) == heading), "")
