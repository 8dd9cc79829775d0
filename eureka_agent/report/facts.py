"""What a report says, as plain values: the same for a run that has just begun, is half done, or has ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from eureka_agent import __version__
from eureka_agent.contract.task import Task
from eureka_agent.critique.analysis import analysed
from eureka_agent.lab.filming import FILM, FRAMES
from eureka_agent.lab.floor import Floor
from eureka_agent.lab.wall import walls
from eureka_agent.population import Candidate, Population, Score
from eureka_agent.report.maps import Surface, surfaces
from eureka_agent.report.neighbours import Matrix, Neighbours, neighbours
from eureka_agent.report.thoughts import Thought, thoughts
from eureka_agent.review.steering import Steering
from eureka_agent.runs.run import Run
from eureka_agent.runs.sittings import Utilisation, utilisation
from eureka_agent.runs.spending import Spending, spending
from eureka_agent.runs.summaries import counted_scores
from eureka_agent.runs.work import Work
from eureka_agent.search.comparison import Arm, Comparison, Estimate, can_settle, fails_more
from eureka_agent.search.contest import Incumbency, incumbency_key
from eureka_agent.search.prescreen import Audit, audit
from eureka_agent.search.stopping import Stop
from eureka_agent.settings import Settings
from eureka_agent.text import count, dollars, duration, interval, measure, number, percent, plural
from eureka_evaluation.finding import Finding
from eureka_sandbox.protocol import Wall


@dataclass(frozen=True)
class RunFacts:
    """Everything the page needs; nothing here is markup."""

    folder: str
    task: Task
    settings: Settings
    population: Population
    comparison: Comparison | None
    started: float
    """Seconds since 1970."""
    seconds: float
    """Wall time of all sittings so far."""
    trained_steps: int = 0
    """Environment steps of all trainings, the comparison's included."""
    work: Work | None = None
    """What all boxes computed, whatever became of it."""
    utilisation: Utilisation | None = None
    """How full the slots for boxes were."""
    stage: str = ""
    """`Run.stage` when it was read."""
    spending: Spending | None = None
    """What language models have cost."""
    steering: Steering = field(default_factory=Steering)
    """What people have said."""
    films: Mapping[str, bytes] = field(default_factory=dict)
    """mp4 by arm of the comparison, and by candidate's id; before the comparison, the incumbent's under `candidate`."""
    posters: Mapping[str, bytes] = field(default_factory=dict)
    """JPEG by the same names: a still from each film's middle."""
    sheets: Mapping[str, bytes] = field(default_factory=dict)
    """JPEG by candidate's id: the frames that a vision model was shown."""
    surfaces: Mapping[str, tuple[Surface, ...]] = field(default_factory=dict)
    """What the best reward (`candidate`) and the `human` one pay over two state variables."""
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)
    """Which rewards are alike, by candidate's id."""
    matrices: tuple[Matrix, ...] = ()
    """How far the rewards of a generation are from each other, the best's generation first."""
    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    """Of all trainings behind a candidate's fitness, by its id, where there is more than the one that selected it."""
    contests: tuple[Incumbency | None, ...] = ()
    """Who led after each finished generation, and why; None where nobody was contested."""
    prescreen: Audit | None = None
    """What prescreening rejected, and how often that was wrong; None if it was not asked for."""
    stop: Stop | None = None
    """Why the search ended, if it has."""
    thoughts: Mapping[str, Thought] = field(default_factory=dict)
    """What a language model said with its code, by candidate's id."""
    findings: Sequence[Finding] = ()
    """What the compared candidate's fresh training of median fitness shows, the one filmed; empty if nothing of it was
    recorded."""
    floor: Floor | None = None
    """What play without learning reaches."""
    versions: dict[str, str] = field(default_factory=dict)
    walls: tuple[Wall, ...] = ()
    """What each sitting's self-test of the sandbox found."""

    @property
    def unit(self) -> str:
        """The metric's unit."""
        return self.task.spec.metric.unit

    @property
    def best(self) -> Candidate | None:
        """The compared candidate; the incumbent while there is no comparison."""
        return self.population[self.comparison.candidate] if self.comparison else self.population.best

    def suspicions(self, candidate: Candidate) -> Sequence[Finding]:
        """Signs that its reward is exploited; of the compared candidate those that the end of the run showed, too."""
        compared = self.comparison if self.comparison and self.comparison.candidate == candidate.id else None
        return candidate.suspicions if compared is None or compared.suspicions is None else compared.suspicions

    @property
    def human(self) -> float | None:
        """The human reward's fitness: of this run's own trainings if it has them, else as it was measured before."""
        if self.comparison:
            return self.comparison.arm("human").iqm.value
        return self.task.anchors.human.mean if self.task.anchors else None

    def fitness(self, candidate: Candidate) -> float | None:
        """Over all its trainings; None without a score."""
        return None if candidate.fitness is None else self.population.mean(candidate)

    def counted(self, candidate: Candidate) -> tuple[Score, ...]:
        """Scores of the trainings that its fitness is the mean of; empty without a score, or if not all are known."""
        known = self.scores.get(candidate.id)
        return ((candidate.score,) if candidate.score else ()) if known is None else known

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest fitness that bars are drawn between: candidates, human reward, random play."""
        levels = [self.population.mean(c) for c in self.population.ranked]
        levels += [self.human] if self.human is not None else []
        levels += [self.task.anchors.random.mean] if self.task.anchors else []
        return (min(levels), max(levels)) if levels else (0.0, 1.0)

    @property
    def failed(self) -> int:
        """Candidates that ended with a verdict instead of a fitness."""
        return sum(c.failure is not None for c in self.population.candidates)


def share(fitness: float | None, scale: tuple[float, float]) -> float:
    """Where a fitness lies on a scale, 0 to 1."""
    low, high = scale
    return 0.0 if fitness is None or high <= low else min(max((fitness - low) / (high - low), 0.0), 1.0)


def gather(run: Run) -> RunFacts:
    """Read a run at any stage."""
    stage = run.stage()  # first: what is written meanwhile is news to whoever reads the page
    population, comparison = run.population(partial=True), run.comparison()
    filmed = _filmed(run, population)
    if comparison:
        filmed |= {arm.name: score for arm in comparison.arms if arm.policy and (score := _film_of(run, arm.policy))}
    best = population[comparison.candidate] if comparison else population.best
    if best and best.id in filmed:
        filmed.setdefault("candidate", filmed[best.id])
    near, matrices = neighbours(run, population, best)
    trained = next((c.training for c in population.candidates if c.training), None)
    return RunFacts(
        folder=str(run.folder),
        task=run.task,
        settings=run.settings,
        population=population,
        comparison=comparison,
        started=run.created,
        seconds=run.elapsed_seconds,
        trained_steps=run.trained_steps,
        work=run.work,
        utilisation=utilisation(run),
        stage=stage,
        spending=spending(run),
        steering=run.steering,
        films={name: run.blob(score.video) for name, score in filmed.items() if score.video},
        posters={name: run.blob(score.poster) for name, score in filmed.items() if score.poster},
        sheets=_sheets(run, population),
        surfaces=surfaces(run, best),
        neighbours=near,
        matrices=matrices,
        scores={
            c.id: counted_scores(run, population, c) for c in population.candidates if population.standing(c).finished
        },
        contests=tuple(run.decided(incumbency_key(g), Incumbency) for g in range(population.generations)),
        prescreen=audit(run, population),
        stop=run.end(),
        thoughts=thoughts(run),
        findings=_median_findings(run, population, comparison) if comparison else (),
        floor=run.floor(),
        walls=walls(run),
        versions={"eureka-agent": __version__, **(trained.versions if trained else _installed())},
    )


def _filmed(run: Run, population: Population) -> dict[str, Score]:
    """Which candidates were filmed: with their score, or by a box of its own under the policy's name."""
    found = {}
    for candidate in population.candidates:
        score = candidate.score
        if score and not score.video:
            score = _film_of(run, candidate.training.policy) if candidate.training else None
        if score and score.video:
            found[candidate.id] = score
    return found


def _sheets(run: Run, population: Population) -> dict[str, bytes]:
    """The frames of whoever a vision model has judged."""
    seen = [(c.id, c.training.policy) for c in population.candidates if c.vision and c.training]
    scores = {name: run.score(f"{FRAMES}{policy}") for name, policy in seen}
    return {name: run.blob(s.frames) for name, s in scores.items() if isinstance(s, Score) and s.frames}


def _median_findings(run: Run, population: Population, comparison: Comparison) -> Sequence[Finding]:
    trial = comparison.arm("candidate").median
    if trial.score is None or trial.score.episodes is None:
        return ()
    fresh = population[comparison.candidate].model_copy(update={"training": trial.training, "score": trial.score})
    return analysed(fresh, Population(), run).findings  # beside no incumbent: that is the candidate itself


def _film_of(run: Run, policy: str) -> Score | None:
    filmed = run.score(f"{FILM}{policy}")
    return filmed if isinstance(filmed, Score) and filmed.video else None


def _installed() -> dict[str, str]:
    names = ("mujoco", "torch", "stable-baselines3", "numpy")
    return {name: metadata.version(name) for name in names}


def label(facts: RunFacts, arm: Arm) -> str:
    """An arm as a person calls it."""
    best = f"best, {facts.comparison.candidate}" if facts.comparison else "best"
    return {"candidate": best, "human": "human reward", "random": "random policy"}[arm.name]


def verdict(facts: RunFacts) -> str:
    """One sentence: did the best beat the human reward, by how much, with what certainty. Nothing is rounded up."""
    if facts.comparison is None:
        return _unbroken(facts.unit, _so_far(facts))
    said = (_compared(facts, facts.comparison), _by_the_mean(facts, facts.comparison), _beside_random(facts.comparison))
    return _unbroken(facts.unit, "".join(said))


def _by_the_mean(facts: RunFacts, comparison: Comparison) -> str:
    """What an IQM hides: it leaves out the worst quarter of the episodes, which is where rare failures are."""
    best, human = comparison.arm("candidate"), comparison.arm("human")
    ours, theirs = best.mean, human.mean
    if (ours - theirs) * (best.iqm.value - human.iqm.value) >= 0:
        return ""
    figures = f"{measure(ours, facts.unit)} against {measure(theirs, facts.unit)}"
    first = comparison.candidate if ours > theirs else "the human reward"
    return f" The mean, which counts the worst and the best episodes too, puts {first} ahead: {figures}."


def _beside_random(comparison: Comparison) -> str:
    """What a reader must know before anything else, if it is so."""
    best, random = comparison.arm("candidate").iqm.value, comparison.arm("random").iqm.value
    return " It does no better than random actions." if best <= random else ""


def _so_far(facts: RunFacts) -> str:
    best, total = facts.best, plural(facts.settings.generations, "generation")
    born = plural(len(facts.population.candidates), "candidate")
    if best is None:
        return f"Nothing has trained to an end yet: {born} so far, {total} asked for."
    born = f"{born} in {facts.population.generations} of {total} so far"
    anchors = facts.task.anchors
    beside = ""
    if anchors:
        human, steps = measure(anchors.human.mean, facts.unit), count(anchors.timesteps)
        beside = f", beside {human} for the human reward at {steps} steps"
    scored = facts.population.standing(best).told(facts.unit)
    return f"{best.id} leads with {scored}{beside}: {born}, not yet compared on fresh seeds."


def _compared(facts: RunFacts, comparison: Comparison) -> str:
    best, human = comparison.arm("candidate"), comparison.arm("human")
    odds, trainings = comparison.over_human, min(len(best.fitness), len(human.fitness))
    gap = measure(abs(best.iqm.value - human.iqm.value), facts.unit)
    ours, theirs = measure(best.iqm.value, facts.unit), measure(human.iqm.value, facts.unit)
    settled, each = can_settle(trainings), f"{plural(trainings, 'training')} each"
    fails = fails_more(best, human)
    if odds.low <= 0.5 <= odds.high:
        cannot = f"{each} {'do not' if settled else 'cannot'} settle it"
        return f"{comparison.candidate} reaches {ours}, the human reward {theirs}: {_lead(odds)}, but {cannot}."
    ahead = odds.low > 0.5
    if settled and not (ahead and fails):
        deed = f"beats the human reward by {gap}" if ahead else f"falls {gap} short of the human reward"
        return f"{comparison.candidate} {deed}: {ours} against {theirs} over {each}, {_lead(odds)}."
    place = "ahead of" if ahead else "behind"
    doubts = [] if settled else [f"{each} cannot settle it"]
    if ahead and fails:
        doubts.append(f"{len(best.failures)} of its {plural(len(best.trials), 'fresh training')} failed")
    deed = f"came out {place} the human reward"
    return f"{comparison.candidate} {deed}, {ours} against {theirs}, but {' and '.join(doubts)}."


def cost(facts: RunFacts) -> str:
    """What the run took, as one sentence."""
    spent = facts.spending
    asked = [f"{plural(spent.total.calls, 'call')} to language models"] if spent and spent.total.calls else []
    if spent and spent.total.calls and (spent.total.tokens or spent.total.cost):
        price = "of unknown price" if spent.total.unpriced else f"for {dollars(spent.total.cost)}"
        asked = [f"{asked[0]} {price}"]
    steps = f"{count(facts.trained_steps)} environment steps in all trainings"
    *first, last = [duration(facts.seconds), steps, *asked]
    return f"It took {', '.join(first)} and {last}."


def overtime(times: float) -> str:
    """Of a training whose boxes ran so many times as long as others of as many steps."""
    why = "its code is slow, the machine was busy, or it trained for longer than it says"
    return f"{number(times)} times as long as equal trainings: {why}"


def selection(facts: RunFacts) -> str:
    """What the winner had scored when it was chosen: the best of many single trainings is flattered by luck.

    And whether its training took longer than others of as many steps.
    """
    chosen = _chosen(facts)
    times = facts.population.overtime(facts.best) if facts.best else None
    return f"{chosen} Its training ran {overtime(times)}.".lstrip() if times else chosen


def _chosen(facts: RunFacts) -> str:
    if facts.comparison is None or facts.best is None or facts.best.fitness is None:
        return ""
    if facts.population.by_preference:
        return "It was chosen for how its policy looks, not for its score."
    scored = sum(c.fitness is not None for c in facts.population.candidates)
    if scored < 2:
        return ""
    then = measure(facts.best.fitness, facts.unit)
    held = next((held for held in reversed(facts.contests) if held), None)
    if held and held.leader and held.leader.fresh is not None and held.id == facts.best.id:
        kept, more = measure(held.leader.fresh, facts.unit), plural(len(held.leader.finished), "later training")
        return f"It came to {then} in the training that put it forward, one of {scored}, and to {kept} in {more}."
    return f"It was chosen for {then} on one training, the best of {scored}: fresh seeds count, that figure does not."


def _lead(odds: Estimate) -> str:
    """`ahead in 95 % of episode pairs (95 % interval 40–100 %)`, or behind; ties count half."""
    if percent(odds.value) == percent(0.5):
        return f"ahead in half of the episode pairs (95 % interval {_range(odds.low, odds.high)})"
    if odds.value < 0.5:
        interval = _range(1 - odds.high, 1 - odds.low)
        return f"behind in {percent(1 - odds.value)} of episode pairs (95 % interval {interval})"
    return f"ahead in {percent(odds.value)} of episode pairs (95 % interval {_range(odds.low, odds.high)})"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{percent(high)}"


def _unbroken(unit: str, sentence: str) -> str:
    """No line break between a number and its unit."""
    return re.sub(rf"(?<=\d) (?={re.escape(unit)}(?!\w)|%)", "\u00a0", sentence)


@dataclass(frozen=True)
class ArmRow:
    """One line of the comparison, ready to read."""

    name: str
    label: str
    fitness: str
    interval: str
    success: str
    odds: str
    """Chance that an episode of the best scores above one of this arm; empty for the best itself."""
    episodes: str


def comparison_rows(facts: RunFacts) -> list[ArmRow]:
    """The comparison as text; empty while it has not run."""
    if facts.comparison is None:
        return []
    over = {"human": facts.comparison.over_human, "random": facts.comparison.over_random}
    all_have = all(has_interval(arm) for arm in facts.comparison.arms)
    return [
        ArmRow(
            name=arm.name,
            label=label(facts, arm),
            fitness=measure(arm.iqm.value, facts.unit),
            interval=_spread(arm),
            success=percent(arm.success_rate),
            odds=_odds(odds, all_have) if odds else "",
            episodes=" + ".join(str(len(scores)) for scores in arm.fitness),
        )
        for arm in facts.comparison.arms
        for odds in (over.get(arm.name),)
    ]


def _spread(arm: Arm) -> str:
    return interval(arm.iqm.low, arm.iqm.high) if has_interval(arm) else "one training"


def has_interval(arm: Arm) -> bool:
    """One training says nothing about the next; random play is not trained, its episodes are enough."""
    return arm.name == "random" or len(arm.fitness) > 1


def _odds(odds: Estimate, with_interval: bool) -> str:
    return percent(odds.value) + (f" [{100 * odds.low:.0f}, {100 * odds.high:.0f}]" if with_interval else "")


def tiles(facts: RunFacts) -> list[tuple[str, str, str, str]]:
    """(css, name, figure, small print) of the headline figures."""
    metric, anchors, shown = facts.task.spec.metric, facts.task.anchors, []
    if facts.comparison:
        best, human = facts.comparison.arm("candidate"), facts.comparison.arm("human")
        shown.append(("best", f"best, {metric.name}", measure(best.iqm.value, facts.unit), _spread(best)))
        shown.append(("", "success", percent(best.success_rate), metric.success))
        shown.append(("", "human reward", measure(human.iqm.value, facts.unit), _spread(human)))
    else:
        if facts.best:
            standing = facts.population.standing(facts.best)
            fitness, trainings = measure(standing.mean, facts.unit), plural(len(standing.counted), "training")
            shown.append(("best", f"best so far, {metric.name}", fitness, trainings))
        if anchors:
            spread = interval(anchors.human.low, anchors.human.high)
            shown.append(("", "human reward", measure(anchors.human.mean, facts.unit), f"{spread}, as measured before"))
    total = len(facts.population.candidates)
    return [*shown, ("", "candidates", str(total), f"{facts.failed} failed" if facts.failed else "none failed")]
