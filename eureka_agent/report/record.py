"""What the page's foot says: what stood around the boxes, every setting, seed and hash, and the way to do it again."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from eureka_agent.population import Score, Training
from eureka_agent.report.facts import RunFacts
from eureka_agent.settings import Recipe, Settings
from eureka_agent.text import command, count, flag_of, resuming
from eureka_sandbox.protocol import Wall

SANDBOX = (
    "Every training and every scoring ran in a box of its own, with a clean environment (no keys), limits on time, "
    "memory and output, and a checked result; scoring had no reward code."
)
NO_WALL = (
    "No wall stood around the rewards of this run (sandbox none): each ran as the user, and could read files and keys, "
    "use the network and change other candidates' work. Trust this page as far as you trust the code in it."
)


def record(facts: RunFacts) -> dict[str, str]:
    """How the search was set up, in words."""
    settings, recipe = facts.settings, Recipe.of(facts.task, facts.settings)
    return {
        "task": facts.task.name,
        "rewards written by": settings.model,
        "frames judged by": settings.vision_model or "nobody",
        "prompts": settings.prompts or "as shipped",
        "strategy": settings.strategy.replace("_", " "),
        "population × generations": f"{settings.population} × {settings.generations}",
        "stopped early by": settings.racing if settings.racing != "none" else "nothing",
        "trainings in a contest": str(settings.contest_seeds) if settings.contest_seeds > 1 else "no contests",
        "training": f"{count(recipe.timesteps)} steps, {recipe.algorithm}, {recipe.learner}",
        "hyperparameters": ", ".join(f"{k}={v}" for k, v in recipe.hyperparameters.items()) or "defaults",
        "episodes per score": str(facts.task.spec.evaluation_episodes),
        "fresh trainings per arm": str(settings.final_seeds),
        "seed": str(settings.seed),
        "started": started(facts),
    }


def config(facts: RunFacts) -> dict[str, str]:
    """Every setting of the run as it is stored; a dash where the task's or the machine's own value holds.

    Of the rewards that a person gave, only how many there were: they stand on the cards of the first candidates.
    """
    settings = facts.settings.model_dump()
    settings["seed_rewards"] = len(settings["seed_rewards"])
    return {key: "–" if value is None else str(value) for key, value in settings.items()}


def digests(facts: RunFacts) -> dict[str, str]:
    """SHA-256 of the task and of each of its files."""
    files = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(facts.task.files.items())}
    return {"task": facts.task.digest, **files}


MOST_ROWS = 200
"""Trainings whose seeds and hashes a page lists; `run.db` has all."""


@dataclass(frozen=True)
class Measured:
    """Seeds and hashes of one training and its score."""

    name: str
    link: str
    """The candidate's id, or nothing."""
    seed: str
    """Of the training."""
    episodes: str
    """First and last reset seed of the score; the run's journal has them all."""
    code: str
    policy: str
    binding: str
    """SHA-256 digests, in hex."""


def measured(facts: RunFacts) -> list[Measured]:
    """A row for what was trained, the highest of very many, and the comparison's fresh trainings last."""
    trained = [c for c in facts.population.candidates if c.training and not c.duplicate_of]
    if len(trained) > MOST_ROWS:
        trained = [c for c in facts.population.ranked if c.training][:MOST_ROWS]
    rows = [_measured(c.id, c.id, c.code, c.training, c.score) for c in trained]
    if facts.comparison and facts.best:
        codes = {"candidate": facts.best.code, "human": facts.task.human_reward, "random": ""}
        for arm in facts.comparison.arms:
            for number, trial in enumerate(arm.trials, 1):
                name = f"{arm.name}, fresh {number}" if trial.training else arm.name
                rows.append(_measured(name, "", codes[arm.name], trial.training, trial.score))
    return rows


def _measured(name: str, link: str, code: str, training: Training | None, score: Score | None) -> Measured:
    return Measured(
        name=name,
        link=link,
        seed=str(training.seed) if training else "–",
        episodes=f"{score.seeds[0]} … {score.seeds[-1]}" if score and score.seeds else "–",
        code=hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:12] if code else "–",
        policy=training.policy[:12] if training else "–",
        binding=(score.binding[:12] if score else "") or "–",
    )


@dataclass(frozen=True)
class Stood:
    """A kind of wall that stood in some of the sittings."""

    wall: Wall
    sittings: int


def stood(facts: RunFacts) -> list[Stood]:
    """Each kind of wall once, whatever its self-tests took."""
    kinds: dict[Wall, int] = {}
    for wall in facts.walls:
        kind = wall.model_copy(update={"seconds": 0.0})
        kinds[kind] = kinds.get(kind, 0) + 1
    return [Stood(wall, sittings) for wall, sittings in kinds.items()]


def unwalled(facts: RunFacts) -> str:
    """The banner of a run in which any sitting had no wall; empty otherwise."""
    return NO_WALL if any(wall.backend == "none" for wall in facts.walls) else ""


def started(facts: RunFacts) -> str:
    """Local time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.started))


ALWAYS = {"population": "-p", "generations": "-g", "seed": "", "model": "", "learner": "", "final_seeds": ""}
"""Settings that the command line of the same search names always, and short flags; any other, if it is not as usual."""
DURATIONS = ("max_seconds", "wall_seconds")
"""Settings whose flags take seconds as `90s`."""
UNTYPED = ("seed_rewards", "exhibits")
"""Settings that no flag takes as they are: rewards come from files, and whoever types a search wants to see it."""


def commands(facts: RunFacts) -> list[tuple[str, str]]:
    """(what it does, command line) pairs."""
    settings = facts.settings
    again, usual = ["eureka", "evolve", f"{facts.folder}/task"], Settings()
    for name in dict.fromkeys([*ALWAYS, *Settings.model_fields]):
        value = getattr(settings, name)
        if name not in UNTYPED and (name in ALWAYS or value != getattr(usual, name)):
            for each in value if isinstance(value, tuple) else (value,):
                shown = f"{each:g}s" if name in DURATIONS else str(each)
                again += [ALWAYS.get(name) or flag_of(name), *([] if each is True else [shown])]
    for slot in range(len(settings.seed_rewards)):
        again += ["--seed-reward", f"{facts.folder}/candidates/g0c{slot}/reward.py"]
    if facts.comparison is None:
        pairs = [("Continue this run", resuming(facts.folder, settings.sandbox))]
    else:
        more = resuming(facts.folder, settings.sandbox, "-g", str(settings.generations * 2))
        pairs = [("Search on, with more generations", more)]
    wall = ["--sandbox", "none"] if unwalled(facts) else []
    pairs.append(("The same search from the start", command(again)))
    pairs.append(("Measure every score of this page again", command(["eureka", "verify", facts.folder, *wall])))
    pairs.append(("Watch the policy again", command(["eureka", "rollout", facts.folder])))
    return pairs
