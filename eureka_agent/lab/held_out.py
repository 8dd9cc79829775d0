"""Plays the final policies in the task's held-out variations: box B only, nothing is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eureka_agent.lab.scores import evaluation_seeds
from eureka_agent.lab.variations import EPISODES, NOMINAL, Robustness, group_key, held_up, score_key, variations_of
from eureka_agent.population import Score
from eureka_agent.text import plural
from eureka_sandbox.protocol import Failure, Variation

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab
    from eureka_agent.search.comparison import Arm

TOLD_EVERY = 5
"""Scores between two lines of progress."""


def held_out(lab: Lab, best: str, arms: Sequence[Arm]) -> Robustness | None:
    """The arms' policies of median fitness in every variation, on seeds drawn now; None if the task has none.

    Args:
        lab: where they play.
        best: id of the candidate whose arm it is.
        arms: candidate and human.

    Raises:
        BudgetExhausted: the run's time is up; what had finished is saved.
        EnvironmentMissing: the sandbox failed again and again.
    """
    worlds: dict[str, Variation | None] = {NOMINAL: None, **variations_of(lab.run.task)}
    if len(worlds) == 1:
        return None
    lab.watcher.stage(f"trying both in {plural(len(worlds) - 1, 'held-out variation')} of the task")
    seeds = evaluation_seeds(lab.run, group_key(best), EPISODES)
    trained = [(arm, trial.training) for arm in arms for trial in arm.trials]
    trainings = {arm.name: training for arm, training in trained if training and training.policy == arm.policy}
    pairs = [(arm, world) for world in worlds for arm in trainings]
    scored = itertools.count(1)

    def played(pair: tuple[str, str]) -> Score | Failure:
        training, world = trainings[pair[0]], pair[1]
        key = score_key(best, training.policy, world)
        score = lab.scored(key, training, seeds, variation=worlds[world], record_episodes=0)
        if (done := next(scored)) % TOLD_EVERY == 0:
            lab.watcher.stage(f"held-out variations: {done} of {len(pairs)} scored")
        return score

    scores = dict(zip(pairs, lab.boxes.side_by_side(played, pairs), strict=True))
    held = [
        held_up(arm, training.policy, worlds, {world: scores[arm, world] for world in worlds})
        for arm, training in trainings.items()
    ]
    return Robustness(seeds=seeds, arms=tuple(one for one in held if one))
