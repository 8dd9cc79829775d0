"""Honest selection: who leads is settled on several trainings, not on the one that looked best. Pure functions.

The best of many noisy trainings promises more than its reward keeps. So whoever comes close to the incumbent
(anybody, to one of a single training) trains on more seeds, the same ones as the incumbent, is dropped as soon as it is
clearly worse (as in racing algorithms: Maron and Moore 1997, Birattari et al. 2002), and replaces the incumbent only on
evidence. `contesting` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from eureka_agent.population import Candidate, Population, Record
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.text import measure, percent, plural

CONTENDERS = 2
"""Candidates of a generation that are contested, at most."""
CLOSE = 0.5
"""How far below the incumbent a screening may lie to be contested, in standard deviations of a training."""
WORSE, BETTER = 0.8, 0.6
"""One-sided confidence of being worse, to be dropped, and of being better, to replace the incumbent; both were tried on
simulated searches, see docs/log.md: who asks for more keeps mediocre incumbents."""
USUAL = 0.65
"""Share of the trainings that contests may take which they take, by the simulation in docs/log.md."""
RULE = 2
"""How contenders are chosen: by 1, of earlier versions, whoever led on one training was challenged only from above."""
Key = tuple[str, int]
"""A candidate and the number of one of its contest trainings, from 1."""


class Spread(Record):
    """How much trainings of one reward differ, pooled over rewards."""

    squares: float = 0.0
    """Sum of squared distances from each reward's own mean."""
    freedom: int = 0

    def including(self, standings: Sequence[Standing]) -> Spread:
        """With the trainings of more rewards; screenings count, which makes it rather too wide than too narrow."""
        squares, freedom = self.squares, self.freedom
        for standing in standings:
            values = standing.counted
            squares += sum((value - fmean(values)) ** 2 for value in values)
            freedom += len(values) - 1
        return Spread(squares=squares, freedom=freedom)

    @property
    def deviation(self) -> float:
        """Standard deviation of one training's mean fitness; 0 while nothing is known."""
        return sqrt(self.squares / self.freedom) if self.freedom else 0.0


class Incumbency(Record):
    """Who leads after a generation, and why."""

    id: str | None
    """None while nothing has trained to its end."""
    before: str | None
    """Who led until then."""
    standings: tuple[Standing, ...] = ()
    """Of everyone contested, the leader first."""
    spread: Spread = Spread()
    """Of everyone contested so far in the run but the leader."""
    reason: str
    optimism: float | None = None
    """The leader's, see `Standing.optimism`."""
    rule: int = 1
    """By which the contenders were chosen, see `RULE`."""
    seeds: int | None = None
    """Trainings of each at most, where a budget of environment steps had no room for as many as the settings allow."""

    @property
    def leader(self) -> Standing | None:
        """The incumbent's trainings."""
        return self.standings[0] if self.standings and self.standings[0].id == self.id else None


def training_key(key: Key) -> str:
    """Under which a contest's training and its score are journaled."""
    return f"{key[0]}/seed/{key[1]}"


def incumbency_key(generation: int) -> str:
    """Of the decision who leads after a generation."""
    return f"g{generation}/incumbent"


class Entrants(NamedTuple):
    """Who takes part in a contest."""

    contenders: tuple[Standing, ...]
    incumbent: Standing | None
    """None while there is none."""
    spread: Spread
    """Of everyone contested before."""

    @property
    def everyone(self) -> tuple[Standing, ...]:
        """The contenders, and the incumbent if there is one."""
        return (*self.contenders, *([self.incumbent] if self.incumbent else []))

    @property
    def trainings(self) -> int:
        """Contest trainings of all of them."""
        return sum(len(s.later) for s in self.everyone)

    def open_keys(self, seeds: int) -> list[Key]:
        """The contest trainings that they do not have, if each gets `seeds` trainings, the screening included."""
        return [(s.id, number) for s in self.everyone for number in range(len(s.later) + 1, seeds)]

    def trained(self, later: Mapping[Key, float | None]) -> Entrants:
        """With contest trainings that have ended: the mean fitness of each, None where it failed."""

        def now(standing: Standing) -> Standing:
            values = list(standing.later)
            while (key := (standing.id, len(values) + 1)) in later:
                values.append(later[key])
            return standing.model_copy(update={"later": tuple(values)})

        incumbent = now(self.incumbent) if self.incumbent else None
        return self._replace(contenders=tuple(map(now, self.contenders)), incumbent=incumbent)


def entrants(
    population: Population, candidates: Sequence[Candidate], earlier: Sequence[Incumbency | None], rule: int = RULE
) -> Entrants:
    """Who is contested after a generation, as they stand before the contest.

    Args:
        population: the generations before.
        candidates: those of the generation, measured.
        earlier: what the contests of the generations before came to, in order.
        rule: that of the version that held the contest.
    """
    last, best = earlier[-1] if earlier else None, population.best
    incumbent = population.standing(best) if best and not best.stopped else None
    spread = last.spread if last else Spread()
    if last and last.leader and incumbent and last.leader.id != incumbent.id:  # a person rejected it
        spread = spread.including([last.leader])
    width = spread.including([incumbent]) if incumbent else spread
    return Entrants(tuple(contenders(candidates, incumbent, width, rule)), incumbent, spread)


def contenders(
    candidates: Sequence[Candidate], incumbent: Standing | None, spread: Spread, rule: int = RULE
) -> list[Standing]:
    """Whoever trained to its end and came close to the incumbent or above, the highest first, `CONTENDERS` at most.

    An incumbent of one training, as it was the only one that finished so far or its others failed, may owe its place to
    luck in that: it is held against the best of the next generation however far below that comes out.
    """
    proven = incumbent is not None and (bool(incumbent.finished) or rule < RULE)
    least = incumbent.mean - CLOSE * spread.deviation if incumbent and proven else float("-inf")
    ended = [c for c in candidates if not c.failure and not c.stopped and c.duplicate_of is None]
    close = [Standing.screened(c) for c in ended if c.fitness is not None and c.fitness >= least]
    return sorted(close, key=lambda s: -s.screening)[:CONTENDERS]


def sure_of(contender: Standing, incumbent: Standing, spread: Spread) -> tuple[float, float]:
    """The difference of their means: at least, with confidence `BETTER`, and at most, with confidence `WORSE`.

    Student's t with the spread pooled over all rewards of the run: three trainings each say too little about their own.
    """
    from scipy.special import stdtrit

    difference = contender.mean - incumbent.mean
    if not spread.freedom:
        return difference, difference
    error = spread.deviation * sqrt(sum(1 / len(s.counted) for s in (contender, incumbent)))
    below, above = (float(stdtrit(spread.freedom, confidence)) * error for confidence in (BETTER, WORSE))
    return difference - below, difference + above


def still_in(standings: Sequence[Standing], incumbent: Standing | None, spread: Spread, number: int) -> list[Standing]:
    """Contenders that are worth a training on contest seed `number`: none of theirs failed, none is clearly worse.

    Clearly worse than the incumbent, or (without one) than the best of them; looked at after each seed in turn, as far
    as everyone has been trained on it.
    """
    left = list(standings)
    for done in range(1, number):
        field = [*left, incumbent] if incumbent else left
        if not left or any(len(s.later) < done for s in field):
            return left
        seen = [s.first(done) for s in field]
        rival = seen[-1] if incumbent else max(seen, key=lambda s: (not s.failed, s.mean))
        pooled = spread.including(seen)
        left = [
            s
            for s, then in zip(left, seen, strict=False)
            if not then.failed and (then is rival or sure_of(then, rival, pooled)[1] >= 0)
        ]
    return left


def wanted(standings: Sequence[Standing], incumbent: Standing | None, spread: Spread, seeds: int) -> list[Key]:
    """The trainings that the contest needs as far as is known now, those on the earliest seed first.

    Those on later seeds may turn out to be needless; they are for boxes that would be idle.

    Args:
        standings: of the contenders.
        incumbent: None while there is none.
        spread: of everyone contested before.
        seeds: trainings of each at most, the screening included.
    """
    keys = []
    for number, left in _rounds(standings, incumbent, spread, seeds):
        rivals = [*left, incumbent] if incumbent else left
        keys += [(s.id, number) for s in rivals if len(s.later) < number]
    return keys


def trimmed(standings: Sequence[Standing], incumbent: Standing | None, spread: Spread, seeds: int) -> list[Standing]:
    """Contenders without what was trained for idle boxes only, so that nothing depends on how many there were."""
    needed = {s.id: 0 for s in standings}
    for number, left in _rounds(standings, incumbent, spread, seeds):
        needed |= {s.id: number for s in left}
    return [s.first(needed[s.id]) for s in standings]


def _rounds(
    standings: Sequence[Standing], incumbent: Standing | None, spread: Spread, seeds: int
) -> list[tuple[int, list[Standing]]]:
    """Each contest seed with the contenders that train on it; one alone has nobody to be compared with."""
    rounds = [(number, still_in(standings, incumbent, spread, number)) for number in range(1, seeds)]
    return [(number, left) for number, left in rounds if len(left) > (0 if incumbent else 1)]


def settled(before: Entrants, later: Mapping[Key, float | None], seeds: int, unit: str = "") -> Incumbency:
    """The `decision` that trainings come to which began from `before`."""
    now, known = before.trained(later), len(before.incumbent.later) if before.incumbent else 0
    return decision(now.contenders, now.incumbent, now.spread, seeds, unit, known)


def decision(
    standings: Sequence[Standing],
    incumbent: Standing | None,
    spread: Spread,
    seeds: int,
    unit: str = "",
    known: int = 0,
) -> Incumbency:
    """Who leads, once all that is `wanted` was trained, and the reason.

    A contender takes the incumbent's place if its mean is higher, with confidence `BETTER`, it was trained in the
    contest, and none of its trainings failed. Without an incumbent the one of the highest mean leads.

    Args:
        standings: of the contenders.
        incumbent: None while there is none.
        spread: of everyone contested before.
        seeds: trainings of each at most, the screening included.
        unit: of fitness.
        known: contest trainings that the incumbent had before this contest.
    """
    before = incumbent.id if incumbent else None
    standings = trimmed(standings, incumbent, spread, seeds)
    if incumbent:
        incumbent = incumbent.first(max([known, *(len(s.later) for s in standings)]))
    everyone = [*([incumbent] if incumbent else []), *standings]
    left = still_in(standings, incumbent, spread, seeds)
    pooled = spread.including(everyone)
    if incumbent is None:
        leader, reason = _first(standings, left, unit)
    else:
        leader, reason = _challenged(standings, left, incumbent, pooled, unit)
    others = [s for s in everyone if leader is None or s.id != leader.id]
    return Incumbency(
        id=leader.id if leader else None,
        before=before,
        standings=(*([leader] if leader else []), *others),
        spread=spread.including(others),
        reason=reason,
        rule=RULE,
        optimism=leader.optimism if leader else None,
    )


def _first(standings: Sequence[Standing], left: Sequence[Standing], unit: str) -> tuple[Standing | None, str]:
    if not standings:
        return None, "nothing has trained to its end"
    best = max(left or standings, key=lambda s: (not s.failed, s.mean))
    if len(standings) == 1 or not best.finished:
        return best, f"{best.id} leads with {measure(best.mean, unit)} in one training"
    rest = ", ".join(_figures(s, unit) for s in standings if s.id != best.id)
    return best, f"{best.id} leads: {_figures(best, unit)}; {rest}"


def _challenged(
    standings: Sequence[Standing], left: Sequence[Standing], incumbent: Standing, spread: Spread, unit: str
) -> tuple[Standing, str]:
    if not standings:
        return incumbent, f"{incumbent.id} stays: nobody came close to {measure(incumbent.mean, unit)}"
    proven = [s for s in left if s.finished and not s.failed and sure_of(s, incumbent, spread)[0] > 0]
    told = "; ".join(_figures(s, unit) for s in (*standings, incumbent))
    if not proven:
        return incumbent, f"{incumbent.id} stays, nobody was better with {percent(BETTER)} confidence: {told}"
    best = max(proven, key=lambda s: s.mean)
    return best, f"{best.id} replaces {incumbent.id}, better with {percent(BETTER)} confidence: {told}"


def _figures(standing: Standing, unit: str) -> str:
    """`g0c3 12.1 m over 3 trainings, 17.4 m in the one that selected it`."""
    failed = ", another one failed" if standing.failed else ""
    if not standing.finished:
        return f"{standing.id} {measure(standing.screening, unit)} in one training{failed}"
    over = f"{standing.id} {measure(standing.mean, unit)} over {plural(len(standing.counted), 'training')}"
    warm = ", which went on from its parent's policy" if standing.warm else ""
    return f"{over}, {measure(standing.screening, unit)} in the one that selected it{warm}{failed}"


def usual_trainings(settings: Settings) -> float:
    """How many trainings the contest of one generation takes, about."""
    if settings.population == settings.generations == 1:
        return 0.0  # nobody to be compared with
    return USUAL * min(CONTENDERS, settings.population) * (settings.contest_seeds - 1)
