"""Which rewards are like which: distances between the rewards that were judged on the same transitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import sqrt

from eureka_agent.population import Candidate, Population
from eureka_agent.runs.run import Run
from eureka_agent.text import plural

NEAREST = 3
MOST_GENERATIONS = 12
"""Generations whose distances are worked out, the last and the best's; each takes about half a second with its bank."""
MOST_REWARDS = 40
"""Candidates in a table, the best ones."""
MOST_CELLS = 4000
"""Of all tables of a page together; those of the best's and of the last generations are shown."""
DENSE = 16
"""Rewards up to which a table's columns are wide."""
HUMAN, METRIC = "human", "metric"
CALLED = {HUMAN: "human reward", METRIC: "task's metric"}
UNRELATED = sqrt(0.5)
"""STARC and EPIC distance of rewards that have nothing to do with each other."""
BANDS = 5


@dataclass(frozen=True)
class Neighbours:
    """STARC distances of one reward, 0 for the same preferences over policies, 1 at most."""

    nearest: tuple[tuple[str, float], ...]
    """Candidates, the most alike first."""
    human: float | None
    metric: float | None
    """To the task's own metric, where the recorded variables tell it step by step."""


@dataclass(frozen=True)
class Matrix:
    """Distances between K rewards that were judged on the same transitions: those of a generation, who led, the human
    one, and the task's metric where the recorded variables tell it step by step."""

    generation: int
    names: tuple[str, ...]
    """Candidates' ids, the best first, then `human` and `metric`."""
    starc: tuple[tuple[float, ...], ...]
    """`(K, K)` in [0, 1]."""
    epic: tuple[tuple[float, ...], ...]
    """`(K, K)` in [0, 1]."""
    alignment: tuple[float, ...]
    """`(K,)` in [-1, 1], trajectory alignment coefficient: Kendall's tau-b of returns and the task's metric."""
    trajectories: int
    """Over which the alignment is."""
    left_out: int
    """Candidates that were judged as well, and came out lower."""
    rejected: int = 0
    """Candidates that were judged as well, and that a person rejected."""


def neighbours(
    run: Run, population: Population, best: Candidate | None
) -> tuple[dict[str, Neighbours], tuple[Matrix, ...]]:
    """By candidate's id, as far as rewards were judged, and a matrix per generation, the best's first, as they fit."""
    from eureka_agent.critique.suspicions import reward_distances

    last = population.generations - 1
    wanted = [g for g in range(last, -1, -1) if best is None or g != best.brief.generation][: MOST_GENERATIONS - 1]
    born = {c.id: c.brief.generation for c in population.candidates}
    found: dict[str, Neighbours] = {}
    shown: list[Matrix] = []
    for generation in [*([best.brief.generation] if best else []), *wanted]:
        known = reward_distances(run, generation)
        if known is None:
            continue
        names, matrix = known
        distances = {name: dict(zip(names, row, strict=True)) for name, row in zip(names, matrix.tolist(), strict=True)}
        for name, others in distances.items():
            if born.get(name) == generation:
                alike = sorted((d, n) for n, d in others.items() if n in born and n != name)[:NEAREST]
                nearest = tuple((n, d) for d, n in alike)
                found[name] = Neighbours(nearest, others.get(HUMAN), others.get(METRIC))
        kept = _kept(names, population)
        if len(kept) > 1 and len(kept) ** 2 + sum(len(m.names) ** 2 for m in shown) <= MOST_CELLS:
            shown.append(_matrix(run, generation, kept, distances, population.outcast))
    return found, tuple(shown)


def _kept(names: Iterable[str], population: Population) -> tuple[str, ...]:
    """The rewards of a table, in its order."""
    judged = set(names)
    ranked = [c.id for c in population.ranked if c.id in judged][:MOST_REWARDS]
    return (*ranked, *(name for name in CALLED if name in judged))


def _matrix(
    run: Run,
    generation: int,
    names: tuple[str, ...],
    starc: Mapping[str, Mapping[str, float]],
    outcast: Set[str],
) -> Matrix:
    from eureka_agent.critique.suspicions import alignments, epic_distances

    alignment, trajectories = alignments(run, generation, names)
    others = starc.keys() - names
    return Matrix(
        generation=generation,
        names=names,
        starc=tuple(tuple(starc[a][b] for b in names) for a in names),
        epic=tuple(map(tuple, epic_distances(run, generation, names).tolist())),
        alignment=tuple(alignment.tolist()),
        trajectories=trajectories,
        left_out=len(others - outcast),
        rejected=len(others & outcast),
    )


@dataclass(frozen=True)
class Cell:
    """A figure of a table."""

    text: str
    css: str
    """`p0` to `p4` for what wants the same, `n0` to `n4` for the opposite; empty for a reward beside itself."""


@dataclass(frozen=True)
class Row:
    """A reward beside the others of its table."""

    name: str
    link: str
    """The candidate's id, or nothing."""
    alignment: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A matrix, ready to read."""

    title: str
    note: str
    css: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(matrices: Sequence[Matrix]) -> list[Table]:
    """STARC below the diagonal, EPIC above it."""
    return [_table(matrix) for matrix in matrices]


def _table(m: Matrix) -> Table:
    dense = len(m.names) > DENSE
    rows = []
    for i, name in enumerate(m.names):
        figures = [m.starc[i][j] if j < i else m.epic[i][j] for j in range(len(m.names))]
        cells = [Cell("", "") if j == i else _distance(d, dense) for j, d in enumerate(figures)]
        link = "" if name in CALLED else name
        rows.append(Row(CALLED.get(name, name), link, _alignment(m.alignment[i]), tuple(cells)))
    note = f"Best first; TAC over {m.trajectories} recorded trajectories."
    why = ((m.left_out, "came out lower"), (m.rejected, "a person rejected"))
    if missing := [f"{plural(count, 'reward')} that {what}" for count, what in why if count]:
        note += f" Not shown: {'; '.join(missing)}."
    return Table(
        title=f"Generation {m.generation + 1}",
        note=note,
        css="dense" if dense else "",
        heads=m.names,
        rows=tuple(rows),
    )


def _distance(distance: float, dense: bool) -> Cell:
    side, share = ("p", 1 - distance / UNRELATED) if distance <= UNRELATED else (
        "n", (distance - UNRELATED) / (1 - UNRELATED)
    )  # fmt: skip
    text = f"{distance:.2f}"
    return Cell(text.removeprefix("0") if dense else text, f"{side}{_band(share)}")


def _alignment(tau: float) -> Cell:
    return Cell(f"{round(tau, 2) + 0.0:.2f}".replace("-", "−"), f"{'p' if tau >= 0 else 'n'}{_band(abs(tau))}")


def _band(share: float) -> int:
    return min(int(share * BANDS), BANDS - 1)
