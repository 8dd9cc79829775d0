"""The family tree: generations as columns, candidates as boxes that lead to their cards, lines from parents."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from eureka_agent import text
from eureka_agent.population import Candidate
from eureka_agent.report.facts import RunFacts, share

WIDTH, HEIGHT = 118.0, 38.0
"""Of a box, in pixels."""
COLUMN, ROW = 186.0, 50.0
"""From box to box."""
TOP, LEFT = 34.0, 10.0
MANY = 400
"""Lines up to which each is drawn for itself."""


@dataclass(frozen=True)
class Node:
    """One candidate."""

    id: str
    x: float
    y: float
    css: str
    """`best`, `failed`, `same` (a duplicate), `halted` (by racing) or `open`, and `trail` for the best's ancestors."""
    figure: str
    """Fitness, or why there is none."""
    share: float
    """Fitness on the run's scale, see `RunFacts.scale`."""
    label: str
    """All of it for a screen reader."""
    parents: str
    """Their ids, for the page's script."""


@dataclass(frozen=True)
class Edge:
    """From a parent to its child; of very many, all but the best's are one, without names."""

    parent: str
    child: str
    d: str
    css: str


@dataclass(frozen=True)
class Tree:
    """What the template draws, in pixels."""

    width: float
    height: float
    heads: list[tuple[float, str]]
    nodes: list[Node]
    edges: list[Edge]


def tree(facts: RunFacts) -> Tree | None:
    """Lay the run's candidates out; None while there are none."""
    candidates = facts.population.candidates
    if not candidates:
        return None
    places = _places(candidates)
    trail = ancestors(facts)
    scale = facts.scale
    nodes = [_node(c, places[c.id], facts, trail, scale) for c in candidates]
    edges = [
        Edge(parent, c.id, _curve(places[parent], places[c.id]), "trail" if {parent, c.id} <= trail else "")
        for c in candidates
        for parent in c.brief.parents
        if parent in places
    ]
    columns = sorted({c.brief.generation for c in candidates})
    return Tree(
        width=max(x for x, _ in places.values()) + WIDTH + LEFT,
        height=max(y for _, y in places.values()) + HEIGHT + 8,
        heads=[(LEFT + g * COLUMN, f"generation {g + 1}") for g in columns],
        nodes=nodes,
        edges=_drawn(edges),
    )


def _drawn(edges: list[Edge]) -> list[Edge]:
    """What stands out is drawn last."""
    plain, trail = ([edge for edge in edges if bool(edge.css) == on] for on in (False, True))
    if len(plain) > MANY:
        plain = [Edge("", "", "".join(edge.d for edge in plain), "")]
    return [*plain, *trail]


def ancestors(facts: RunFacts) -> set[str]:
    """The best and everyone it comes from."""
    by_id = {c.id: c for c in facts.population.candidates}
    found: set[str] = set()
    queue = [facts.best.id] if facts.best else []
    while queue:
        name = queue.pop()
        if name in by_id and name not in found:
            found.add(name)
            queue += by_id[name].brief.parents
    return found


def _places(candidates: tuple[Candidate, ...]) -> dict[str, tuple[float, float]]:
    """Upper left corners. Children stand near the middle of their parents, so that few lines cross."""
    places: dict[str, tuple[float, float]] = {}
    for generation in sorted({c.brief.generation for c in candidates}):
        born = [c for c in candidates if c.brief.generation == generation]

        def height(c: Candidate) -> tuple[float, int]:
            known = [places[parent][1] for parent in c.brief.parents if parent in places]
            return (fmean(known) if known else float("inf"), c.brief.slot)

        for row, candidate in enumerate(sorted(born, key=height)):
            places[candidate.id] = (LEFT + generation * COLUMN, TOP + row * ROW)
    return places


def _curve(parent: tuple[float, float], child: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = (parent[0] + WIDTH, parent[1] + HEIGHT / 2), (child[0], child[1] + HEIGHT / 2)
    bend = (COLUMN - WIDTH) * 0.6
    return f"M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"


def _node(
    c: Candidate, place: tuple[float, float], facts: RunFacts, trail: set[str], scale: tuple[float, float]
) -> Node:
    css = ["trail"] * (c.id in trail)
    if facts.best and c.id == facts.best.id:
        css.append("best")
    if c.duplicate_of:
        css.append("same")
    if c.stopped:
        css.append("halted")
    if c.failure:
        figure, css = c.failure.verdict.value, [*css, "failed"]
    elif c.fitness is None:
        figure, css = "not scored yet", [*css, "open"]
    else:
        figure = text.measure(facts.fitness(c), facts.unit)
        if c.stopped and c.training:
            figure += f" at {text.count(c.training.timesteps)}"
    same = f", {c.likeness}" if c.likeness else ""
    label = f"{c.id} {figure}, {made(c)}{same}"
    return Node(c.id, *place, " ".join(css), figure, share(facts.fitness(c), scale), label, " ".join(c.brief.parents))


OPERATORS = {
    "sample": "fresh sample",
    "mutate": "mutation of",
    "cross": "cross of",
    "tune": "other numbers for",
    "edit": "a person's edit of",
    "seed": "given by a person",
}
"""What each operator makes, before the names of the parents."""


def made(candidate: Candidate) -> str:
    """`mutation of g0c3`."""
    made_by, parents = words(candidate.brief.operator), " and ".join(candidate.brief.parents)
    return f"{made_by} {parents}" if parents else made_by.removesuffix(" of").removesuffix(" for")


def words(operator: str) -> str:
    """What an operator makes; one that nobody has named yet is called as it is."""
    return OPERATORS.get(operator, operator)
