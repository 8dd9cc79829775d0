"""Reward reflection (Eureka, §3.3): what training and trajectories showed, as one page of text for the next proposal.

Numbers, declared names and component names go in; of a failure, its verdict and the message that the wall cut to size;
of a vision model, words in one quoted line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median, pstdev

from eureka_agent.contract.task import Task
from eureka_agent.critique.parents import changes, other_parts
from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.runs.run import Run
from eureka_agent.settings import Recipe
from eureka_agent.standing import Standing
from eureka_agent.text import plural
from eureka_evaluation.components import LENGTH, ComponentStatistics, component_statistics, per_step
from eureka_evaluation.episode import Episode
from eureka_evaluation.finding import most_telling
from eureka_evaluation.trajectories import EpisodeFacts, Range, episode_facts

POINTS = 8
"""How many evenly spaced points of a curve are told."""
EPISODES = 5
"""How many recorded episodes are told, the worst first."""
FINDINGS = 14
"""How many findings are told, the weightiest first."""
DETAILS = ((12, 10), (12, 4), (8, 0), (4, 0))
"""(components, state variables) that are told: with fewer and fewer until the page holds them."""
MOST_LINES = 60
MOST_CHARACTERS = 8_000
LONGEST_FINDING = 420
"""Characters of a finding that are told."""
UNTOLD = ("actions", "previous_actions", "elapsed_time", "elapsed_fraction", "terminated", "training_progress")
"""State variables that say nothing beyond the other lines."""
OPERATORS = {
    "sample": "a fresh sample",
    "mutate": "a mutation",
    "cross": "a crossover",
    "tune": "the same code with other numbers",
    "edit": "a person's edit",
    "seed": "a person's reward",
}


def reflect(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with its reflection, set against its parents and the incumbent of `population`."""
    episodes = recorded_episodes(candidate, run)
    steps = Recipe.of(run.task, run.settings).timesteps
    return candidate.model_copy(update={"reflection": reflection(candidate, population, run.task, episodes, steps)})


def recorded_episodes(candidate: Candidate, run: Run) -> dict[int, Episode]:
    """The scored episodes that were recorded, by their position among the evaluation seeds."""
    from eureka_evaluation.recording import load_episodes

    if candidate.score is None or candidate.score.episodes is None:
        return {}
    return load_episodes(run.blob(candidate.score.episodes))


def reflection(
    candidate: Candidate, population: Population, task: Task, episodes: Mapping[int, Episode], steps: int | None = None
) -> str:
    """The text alone: at most `MOST_LINES` lines and `MOST_CHARACTERS` characters.

    Args:
        candidate: measured and analysed.
        population: the generations before it.
        task: what it is for.
        episodes: the recorded ones, by their position among the scored ones.
        steps: of a whole training, told if this one was stopped early.
    """
    training, score = candidate.training, candidate.score
    if candidate.duplicate_of:
        return f"{_name(candidate)} {candidate.likeness}, and was not trained again.\n"
    if score is None or training is None:
        return f"{_name(candidate)} failed and has no fitness. {candidate.failure}.\n"
    components = component_statistics(per_step(training.curves))
    facts = {position: episode_facts(episode) for position, episode in episodes.items() if episode.length}
    for told_components, told_variables in DETAILS:
        parts = [
            _outcome(candidate, score, population, task),
            _vision(candidate, task),
            _training(candidate, training, steps),
            _components(components, told_components),
            _trajectories(score, facts, told_variables),
            _findings(candidate, score, task),
        ]
        text = "\n".join(part for part in parts if part)
        if len(text) <= MOST_CHARACTERS and text.count("\n") <= MOST_LINES:
            break
    return text


# ------------------------------------------------------------------------------------------------------------- outcome


def _outcome(candidate: Candidate, score: Score, population: Population, task: Task) -> str:
    metric = task.spec.metric
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    went_on = ", which went on from its parent's" if candidate.training and candidate.training.warm_start else ""
    low, middle, high = min(score.fitness), median(score.fitness), max(score.fitness)
    lines = [
        f"{_name(candidate)}: fitness {_n(score.mean)}{unit} ({metric.name}, higher is better; mean of "
        f"{len(score.fitness)} episodes of one policy{went_on}), success {score.success_rate:.0%}.",
        f"Episodes: {_n(low)} to {_n(high)}, median {_n(middle)}, standard deviation {_n(pstdev(score.fitness))}.",
    ]
    others = [("parent", population[name]) for name in candidate.brief.parents]
    best = population.best
    if best and best.id not in candidate.brief.parents:
        others.append(("incumbent", best))
    for role, other in others:
        if other.score is not None:
            role = "parent and incumbent" if role == "parent" and best and other.id == best.id else role
            standing = population.standing(other)
            change, ahead = score.mean - standing.mean, _ahead(score.fitness, other.score.fitness)
            pairs = "episode pairs with its first training" if standing.later else "episode pairs"
            told = f"{change:+.3g}, ahead in {ahead:.0%} of {pairs}{other_parts(candidate, other)}"
            lines.append(f"Against {role} {other.id} with {_n(standing.mean)}{_trainings(standing)}: {told}.")
            if other.id in candidate.brief.parents:
                lines += changes(candidate, other)
    return "\n".join(lines) + "\n"


def _trainings(standing: Standing) -> str:
    """What an earlier candidate's fitness is the mean of; empty of one training from scratch."""
    if not standing.from_scratch:
        failed = "; from scratch it failed" if standing.failed else ""
        return f" (one training that went on from its parent's policy{failed})"
    if not standing.later:
        return ""
    scratch = " from scratch" if standing.warm else ""
    failed = ", another one failed" if standing.failed else ""
    count = len(standing.counted)
    return f" ({'mean of ' if count > 1 else ''}{plural(count, 'training')}{scratch}{failed})"


def _vision(candidate: Candidate, task: Task) -> str:
    if candidate.vision is None:
        return ""
    selects = "; it is what selects" if task.spec.by_vision else ""
    return (
        f"A vision model that was shown frames of its median episode puts it at {_n(candidate.vision.progress)} of 100 "
        f"from baseline to goal{selects}. Its words, an opinion and no measurement:\n> {candidate.vision.seen}\n"
    )


def _ahead(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Share of pairs of episodes in which this one is better; ties count half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in mine for b in theirs]
    return sum(pairs) / len(pairs)


# ------------------------------------------------------------------------------------------------------------ training


def _training(candidate: Candidate, training: Training, steps: int | None) -> str:
    peak = f" ({_n(training.peak_return)})" if training.peak_return is not None else ""
    lines = [
        f"Training: {training.timesteps} steps; the policy is from step {training.peak_timesteps}, the peak of its own "
        f"return{peak}.",
    ]
    if candidate.stopped:
        of = f" of {steps}" if steps else ""
        lines.append(f"Racing stopped it at {training.timesteps}{of} steps: others had more fitness by then.")
    if candidate.rungs:
        told = [f"{_n(rung.fitness)} at {rung.timesteps}" for rung in candidate.rungs[-4:]]
        lines.append(f"Fitness on the way: {', '.join(told)} steps.")
    lines.append(f"Over training, at up to {POINTS} even points, then [min, mean, max]:")
    curves = {
        "episode length": training.curves.get(LENGTH, []),
        "own return": training.curves.get("rollout/ep_rew_mean", []),
    }
    lines += [_curve(name, [v for v in values if v is not None]) for name, values in curves.items()]
    return "\n".join(line for line in lines if line) + "\n"


def _components(components: Sequence[ComponentStatistics], most: int) -> str:
    if not components:
        return ""
    lines = [
        "Reward components, as mean per step (shares: of the summed magnitude, of the summed variance over training):"
    ]
    lines += [_curve(f"{c.name} ({c.share:.0%}, {c.variance_share:.0%})", c.values) for c in components[:most]]
    if len(components) > most:
        lines.append(f"  and {len(components) - most} smaller ones")
    return "\n".join(lines) + "\n"


def _curve(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    last = len(values) - 1
    points = [values[round(i * last / (POINTS - 1))] for i in range(POINTS)] if last >= POINTS else values
    mean = sum(values) / len(values)
    return f"  {name}: {' '.join(map(_n, points))} [{_n(min(values))}, {_n(mean)}, {_n(max(values))}]"


# ----------------------------------------------------------------------------------------------- trajectories, findings


def _trajectories(score: Score, facts: Mapping[int, EpisodeFacts], variables: int) -> str:
    if not facts:
        return ""
    ranked = sorted(facts, key=lambda position: score.fitness[position])
    lines = ["Recorded episodes of the trained policy, worst to best:"]
    for position in ranked[:EPISODES]:
        fact = facts[position]
        end = "ended in a terminal state" if fact.terminated else "ran to the time limit"
        lines.append(f"  fitness {_n(score.fitness[position])}: {end} after {fact.steps} steps ({fact.seconds:.1f} s)")
    worst, middle = facts[ranked[0]], facts[ranked[(len(ranked) - 1) // 2]]
    told = [
        (a, b) for a, b in zip(middle.ranges, worst.ranges, strict=True) if "[" not in a.name and a.name not in UNTOLD
    ]
    if told and variables:
        apart = worst is not middle
        lines.append(f"In the median one{' | the worst one' if apart else ''}, first -> last [min, mean, max]:")
        lines += [f"  {a.name}: {_range(a)}{f' | {_range(b)}' if apart else ''}" for a, b in told[:variables]]
    return "\n".join(lines) + "\n"


def _range(r: Range) -> str:
    return f"{_n(r.first)} -> {_n(r.last)} [{_n(r.low)}, {_n(r.mean)}, {_n(r.high)}]"


def _findings(candidate: Candidate, score: Score, task: Task) -> str:
    found = list(_sentences(candidate))[:FINDINGS]
    if score.success_rate < 1.0:
        found.append(f"Success ({score.success_rate:.0%} of the episodes): {task.spec.metric.success}")
    return "Findings:\n" + "\n".join(f"  - {_cut(text)}" for text in found) + "\n" if found else ""


def _sentences(candidate: Candidate) -> Iterator[str]:
    """What its episodes, its components and the signs of exploitation say, the weightiest first."""
    for finding in most_telling((*candidate.findings, *candidate.suspicions)):
        yield finding.text


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_FINDING else text[:LONGEST_FINDING].rsplit(" ", 1)[0] + " …"


def _name(candidate: Candidate) -> str:
    return f"{candidate.id} ({OPERATORS.get(candidate.brief.operator, candidate.brief.operator)})"


def _n(value: float) -> str:
    return f"{value:.4g}" if abs(value) > 1e-9 else "0"
