"""Parts of the tests of what people say: small searches that simulate nothing and stop before the comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llm_cases import Log, code, small_run

from eureka_agent.contract.task import Task
from eureka_agent.errors import EurekaError
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal
from eureka_agent.proposers import Sitting, make_proposer
from eureka_agent.review.record import Opinion, Review, code_hash, population_hash, run_id
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

QUICK = {"racing": "none", "contest_seeds": 1}


class Compared(EurekaError):
    """The search is over."""


class ShortLab(Lab):
    """Ends where the comparison would begin."""

    def compare(self, best: Candidate) -> Comparison:
        raise Compared(best.id)


class Author:
    """Writes a different reward for each brief; `before` hears of it first."""

    def __init__(self, before: Callable[[Brief], None] = lambda brief: None) -> None:
        self.before = before
        self.asked: list[str] = []

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        self.before(brief)
        self.asked.append(brief.id)
        return Proposal(code=reward(brief.id))


def reward(name: str, fitness: float | None = None) -> str:
    """A reward that differs from others in what it computes; the scripted sandbox gives it a fitness."""
    weight = "1." + "".join(str(ord(letter)) for letter in name)
    directive = "" if fitness is None else f"# scripted: fitness={fitness}\n"
    return directive + code(name).replace("return torso_x_velocity,", f"return {weight} * torso_x_velocity,")


def authored(run: Run, author: Author | None = None, log: Log | None = None) -> tuple[Population, Log]:
    """Search with rewards from `author`, up to the comparison."""
    log = log or Log()
    lab = ShortLab(ScriptedSandbox(), run, watcher=log)
    return finished(run, author or Author(), lab), log


def prompted(run: Run, log: Log | None = None) -> tuple[Population, Log]:
    """Search with the run's own model, up to the comparison."""
    log = log or Log()
    lab = ShortLab(ScriptedSandbox(), run, watcher=log)
    sitting = Sitting(run, log, lab.boxes.stopping, lab.smoke)
    return finished(run, make_proposer(run.settings.model, run.task, None, sitting), lab), log


def finished(run: Run, proposer: Author, lab: Lab) -> Population:
    try:
        evolve(run, proposer, Incumbent(), lab)
    except Compared:
        return run.population()
    raise AssertionError("the search did not come to its comparison")


def scripted_run(folder: Path, **settings: object) -> Run:
    """A run whose model reads its answers from files, which is enough to see its prompts."""
    answers = folder / "answers"
    answers.mkdir(parents=True)
    for generation in range(4):
        for slot in range(6):
            name = f"g{generation}c{slot}"
            (answers / f"{name}.py").write_text(reward(name))
    return small_run(folder / "run", f"scripted:{answers}", **{**QUICK, **settings})


def prompt(run: Run, name: str) -> str:
    """What was asked for a candidate."""
    return (run.folder / "candidates" / name / "prompt.md").read_text()


def opinion(run: Run, name: str, **fields: object) -> Opinion:
    """An opinion about a candidate as it is."""
    return Opinion.model_validate({"candidate": name, "code": code_hash(run.population()[name].code), **fields})


def review(run: Run, *opinions: Opinion, **fields: object) -> Review:
    """A review of a run as it is."""
    population = run.population()
    bound = {
        "run": run_id(run.created, run.task, run.settings.seed),
        "generations": population.generations,
        "population": population_hash(population.candidates, population.generations),
    }
    return Review.model_validate({**bound, "opinions": opinions, **fields})
