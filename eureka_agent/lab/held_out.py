"""Plays the final policies in the task's held-out variations: box B only, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eureka_agent.lab.scores import evaluation_seeds
from eureka_agent.lab.variations import EPISODES, NOMINAL, Robustness, group_key, held_up, score_key, variations_of
from eureka_agent.population import Score, Training
from eureka_sandbox.protocol import Failure, Variation

if TYPE_CHECKING:
    from eureka_agent.runs.run import Run
    from eureka_agent.search.comparison import Arm

Play = Callable[[str, Training, tuple[int, ...], Variation | None], Score | Failure]
"""Scores a training's policy once per key, on these reset seeds, in this world."""
SideBySide = Callable[[Callable[[tuple[str, str]], Score | Failure], Sequence[tuple[str, str]]], list[Score | Failure]]


def held_out(run: Run, best: str, arms: Sequence[Arm], play: Play, side_by_side: SideBySide) -> Robustness | None:
    """The arms' policies of median fitness in every variation, on seeds drawn now; None if the task has none.

    Raises:
        BudgetExhausted: the run's time is up; what had finished is saved.
    """
    worlds: dict[str, Variation | None] = {NOMINAL: None, **variations_of(run.task)}
    if len(worlds) == 1:
        return None
    seeds = evaluation_seeds(run, group_key(best), EPISODES)
    trained = [(arm, trial.training) for arm in arms for trial in arm.trials]
    trainings = {arm.name: training for arm, training in trained if training and training.policy == arm.policy}
    pairs = [(arm, world) for world in worlds for arm in trainings]

    def played(pair: tuple[str, str]) -> Score | Failure:
        training, world = trainings[pair[0]], pair[1]
        return play(score_key(best, training.policy, world), training, seeds, worlds[world])

    scores = dict(zip(pairs, side_by_side(played, pairs), strict=True))
    held = [
        held_up(arm, training.policy, worlds, {world: scores[arm, world] for world in worlds})
        for arm, training in trainings.items()
    ]
    return Robustness(seeds=seeds, arms=tuple(one for one in held if one))
