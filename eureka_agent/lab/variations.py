"""Held-out variations: how the final policies do in a world that differs from the one they were trained in.

Heavier, slower, more slippery, late, noisy: nothing trains on these, and nothing is selected by them. The policies of
median fitness of the best reward and of the human reward play the same fresh reset seeds in each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import fmean

from eureka_agent.contract.task import Task
from eureka_agent.population import Record, Score
from eureka_agent.text import measure, plural
from eureka_sandbox.bodies import Body
from eureka_sandbox.protocol import Failure, Variation

EPISODES = 10
"""Per policy and variation; a box takes about a second with so many."""
NOMINAL = "nominal"
"""In place of a variation's name: the world of the training, on the same seeds."""
_KEY = re.compile("(variation/[^/]+)/([0-9a-f]{64})/[a-z0-9_]+")
_START = {"half_cheetah": 2.0, "ant": 2.0, "swimmer": 3.0}
"""Spread of start states, for bodies that begin less exactly (0.1 rad) than the others (0.005 to 0.01 rad)."""
_NOISE = {"reacher": 0.01, "inverted_pendulum": 0.01}
"""Observation noise, for bodies whose whole motion is small."""
_ON_THE_FLOOR = frozenset({"half_cheetah", "hopper", "walker2d", "ant"})
_IN_A_PLANE = frozenset({"swimmer", "reacher"})
"""Gravity does nothing to these."""


class Outcome(Record):
    """One policy in one variation."""

    name: str
    variation: Variation
    fitness: tuple[float, ...] = ()
    """Per episode, in the metric's unit; higher is better."""
    success_rate: float | None = None
    failure: Failure | None = None

    @property
    def text(self) -> str:
        """What differs: `mass × 1.2`."""
        return in_words(self.variation)

    @property
    def mean(self) -> float | None:
        """Mean fitness; None where it could not be measured."""
        return fmean(self.fitness) if self.fitness else None


class Held(Record):
    """How one arm's policy of median fitness holds up."""

    arm: str
    """`candidate` or `human`."""
    policy: str
    """Blob: policy.safetensors."""
    nominal: float
    """Mean fitness on the same seeds in the world it was trained in."""
    outcomes: tuple[Outcome, ...]

    @property
    def measured(self) -> tuple[Outcome, ...]:
        """Those that could be measured."""
        return tuple(outcome for outcome in self.outcomes if outcome.fitness)

    @property
    def mean(self) -> float | None:
        """Mean fitness over the variations."""
        return fmean(o.mean for o in self.measured if o.mean is not None) if self.measured else None

    @property
    def worst(self) -> Outcome | None:
        """The variation that costs most."""
        return min(self.measured, key=lambda outcome: outcome.mean or 0.0, default=None)

    @property
    def drop(self) -> float | None:
        """Mean over the variations below nominal, in the metric's unit; negative where they help."""
        return None if self.mean is None else self.nominal - self.mean


class Robustness(Record):
    """Both arms in all variations: `Comparison.robustness`."""

    seeds: tuple[int, ...]
    """Reset seeds of the episodes, the same everywhere."""
    arms: tuple[Held, ...]
    """Candidate, then human; an arm whose policy could not even be scored as it was trained is left out."""

    def arm(self, name: str) -> Held | None:
        """`candidate` or `human`, if it is there."""
        return next((held for held in self.arms if held.arm == name), None)


def group_key(candidate: str) -> str:
    """What the scores of one comparison's variations share: their reset seeds, so that no difference is one of luck."""
    return f"variation/{candidate}"


def score_key(candidate: str, policy: str, name: str) -> str:
    """Key of one policy's score in one variation."""
    return f"{group_key(candidate)}/{policy}/{name}"


def group_and_policy(key: str) -> tuple[str, str] | None:
    """The group and the policy's blob of a score in a variation; None for any other key."""
    found = _KEY.fullmatch(key)
    return (found[1], found[2]) if found else None


def variations_of(task: Task) -> Mapping[str, Variation]:
    """By name: those of task.yaml, or the usual ones for the task's body."""
    given = task.spec.variations
    return usual_variations(task.body) if given is None else given


def usual_variations(body: Body) -> dict[str, Variation]:
    """What a body's policies are tried in: at least eight, each a change that a real robot might meet."""
    contact = (
        {"slippery": Variation(friction=0.6), "sticky": Variation(friction=1.5)}
        if body.name in _ON_THE_FLOOR
        else {"loose": Variation(damping=0.6), "stiff": Variation(damping=1.6)}
    )
    weight = {} if body.name in _IN_A_PLANE else {"strong_gravity": Variation(gravity=1.15)}
    return {
        "heavy": Variation(mass=1.2),
        "light": Variation(mass=0.8),
        **contact,
        **weight,
        "weak_motors": Variation(strength=0.8),
        "other_starts": Variation(start=_START.get(body.name, 5.0)),
        "late_actions": Variation(delay=1),
        "noisy_sensors": Variation(observation_noise=_NOISE.get(body.name, 0.05)),
        "noisy_motors": Variation(action_noise=0.1),
    }


def held_up(
    arm: str, policy: str, worlds: Mapping[str, Variation | None], scores: Mapping[str, Score | Failure]
) -> Held | None:
    """One arm's record from its scores by world; None if it has none in the world of its training."""
    nominal = scores[NOMINAL]
    if isinstance(nominal, Failure):
        return None
    outcomes = []
    for name, variation in worlds.items():
        if variation is None:
            continue
        score = scores[name]
        if isinstance(score, Failure):
            outcomes.append(Outcome(name=name, variation=variation, failure=score))
        else:
            reached = {"fitness": score.fitness, "success_rate": score.success_rate}
            outcomes.append(Outcome(name=name, variation=variation, **reached))
    return Held(arm=arm, policy=policy, nominal=nominal.mean, outcomes=tuple(outcomes))


def in_words(variation: Variation) -> str:
    """What differs: `mass × 1.2`, `actions 1 step late`."""
    plain = Variation()
    factors = {"mass": "mass", "friction": "friction", "damping": "damping", "gravity": "gravity"}
    factors |= {"strength": "motors", "start": "spread of starts"}
    parts = [
        f"{word} × {getattr(variation, name):g}"
        for name, word in factors.items()
        if getattr(variation, name) != getattr(plain, name)
    ]
    if variation.delay:
        parts.append(f"actions {plural(variation.delay, 'step')} late")
    if variation.observation_noise:
        parts.append(f"noise of {variation.observation_noise:g} on observations")
    if variation.action_noise:
        parts.append(f"noise of {variation.action_noise:g} on actions")
    return ", ".join(parts)


def told(robustness: Robustness, unit: str, best: str) -> tuple[str, ...]:
    """One line per arm, for the end of a search."""
    lines = []
    for held in robustness.arms:
        name = best if held.arm == "candidate" else "human reward"
        worst = held.worst
        if worst is None or held.mean is None:
            lines.append(f"{name}: no variation could be measured")
            continue
        lines.append(
            f"{name} in {plural(len(held.measured), 'held-out variation')}: {measure(held.mean, unit)} on average "
            f"({measure(held.nominal, unit)} as trained), worst {measure(worst.mean, unit)} with {worst.text}"
        )
    return tuple(lines)
