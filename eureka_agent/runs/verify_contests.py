"""What contests decided, decided again from the trainings and scores that the journal holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from eureka_agent.population import Candidate, Population
from eureka_agent.review.steering import steering_of
from eureka_agent.runs.inbox import Taken
from eureka_agent.runs.run import Run
from eureka_agent.search.contest import Incumbency, entrants, settled, training_key


def decided_again(
    run: Run,
    generation: int,
    candidates: Sequence[Candidate],
    contests: Mapping[int, Incumbency],
    trained: Mapping[str, float | None],
    taken: Sequence[Taken],
) -> Incumbency | None:
    """The contest after a generation, from what was known then; None if the one before it led to nobody known.

    Args:
        run: whose contests they are.
        generation: after which it was held.
        candidates: all of the run with their scores, in order of birth.
        contests: as they are stored, by generation.
        trained: mean fitness by key of the training, None where it failed.
        taken: what people have said, all along.
    """
    earlier, stored = [contests.get(n) for n in range(generation)], contests[generation]
    last = earlier[-1] if earlier else None
    before = tuple(c for c in candidates if c.brief.generation < generation)
    if last and last.id is not None and last.id not in {c.id for c in before}:
        return None
    said = steering_of([letters for letters in taken if letters.generation <= generation])
    standings = {s.id: s for one in earlier if one for s in one.standings}
    known = Population(candidates=before, incumbent=last.id if last else None, standings=standings)
    population = run.steered(known, said)
    born = [c for c in candidates if c.brief.generation == generation]
    began = entrants(population, born, earlier, stored.rule)
    if all(s.warm is None for s in stored.standings):  # of an earlier version
        alike = tuple(s.model_copy(update={"warm": None}) for s in began.contenders)
        began = began._replace(contenders=alike)
    keys = {key: training_key(key) for key in began.open_keys(run.settings.contest_seeds)}
    later = {key: trained[name] for key, name in keys.items() if name in trained}
    return settled(began, later, stored.seeds or run.settings.contest_seeds, run.task.spec.metric.unit)


def counted_alike(contests: Mapping[int, Incumbency]) -> frozenset[str]:
    """Whose trainings an earlier version counted alike, those of contests having begun as their screening did."""
    return frozenset(s.id for held in contests.values() for s in held.standings if s.warm is None)


def differences(stored: Incumbency, again: Incumbency) -> Iterator[tuple[str, object, object]]:
    """What was decided otherwise: its name, what is stored, and what comes out."""
    if stored.id != again.id:
        yield "who leads", stored.id, again.id
    if stored.before != again.before:
        yield "who led before", stored.before, again.before
    counted, found = ({s.id: len(s.later) for s in one.standings} for one in (stored, again))
    if counted != found:
        yield "contest trainings that counted", _listed(counted), _listed(found)
    old, new = stored.spread, again.spread
    if old.freedom != new.freedom or not math.isclose(old.squares, new.squares, rel_tol=1e-9, abs_tol=1e-12):
        yield "spread of trainings", old, new
    if (stored.optimism is None) != (again.optimism is None) or not math.isclose(
        stored.optimism or 0.0, again.optimism or 0.0, rel_tol=1e-9, abs_tol=1e-12
    ):
        yield "optimism", stored.optimism, again.optimism


def _listed(trainings: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in trainings.items()) or "none"
