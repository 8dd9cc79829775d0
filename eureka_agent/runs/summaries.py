"""One run in a few plain values: for the list of runs, and for comparing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from eureka_agent.lab.wall import walls
from eureka_agent.population import Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import has_writer
from eureka_agent.search.comparison import Estimate, fails_more
from eureka_agent.search.contest import training_key
from eureka_agent.settings import Recipe

FINISHED, RUNNING, PAUSED = "finished", "running", "paused"


@dataclass(frozen=True)
class Summary:
    """How a run stands."""

    folder: Path
    task: str
    digest: str
    """Of the task's files: fitness under another is another quantity."""
    metric: str
    unit: str
    strategy: str
    model: str
    timesteps: int
    """Environment steps of one whole training."""
    status: str
    """`finished`, `running` or `paused` (`eureka evolve --resume` continues it)."""
    generations: int
    wanted: int
    """Generations that were asked for."""
    candidates: int
    failed: int
    best: str | None
    code: str
    fitness: float | None
    """IQM over fresh trainings; of an unfinished run the mean of all trainings of the best."""
    interval: tuple[float, float] | None
    """95 %, over two trainings or more."""
    human: float | None
    """The human reward's in the same comparison; of an unfinished run as it was measured with the task."""
    random: float | None
    over_human: Estimate | None
    """P(an episode of the best beats one of the human reward)."""
    trainings: int
    """Fresh trainings behind it, of whichever reward has fewer."""
    success: float | None
    cost: float
    """US dollars, as far as prices are known."""
    unpriced: int
    calls: int
    seconds: float
    steps: int
    """Environment steps of all trainings."""
    began: float
    """Seconds since 1970."""
    history: tuple[tuple[float, float], ...]
    """Environment steps of the search's candidates and the highest single score until then."""
    walled: bool = True
    """Whether a wall stood around the boxes in every sitting."""
    fails_more: bool = False
    """Whether more of the best's fresh trainings failed than of the human reward's, which the figures leave out."""

    @property
    def score(self) -> float | None:
        """Fitness with random play at 0 and the human reward at 1, or at -1 where it is the worse of the two.

        None until fresh trainings were compared: those that selected the best promise too much.
        """
        if self.over_human is None or self.fitness is None or self.human is None or self.random is None:
            return None
        if self.human == self.random:
            return None
        return (self.fitness - self.random) / abs(self.human - self.random)

    @property
    def method(self) -> str:
        """`incumbent, offline`."""
        return f"{self.strategy}, {self.model}"


def counted_scores(run: Run, population: Population, candidate: Candidate) -> tuple[Score, ...]:
    """Of all trainings that its fitness is the mean of, see `Standing.counted`; empty if not all are known."""
    if candidate.score is None:
        return ()
    known = population.standing(candidate)
    later = (run.score(training_key((known.id, number))) for number in range(1, len(known.later) + 1))
    finished = tuple(score for score in later if isinstance(score, Score))
    scores = finished if len(known.counted) == len(known.finished) else (candidate.score, *finished)
    return scores if len(scores) == len(known.counted) else ()


def success_rate(scores: Sequence[Score]) -> float:
    """Mean over one training or more, as of fitness."""
    return fmean(score.success_rate for score in scores)


def summary(run: Run) -> Summary:
    """Summarise a run at any stage."""
    population, tally, comparison, booked = run.leaders(), run.tally, run.comparison(), run.booked()
    anchors = run.task.anchors
    best = run.candidate(comparison.candidate) if comparison else population.best
    arms = {arm.name: arm for arm in comparison.arms} if comparison else {}
    ours = arms.get("candidate")
    counted = counted_scores(run, population, best) if best else ()
    human = arms["human"].iqm.value if arms else anchors.human.mean if anchors else None
    random = arms["random"].iqm.value if arms else anchors.random.mean if anchors else None
    return Summary(
        folder=run.folder,
        task=run.task.name,
        digest=run.task.digest,
        metric=run.task.spec.metric.name,
        unit=run.task.spec.metric.unit,
        strategy=run.settings.strategy,
        model=run.settings.model,
        timesteps=Recipe.of(run.task, run.settings).timesteps,
        status=FINISHED if comparison else RUNNING if has_writer(run.folder) else PAUSED,
        generations=run.generations,
        wanted=run.settings.generations,
        candidates=tally.candidates,
        failed=tally.failed,
        best=best.id if best else None,
        code=best.code if best else "",
        fitness=ours.iqm.value if ours else population.mean(best) if best else None,
        interval=(ours.iqm.low, ours.iqm.high) if ours and len(ours.fitness) > 1 else None,
        human=human,
        random=random,
        over_human=comparison.over_human if comparison else None,
        trainings=min(len(ours.fitness), len(arms["human"].fitness)) if ours else 0,
        success=ours.success_rate if ours else success_rate(counted) if counted else None,
        cost=booked.cost,
        unpriced=booked.unpriced,
        calls=booked.calls,
        seconds=run.elapsed_seconds,
        steps=run.trained_steps,
        began=run.created,
        history=tally.history,
        walled=all(wall.backend != "none" for wall in walls(run)),
        fails_more=bool(ours) and fails_more(arms["candidate"], arms["human"]),
    )
