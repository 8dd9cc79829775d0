"""Reward reflection (Eureka, §3.3): what training and trajectories showed, as one page of text for the next proposal.

Numbers, declared names and component names go in; of a failure, its verdict and the message that the wall cut to size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.run import Run
from eureka_agent.task import Task
from eureka_evaluation.components import LENGTH, PREFIX, ComponentStatistics, component_statistics
from eureka_evaluation.episode import Episode
from eureka_evaluation.trajectories import EpisodeFacts, Range, episode_facts

COMPONENTS = 12
"""How many reward components are told, the largest share first."""
POINTS = 8
"""How many evenly spaced points of a curve are told."""
VARIABLES = 16
"""How many state variables of the median episode are told."""
UNTOLD = ("previous_actions", "elapsed_time", "elapsed_fraction", "terminated")
"""State variables that say nothing beyond the other lines."""
FALLEN = -0.5
"""Trend below which a component counts as given up."""
HIGH_SATURATION = 0.5
EARLY = 0.5
"""Share of the episode limit below which a typical episode counts as ending early."""


def reflect(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with its reflection, set against its parents and the incumbent of `population`."""
    episodes = recorded_episodes(candidate, run)
    return candidate.model_copy(update={"reflection": reflection(candidate, population, run.task, episodes)})


def recorded_episodes(candidate: Candidate, run: Run) -> dict[int, Episode]:
    """The scored episodes that were recorded, by their position among the evaluation seeds."""
    from eureka_evaluation.recording import load_episodes

    if candidate.score is None or candidate.score.episodes is None:
        return {}
    return load_episodes(run.blob(candidate.score.episodes))


def reflection(candidate: Candidate, population: Population, task: Task, episodes: Mapping[int, Episode]) -> str:
    """The text alone."""
    training, score = candidate.training, candidate.score
    if candidate.duplicate_of:
        return f"{_name(candidate)} is the same program as {candidate.duplicate_of}, and was not trained again.\n"
    if score is None or training is None:
        return f"{_name(candidate)} failed and has no fitness. {candidate.failure}.\n"
    components = component_statistics(per_step(training.curves))
    facts = {position: episode_facts(episode) for position, episode in episodes.items() if episode.length}
    parts = [
        _outcome(candidate, score, population, task),
        _training(training, components),
        _trajectories(score, facts),
        _findings(score, components, facts, task),
    ]
    return "\n".join(part for part in parts if part)


def per_step(curves: Mapping[str, Sequence[float | None]]) -> dict[str, list[float | None]]:
    """The components' curves as mean per step: sums grow with the episodes' length, whatever the policy does."""
    lengths = curves.get(LENGTH, [])
    return {
        key: [None if v is None or not n else v / n for v, n in zip(values, lengths, strict=True)]
        for key, values in curves.items()
        if key.startswith(PREFIX) and lengths
    }


def _outcome(candidate: Candidate, score: Score, population: Population, task: Task) -> str:
    metric = task.spec.metric
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    lines = [
        f"{_name(candidate)}: fitness {_n(score.mean)}{unit} ({metric.name}, higher is better; mean of "
        f"{len(score.fitness)} episodes of one policy, from {_n(min(score.fitness))} to {_n(max(score.fitness))}), "
        f"success {score.success_rate:.0%}."
    ]
    others = [("parent", population[name]) for name in candidate.brief.parents]
    if population.best and population.best.id not in candidate.brief.parents:
        others.append(("incumbent", population.best))
    for role, other in others:
        if other.fitness is not None:
            change = score.mean - other.fitness
            lines.append(f"Against {role} {other.id} with {_n(other.fitness)}: {change:+.3g}.")
    return "\n".join(lines) + "\n"


def _training(training: Training, components: Sequence[ComponentStatistics]) -> str:
    peak = f" ({_n(training.peak_return)})" if training.peak_return is not None else ""
    lines = [
        f"Training: {training.timesteps} steps; the policy is from step {training.peak_timesteps}, the peak of its own "
        f"return{peak}.",
        f"Over training, at up to {POINTS} even points, then [min, mean, max]:",
    ]
    curves = {
        "episode length": training.curves.get(LENGTH, []),
        "own return": training.curves.get("rollout/ep_rew_mean", []),
    }
    lines += [_curve(name, [v for v in values if v is not None]) for name, values in curves.items()]
    if components:
        lines.append("Reward components, as mean per step (share of the total magnitude):")
        lines += [_curve(f"{c.name} ({c.share:.0%})", c.values) for c in components[:COMPONENTS]]
        if len(components) > COMPONENTS:
            lines.append(f"  and {len(components) - COMPONENTS} smaller ones")
    return "\n".join(line for line in lines if line) + "\n"


def _curve(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    last = len(values) - 1
    points = [values[round(i * last / (POINTS - 1))] for i in range(POINTS)] if last >= POINTS else values
    mean = sum(values) / len(values)
    return f"  {name}: {' '.join(map(_n, points))} [{_n(min(values))}, {_n(mean)}, {_n(max(values))}]"


def _trajectories(score: Score, facts: Mapping[int, EpisodeFacts]) -> str:
    if not facts:
        return ""
    ranked = sorted(facts, key=lambda position: score.fitness[position])
    lines = ["Recorded episodes of the trained policy, worst to best:"]
    for position in ranked:
        fact = facts[position]
        end = "ended in a terminal state" if fact.terminated else "ran to the time limit"
        lines.append(f"  fitness {_n(score.fitness[position])}: {end} after {fact.steps} steps ({fact.seconds:.1f} s)")
    middle = facts[ranked[(len(ranked) - 1) // 2]]
    lines.append("In the median one, first -> last [min, mean, max]:")
    told = [r for r in middle.ranges if "[" not in r.name and r.name not in UNTOLD]
    lines += [f"  {_range(r)}" for r in told[:VARIABLES]]
    return "\n".join(lines) + "\n"


def _range(r: Range) -> str:
    return f"{r.name}: {_n(r.first)} -> {_n(r.last)} [{_n(r.low)}, {_n(r.mean)}, {_n(r.high)}]"


def _findings(
    score: Score, components: Sequence[ComponentStatistics], facts: Mapping[int, EpisodeFacts], task: Task
) -> str:
    found = [text for c in components[:COMPONENTS] for text in _component_findings(c)]
    limit = task.spec.environment.episode_steps
    typical = sorted(score.lengths)[len(score.lengths) // 2]
    if typical < EARLY * limit:
        found.append(f"Episodes end early: half of them within {typical} of {limit} steps.")
    saturated = [fact.saturation for fact in facts.values() if fact.saturation > HIGH_SATURATION]
    if saturated and len(saturated) == len(facts):
        found.append(f"Actions sit at their bounds {min(saturated):.0%} of the time or more.")
    if score.success_rate < 1.0:
        found.append(f"{score.success_rate:.0%} of the episodes succeed. Success: {task.spec.metric.success}")
    return "Findings:\n" + "\n".join(f"  - {text}" for text in found) + "\n" if found else ""


def _component_findings(c: ComponentStatistics) -> list[str]:
    falling = c.trend < FALLEN and not c.dead
    found = {
        f"{c.name} is dead ({c.share:.2%} of the total magnitude): rescale it, rewrite it or drop it.": c.dead,
        f"{c.name} is the same at every step, whatever the policy does: it only pays for staying.": c.constant,
        f"{c.name} dominates ({c.share:.0%}): the other components hardly count.": c.dominant,
        f"{c.name} fell over training: the policy gave it up for the others.": falling and c.values[0] > 0,
        f"{c.name} costs more per step than at the start of training.": falling and c.values[0] <= 0,
    }
    return [text for text, holds in found.items() if holds]


def _name(candidate: Candidate) -> str:
    how = {"sample": "a fresh sample", "mutate": "a mutation", "cross": "a crossover"}
    return f"{candidate.id} ({how.get(candidate.brief.operator, candidate.brief.operator)})"


def _n(value: float) -> str:
    return f"{value:.4g}"
