"""What the loop's steps do: who is asked for, who asks, what is made of the answers, and who wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from eureka_agent.critique.analysis import analysed
from eureka_agent.critique.reflection import reflect
from eureka_agent.critique.suspicions import suspected, suspected_at_last
from eureka_agent.errors import EurekaError
from eureka_agent.lab.lab import Lab
from eureka_agent.population import Brief, Candidate, Population, Proposal
from eureka_agent.proposers import Proposer
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.search.duplicates import linked
from eureka_agent.search.people import proposed, with_people
from eureka_agent.search.prescreen import prescreened
from eureka_agent.search.stopping import steps_left
from eureka_agent.search.tuning import with_tuning
from eureka_agent.strategies import Briefs, Strategy
from eureka_evaluation.finding import most_telling

ASKED_AT_ONCE = 16
"""Most requests to a language model at the same time."""


def understood(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with what its episodes and curves show, and the text that later prompts hold about it."""
    candidate = suspected(analysed(candidate, population, run), population, run)
    return reflect(candidate, population, run)


def select(run: Run, strategy: Strategy, population: Population) -> tuple[Brief, ...]:
    """What to ask for in the next generation, decided once."""

    def decide() -> Briefs:
        briefs = with_tuning(strategy.select(population, run.settings), population, run.settings)
        edits = sum(edit.generation == population.generations for edit in run.steering.edits)
        room = steps_left(run, population).candidates_at_most(edits)
        briefs = briefs if room is None else briefs[: max(0, room - edits)]  # what people write is always tried
        return Briefs(briefs=tuple(with_people(briefs, run, population)))

    return run.decide(f"g{population.generations}/briefs", Briefs, decide).briefs


def related(briefs: Sequence[Brief], population: Population) -> set[str]:
    """Whose curves the next candidates are made from, or compared with: the parents' and the incumbent's."""
    return {name for brief in briefs for name in brief.parents} | ({population.best.id} if population.best else set())


def propose(lab: Lab, proposer: Proposer, briefs: Sequence[Brief], population: Population) -> list[Candidate]:
    """One candidate per brief, asked for side by side."""
    lab.incumbent = population.best

    def ask(brief: Brief) -> Candidate:
        answer = partial(proposed, lab, proposer, brief, briefs, population)
        proposal = lab.run.decide(f"{brief.id}/proposal", Proposal, answer)
        return Candidate(brief=brief, **dict(proposal))

    asked = lab.boxes.side_by_side(ask, briefs, workers=min(ASKED_AT_ONCE, len(briefs)))
    return prescreened(lab, linked(lab.run, asked, population))


def concluded(lab: Lab, population: Population) -> Comparison:
    """The last comparison, of the best candidate, with all signs that its reward is exploited."""
    compared = suspected_at_last(lab.compare(winner(population)), population, lab.run)
    for finding in most_telling(compared.suspicions or (), 1):
        lab.watcher.stage(f"{compared.candidate}: {finding.text}")
    return compared


def winner(population: Population) -> Candidate:
    """The best candidate; an `EurekaError` with the commonest verdicts if none trained."""
    if population.best is None:
        failures = Counter(str(c.failure) for c in population.candidates).most_common(3)
        raise EurekaError("no candidate trained: " + "; ".join(f"{count} × {text}" for text, count in failures))
    return population.best
