"""Tunes the numbers of the incumbent apart from its structure: extra candidates per generation, the same code.

Weights and scales are read from the syntax tree, and the tree-structured Parzen estimator (Bergstra et al. 2011) of
Optuna proposes others from what the population has measured of this structure. No study is stored: it is built anew
from the population each time, so a resumed search asks the same. The candidates are trained, raced, contested and
counted as all others are.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eureka_agent.contract.reward_code import normalised_hash, normalised_source
from eureka_agent.contract.syntax import parse
from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Candidate, Population, Proposal
from eureka_agent.settings import Settings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OPERATOR = "tune"
FACTOR = 3.0
"""Every number stays within this factor of what it was in the first candidate of its structure, and keeps its sign."""
MOST = 20
"""Numbers that are tuned together, the first in the code; a few dozen trainings say nothing about more."""


@dataclass(frozen=True)
class Constant:
    """A number in reward code; its sign, if it has one, stands before it."""

    name: str
    """What it is assigned to, or part of what is assigned: `speed_scale`, `forward`."""
    value: float
    """Positive."""
    line: int
    """From 1."""
    begin: int
    """Bytes from the beginning of the line."""
    end: int


def constants(code: str) -> tuple[Constant, ...]:
    """The weights and scales of reward code in order: floats with a name of their own, and factors and divisors.

    Named are `WEIGHT = 2.5` at the top level and `scale = 1.9` inside a function; nameless are the float operands of
    `*` and `/`. Whole numbers count things; exponents and offsets are structure. Empty if the code does not parse.
    """
    try:
        tree = parse(normalised_source(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found = {(c.line, c.begin): c for name, node in _assigned(tree) for c in _weights(name, node)}
    return tuple(found[place] for place in sorted(found))[:MOST]


def with_numbers(code: str, values: Sequence[float]) -> str:
    """The code with other values for its `constants`, each in three significant digits; comments stay."""
    lines = normalised_source(code).encode().split(b"\n")
    for constant, value in reversed(list(zip(constants(code), values, strict=True))):
        line = lines[constant.line - 1]
        lines[constant.line - 1] = line[: constant.begin] + _written(value).encode() + line[constant.end :]
    return b"\n".join(lines).decode()


def check_tuning(settings: Settings) -> None:
    """See before a search begins whether it can tune.

    Raises:
        UsageError: Optuna is not installed.
    """
    if settings.tune:
        _optuna()


def with_tuning(briefs: Sequence[Brief], population: Population, settings: Settings) -> list[Brief]:
    """A generation's briefs and `settings.tune` more, once there is an incumbent with numbers."""
    best, result = population.best, list(briefs)
    if best is None or not constants(best.code):
        return result
    number, first = population.generations, 1 + max((brief.slot for brief in briefs), default=-1)
    for slot in range(first, first + settings.tune):
        name = f"g{number}c{slot}"
        seed = settings.derived_seed(OPERATOR, number)
        brief = Brief(id=name, generation=number, slot=slot, operator=OPERATOR, parents=(best.id,), seed=seed)
        result.append(brief.model_copy(update={"island": best.brief.island}))
    return result


def tuned(brief: Brief, briefs: Sequence[Brief], population: Population, task: Task) -> Proposal:
    """The incumbent with other numbers; siblings are asked for one after the other, so that they differ.

    Raises:
        UsageError: Optuna is not installed.
    """
    incumbent = population[brief.parents[0]]
    siblings = sorted(b.slot for b in briefs if b.operator == OPERATOR)
    values = _asked(incumbent, population, brief.seed, 1 + siblings.index(brief.slot))
    code = with_numbers(incumbent.code, values)
    genome = _with_genome(incumbent, values, task)
    if genome is not None and normalised_hash(genome[0]) == normalised_hash(code):
        return Proposal(code=genome[0], genome=genome[1])
    return Proposal(code=code)


def _asked(incumbent: Candidate, population: Population, seed: int, count: int) -> list[float]:
    """The last of so many proposals of the estimator."""
    optuna = _optuna()
    root, kin = _kin(incumbent, population)
    roots = [c.value for c in constants(root.code)]
    names = [f"{i} {c.name}" for i, c in enumerate(constants(root.code))]
    ranges: dict[str, Any] = {
        name: optuna.distributions.FloatDistribution(root / FACTOR, root * FACTOR, log=True)
        for name, root in zip(names, roots, strict=True)
    }
    # few trainings a generation: the estimator works from the first, and keeps numbers together that went together
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    proven = population.standing(incumbent).from_scratch
    for candidate in kin:
        standing = population.standing(candidate)
        whole = not candidate.stopped and (standing.from_scratch or not proven)
        if (trial := _trial(candidate, standing.mean, whole, names, ranges)) is not None:
            study.add_trial(trial)
    trial = [study.ask(ranges) for _ in range(count)][-1]
    return [float(trial.params[name]) for name in names]


def _kin(incumbent: Candidate, population: Population) -> tuple[Candidate, list[Candidate]]:
    """The candidate from which the incumbent's structure comes, and all scored ones that are it with other numbers."""
    origin: dict[str, str] = {}
    for candidate in population.candidates:  # parents come before their children
        brief = candidate.brief
        origin[brief.id] = origin[brief.parents[0]] if brief.operator == OPERATOR else brief.id
    root = origin[incumbent.id]
    return population[root], [c for c in population.candidates if origin[c.id] == root and c.fitness is not None]


def _trial(
    candidate: Candidate, mean: float, whole: bool, names: Sequence[str], ranges: dict[str, Any]
) -> FrozenTrial | None:
    """What is known of one candidate, with its mean fitness; None if it repeats another.

    Args:
        candidate: a scored one.
        mean: its fitness.
        whole: whether that can be held against the incumbent's. Else it is told as less than all that can: of a stopped
            training, and of one that went on from its parent's policy, where the incumbent's began from scratch.
        names: of the numbers.
        ranges: of the numbers, by name.
    """
    if candidate.duplicate_of is not None:
        return None
    optuna = _optuna()
    params = {}
    for name, constant in zip(names, constants(candidate.code), strict=True):
        # three digits may have gone over the edge
        params[name] = min(max(constant.value, ranges[name].low), ranges[name].high)
    known: dict[str, Any] = {"params": params, "distributions": ranges, "value": mean}
    if not whole and candidate.training:
        known["value"], known["state"] = None, optuna.trial.TrialState.PRUNED
        known["intermediate_values"] = {candidate.training.timesteps: mean}
    return cast("FrozenTrial", optuna.trial.create_trial(**known))


def _with_genome(incumbent: Candidate, values: Sequence[float], task: Task) -> tuple[str, dict[str, Any]] | None:
    """The offline search's own description with the same numbers, and its code, so that it can be mutated further."""
    from pydantic import ValidationError

    from eureka_agent.proposers.grammar import Genome
    from eureka_agent.proposers.naming import component_names
    from eureka_agent.proposers.writing import write_reward

    try:
        genome = Genome.model_validate(incumbent.genome)
    except ValidationError:
        return None
    changed: dict[str, list[tuple[float, float]]] = {}
    for constant, value in zip(constants(incumbent.code), values, strict=True):
        changed.setdefault(constant.name, []).append((constant.value, float(_written(value))))
    names = component_names(genome, task.variables)
    terms = [
        _replaced(term.model_dump(), changed.get(name, [])) for name, term in zip(names, genome.terms, strict=True)
    ]
    genome = Genome.model_validate({"terms": terms})
    return write_reward(genome, task), genome.model_dump(mode="json")


def _replaced(term: dict[str, Any], changes: list[tuple[float, float]]) -> dict[str, Any]:
    """A term with the first field that has each old value, up to sign, set to the new one."""
    places = [(term, field) for field in ("weight", "scale")]
    places += [(term["gate"], "scale")] if term["gate"] else []
    for old, new in changes:
        for place in places:
            owner, field = place
            if math.isclose(abs(owner[field]), old, rel_tol=1e-6):
                owner[field] = math.copysign(new, owner[field])
                places.remove(place)
                break
    return term


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What is assigned to a name or a key, or returned; outer before inner."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                yield name, value
            case ast.Return(value=ast.expr() as value):
                yield "returned", value
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(name)))], value=value):
                yield name, value
            case _:
                pass


def _weights(name: str, value: ast.expr) -> Iterator[Constant]:
    """The number that `value` is, or the factors and divisors in it."""
    nodes: list[ast.expr] = [value]
    for node in ast.walk(value):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
            nodes += [node.left, node.right]
    for node in nodes:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            node = node.operand
        if isinstance(node, ast.Constant) and type(node.value) is float and 0 < node.value < math.inf:
            assert node.end_col_offset is not None
            yield Constant(name, node.value, node.lineno, node.col_offset, node.end_col_offset)


def _written(value: float) -> str:
    """As a person writes constants."""
    text = repr(float(f"{value:.3g}"))
    return text if "e" in text or "." in text else f"{text}.0"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("--tune needs Optuna, which is not installed: pip install eureka-agent[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
