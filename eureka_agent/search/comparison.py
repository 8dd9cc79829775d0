"""The last word of a run: its best reward against the human reward and a random policy, on seeds never used before."""

from __future__ import annotations

from math import comb
from statistics import fmean
from typing import TYPE_CHECKING

from eureka_agent.lab.variations import Robustness
from eureka_agent.population import Record, Score, Training
from eureka_evaluation.finding import Finding
from eureka_sandbox.protocol import Failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW_SEEDS = 5
"""Below this, intervals of a probability of improvement miss their nominal 95 % (3 seeds: 78–89 %, docs/log.md)."""


class Estimate(Record):
    """A statistic with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Trial(Record):
    """One fresh training of an arm, and its score on fresh evaluation seeds."""

    training: Training | None
    """None for the random policy, and where the training failed."""
    score: Score | None
    failure: Failure | None = None


class Arm(Record):
    """One side of the comparison."""

    name: str
    """`candidate`, `human` or `random`."""
    trials: tuple[Trial, ...]
    """One per training seed, in the same order of seeds for the candidate and the human reward."""
    iqm: Estimate
    """Interquartile mean of fitness over training seeds × episodes."""
    success_rate: float
    policy: str | None = None
    """Blob: policy.safetensors of the training with median fitness (None for random)."""
    policy_meta: str | None = None
    """Blob: policy.json beside it."""
    video: str | None = None
    """Blob: mp4 of that policy's median episode."""
    video_note: str = ""
    """Why there is no video."""

    @property
    def fitness(self) -> tuple[tuple[float, ...], ...]:
        """Per finished training seed, per episode."""
        return tuple(trial.score.fitness for trial in self.trials if trial.score)

    @property
    def mean(self) -> float:
        """Mean fitness over every episode."""
        return fmean(value for episodes in self.fitness for value in episodes)

    @property
    def median(self) -> Trial:
        """The finished training of (lower) median mean fitness, whose policy `policy` is."""
        return _median(self.trials)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Trainings that failed; they are not in the statistics."""
        return tuple(trial.failure for trial in self.trials if trial.failure)


class Comparison(Record):
    """Candidate, human reward and random policy side by side; higher fitness is better."""

    candidate: str
    """Id of the best candidate."""
    arms: tuple[Arm, Arm, Arm]
    """Candidate, human, random."""
    over_human: Estimate
    """P(an episode after training with the candidate scores above one after training with the human reward)."""
    over_random: Estimate
    """The same against a random policy."""
    note: str
    """What the figures can bear, in words."""
    method: int = 1
    """How its intervals were made, see `eureka_evaluation.statistics.METHOD`."""
    optimism: Estimate | None = None
    """What the candidate's fitness promised when it was selected, minus the mean of its fresh trainings here; None in
    runs of earlier versions."""
    robustness: Robustness | None = None
    """Both policies in the task's held-out variations; None where there are none, no time was left, or nobody looks."""
    suspicions: tuple[Finding, ...] | None = None
    """Signs that the candidate's reward is exploited, those included that only the end of a run shows; the weightiest
    first. None in runs of earlier versions."""

    def arm(self, name: str) -> Arm:
        """Look one up by name."""
        return {arm.name: arm for arm in self.arms}[name]


def measured_arm(name: str, trials: tuple[Trial, ...], seed: int) -> Arm:
    """Summarise finished trials; `policy` is that of the (lower) median training by mean fitness.

    Args:
        name: `candidate`, `human` or `random`.
        trials: at least one of them scored.
        seed: of the bootstrap.
    """
    from eureka_evaluation.statistics import interquartile_mean

    median = _median(trials)
    successes = [s for t in trials if t.score for s in t.score.success]
    iqm = interquartile_mean(_scores(name, trials), seed=seed)
    return Arm(
        name=name,
        trials=trials,
        iqm=Estimate(value=iqm.value, low=iqm.low, high=iqm.high),
        success_rate=sum(successes) / len(successes),
        policy=median.training.policy if median.training else None,
        policy_meta=median.training.policy_meta if median.training else None,
    )


def _median(trials: tuple[Trial, ...]) -> Trial:
    scored = sorted((t for t in trials if t.score), key=lambda t: t.score.mean if t.score else 0.0)
    return scored[(len(scored) - 1) // 2]


def compare(
    candidate_id: str, candidate: Arm, human: Arm, random: Arm, seed: int, selected_by: float | None = None
) -> Comparison:
    """Put the arms side by side; deterministic given `seed`. `selected_by` is the candidate's fitness in the search."""
    from eureka_evaluation.statistics import METHOD, probability_of_improvement

    def over(other: Arm) -> Estimate:
        p = probability_of_improvement(
            _scores(candidate.name, candidate.trials), _scores(other.name, other.trials), seed=seed
        )
        return Estimate(value=p.value, low=p.low, high=p.high)

    over_human = over(human)
    return Comparison(
        method=METHOD,
        candidate=candidate_id,
        arms=(candidate, human, random),
        over_human=over_human,
        over_random=over(random),
        note=_note(candidate, human, over_human),
        optimism=None if selected_by is None else _optimism(selected_by, candidate, seed),
    )


def _optimism(selected_by: float, candidate: Arm, seed: int) -> Estimate:
    """With the interval of the fresh trainings' mean; the selection's own noise is what it measures."""
    from eureka_evaluation.statistics import mean_of_trainings

    fresh = mean_of_trainings(_scores(candidate.name, candidate.trials).mean(axis=1), seed=seed)
    return Estimate(value=selected_by - fresh.value, low=selected_by - fresh.high, high=selected_by - fresh.low)


def _scores(name: str, trials: tuple[Trial, ...]) -> NDArray[np.float64]:
    """Fitness as `(training seeds, episodes)`; every random episode is its own stratum, as no training joins them."""
    import numpy as np

    rows = np.array([trial.score.fitness for trial in trials if trial.score], dtype=np.float64)
    return rows.reshape(-1, 1) if name == "random" else rows


def _note(candidate: Arm, human: Arm, over_human: Estimate) -> str:
    seeds = min(len(candidate.fitness), len(human.fitness))
    parts = [_verdict(seeds, over_human)]
    if fails_more(candidate, human) and over_human.low > 0.5:
        parts.append(
            "But that is about trainings that ended: a reward that fails more often is not shown to be better."
        )
    if 1 < seeds < FEW_SEEDS and (over_human.low > 0.0 or over_human.high < 1.0):
        parts.append(f"From {seeds} trainings each, the interval of “best is better” is too narrow: a rough range.")
    for arm in (candidate, human):
        if arm.failures:
            parts.append(f"{len(arm.failures)} of {len(arm.trials)} {arm.name} trainings failed and are left out.")
    return " ".join(parts)


def fails_more(candidate: Arm, human: Arm) -> bool:
    """Whether a larger share of its fresh trainings failed, which the statistics leave out."""
    return len(candidate.failures) * len(human.trials) > len(human.failures) * len(candidate.trials)


def can_settle(seeds: int) -> bool:
    """Whether so many trainings per reward can show a difference at 1 in 20 (smallest p of the permutation test)."""
    return comb(2 * seeds, seeds) // 2 >= 20


def _verdict(seeds: int, over_human: Estimate) -> str:
    """What the interval says, as far as so many trainings can say it."""
    if over_human.low <= 0.5 <= over_human.high:
        return "No difference from the human reward is shown: the interval of “best is better” includes 50 %."
    better = over_human.low > 0.5
    if seeds == 1:
        side = "better" if better else "worse"
        return f"One training per reward came out {side}: that says nothing about how much trainings differ."
    chance = comb(2 * seeds, seeds) // 2
    if not can_settle(seeds):
        side = "better" if better else "worse"
        return (
            f"The candidate looks {side} than the human reward, but {seeds} trainings each cannot settle it: two "
            f"equally good rewards come out this far apart in at least 1 of {chance} comparisons "
            "(--final-seeds 10 settles more)."
        )
    first, second, side = ("candidate", "human reward", "above") if better else ("human reward", "candidate", "below")
    return f"The {first} beats the {second}: the interval of “best is better” lies {side} 50 %."
