"""Films and other pictures of policies: of whom, of which of their episodes, and the boxes that draw them.

None of it is needed for a score: a box that fails costs its picture and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from eureka_agent.errors import BudgetExhausted, EnvironmentMissing
from eureka_agent.lab.maps import map_rewards
from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.text import plural
from eureka_sandbox.protocol import Failure, Job, Outcome, SheetSpec, VideoSpec

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab
    from eureka_agent.runs.run import Run
    from eureka_agent.search.comparison import Arm

FILM, FRAMES = "film/", "frames/"
"""Beginnings of the keys of scorings that show one episode: the policy's digest follows."""
MAP_SECONDS = 60
"""A box starts in 1 to 10 s on a busy machine; calling the reward on a map's states takes less than one."""


def films_of(lab: Lab, arms: Sequence[Arm]) -> list[Arm]:
    """The arms with films of their median policies, or without if there is no time: a comparison is worth more."""

    def filmed(arm: Arm) -> Arm:
        trial = next(t for t in arm.trials if t.training and t.training.policy == arm.policy)
        film = _film(lab, trial.training, trial.score)
        if isinstance(film, Failure):
            return arm.model_copy(update={"video_note": str(film)})
        return arm.model_copy(update={"video": film.video, "video_note": film.video_note})

    if not lab.run.settings.exhibits:
        return [arm.model_copy(update={"video_note": "no films were asked for"}) for arm in arms]
    lab.watcher.stage("filming the median episode of each")
    try:
        return lab.boxes.side_by_side(filmed, arms)
    except (BudgetExhausted, EnvironmentMissing) as why:
        note = "no time was left to film" if isinstance(why, BudgetExhausted) else "the sandbox failed"
        return [arm.model_copy(update={"video_note": note}) for arm in arms]


def illustrate(lab: Lab, candidate_id: str) -> None:
    """Film more candidates and map the best reward, for the report, as far as there is time; each once in a run."""

    def mapped(job: Job) -> Outcome:
        limited = replace(job, limits=lab.boxes.limits(MAP_SECONDS))
        return lab.boxes.run("map", "a map of the reward", limited, shown=False)

    if not lab.run.settings.exhibits:
        return
    population = lab.run.population(curves=False)
    best = population[candidate_id]
    wanted = [c for c in worth_filming(population, best, lab.run.settings.films) if _is_unfilmed(lab.run, c)]
    try:  # the comparison is worth more than pictures
        if lab.boxes.stopping.is_set():
            raise BudgetExhausted("no time was left")
        if wanted:
            lab.watcher.stage(f"filming {plural(len(wanted), 'candidate')} for the report")
        film(lab, wanted)
        lab.boxes.side_by_side(lambda c: map_rewards(lab.run, c, mapped), [best])
    except (BudgetExhausted, EnvironmentMissing) as why:
        lab.watcher.stage(f"the report lacks films or maps, `eureka evolve --resume` draws them: {why}")


def film(lab: Lab, candidates: Sequence[Candidate]) -> None:
    """Film the median episode of each that was trained and scored; once in a run.

    Raises:
        BudgetExhausted: the time is up.
    """

    def filmed(candidate: Candidate) -> None:
        try:
            _film(lab, candidate.training, candidate.score)
        except EnvironmentMissing as why:
            lab.watcher.stage(f"{candidate.id} is not filmed: {why}")

    lab.boxes.side_by_side(filmed, [c for c in candidates if _is_unfilmed(lab.run, c)])


def frames(lab: Lab, candidate: Candidate) -> Score | Failure:
    """A contact sheet of the median episode of one that was trained and scored, once in a run.

    The score says in its note why there is none, if none could be drawn; where frames select, it is tried again.
    """
    training, score = candidate.training, candidate.score
    assert training is not None
    assert score is not None
    key = f"{FRAMES}{training.policy}"
    known = lab.run.score(key)
    again = lab.run.task.spec.by_vision and not (isinstance(known, Score) and known.frames)
    seeds = (median_seed(score),)
    return lab.scored(key, training, seeds, sheet=SheetSpec(), record_episodes=0, again=again)


def seen_by_now(run: Run, population: Population) -> list[Candidate]:
    """Whoever should be seen to move between two generations, so that those who look on or review see films."""
    best = population.best
    if run.task.spec.by_preference:  # nobody can prefer what they cannot see
        return list(population.born(population.generations - 1))
    return [best][: run.settings.films] if best and run.settings.exhibits else []


def worth_filming(population: Population, best: Candidate, most: int) -> list[Candidate]:
    """Those trained to the end, at most so many: the one that was best before the best was born, then the highest."""
    ranked = [c for c in population.ranked if c.training and c.score and not c.stopped]
    chosen = {c.id: c for c in [*before(ranked, best)[:1], *ranked]}
    return list(chosen.values())[:most]


def before(ranked: list[Candidate] | tuple[Candidate, ...], best: Candidate) -> list[Candidate]:
    """Those of earlier generations than the best's, in the order given."""
    return [c for c in ranked if c.brief.generation < best.brief.generation]


def median_seed(score: Score) -> int:
    """Reset seed of the (lower) median episode."""
    ranked = sorted(zip(score.fitness, score.seeds, strict=True))
    return ranked[(len(ranked) - 1) // 2][1]


def _is_unfilmed(run: Run, candidate: Candidate) -> bool:
    """Whether there is something to film, and no film."""
    training, alone = candidate.training, candidate.score and not candidate.duplicate_of
    return bool(training and alone and run.score(f"{FILM}{training.policy}") is None)


def _film(lab: Lab, training: Training | None, score: Score | None) -> Score | Failure:
    """One more short box, that episode only."""
    assert training is not None
    assert score is not None
    return lab.scored(f"{FILM}{training.policy}", training, (median_seed(score),), VideoSpec())
