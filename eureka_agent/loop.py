"""The whole search on one page. Every step is journaled or recomputable, so a killed search continues where it was."""

from __future__ import annotations

from eureka_agent.critique.analysis import tell
from eureka_agent.critique.commenting import commented
from eureka_agent.critique.vision import Eyes, looked_at
from eureka_agent.lab.filming import illustrate
from eureka_agent.lab.lab import Lab
from eureka_agent.proposers import Proposer
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.search.contesting import contest
from eureka_agent.search.people import heard
from eureka_agent.search.steps import concluded, propose, related, select, understood
from eureka_agent.search.stopping import stopped
from eureka_agent.strategies import Strategy


def evolve(run: Run, proposer: Proposer, strategy: Strategy, lab: Lab, eyes: Eyes | None = None) -> Comparison:
    """Search for the best reward, and compare it with the human reward and a random policy."""
    population = heard(lab, run.population(curves=False))  # resume is the ordinary path
    while not stopped(run, population):
        briefs = select(run, strategy, population)  # parents, operators and seeds, journaled
        known = run.with_curves(population, related(briefs, population))
        candidates = propose(lab, proposer, briefs, known)  # code or the reason there is none, journaled
        measured = lab.measure(candidates, population)  # trained in box A, scored in box B on seeds drawn afterwards
        seen = looked_at(lab, eyes, measured)  # frames shown to a vision model, if wanted; journaled
        reflected = [understood(candidate, known, run) for candidate in seen]  # numbers → findings → text
        tell(lab.watcher, reflected)
        reflected = commented(lab, proposer, reflected)  # a model's words on the best of them, if wanted; journaled
        incumbent = contest(lab, population, reflected)  # who leads, on more training seeds, journaled
        population = heard(lab, run.extend(population, reflected, incumbent))  # what people said meanwhile, journaled
    key = f"comparison/{population.generations}"
    compared = run.decide(key, Comparison, lambda: concluded(lab, population))  # fresh seeds, intervals, signs
    illustrate(lab, compared.candidate)  # films and maps, for the report
    return compared
