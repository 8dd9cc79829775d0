"""The arrays of a training's checkpoint: names, types and shapes, for the box that writes and the host that checks.

Letters in a shape are sizes that must agree wherever they occur: D parameters of the policy with all its critics, N
environments, O and A the body's observation and action sizes, S MuJoCo's integration state, W what is read after a
step, Q positions, C reward components; L, M, K, R, E count log entries, rows and columns of the curves, and episodes.
Of SAC and TD3: F and G parameters of actor and critics, B rows of the replay buffer, J jumps in it (`replay_size`).
"""

from __future__ import annotations

from dataclasses import dataclass

from eureka_sandbox.hyperparameters import MOST_ENVS


@dataclass(frozen=True)
class ArrayRule:
    """What one array must be."""

    dtypes: tuple[str, ...]
    """As safetensors spells them."""
    shape: tuple[str | int, ...]
    finite: bool = True
    group: str = ""
    """Arrays of one group come together or not at all; those of no group always."""


F32, F64, I64, U64, U8, FLAG = ("F32",), ("F64",), ("I64",), ("U64",), ("U8",), ("BOOL",)
STATISTICS, RETURNS, PEAK, PEAK_STATISTICS = "observation statistics", "return statistics", "peak", "peak statistics"
PPO, OFF_POLICY, ENTROPY, NOISE = "PPO's optimiser", "off-policy learner", "entropy coefficient", "action noise"
LEARNERS = {"ppo": (PPO,), "sac": (OFF_POLICY, ENTROPY, NOISE), "td3": (OFF_POLICY, NOISE)}
"""Groups that belong to one kind of learner, by algorithm: the first is always there, the others may be."""

ARRAYS: dict[str, ArrayRule] = {
    "policy.parameters": ArrayRule(F32, ("D",)),
    "policy.first_moment": ArrayRule(F32, ("D",), group=PPO),
    "policy.second_moment": ArrayRule(F32, ("D",), group=PPO),
    "actor.first_moment": ArrayRule(F32, ("F",), group=OFF_POLICY),
    "actor.second_moment": ArrayRule(F32, ("F",), group=OFF_POLICY),
    "critic.first_moment": ArrayRule(F32, ("G",), group=OFF_POLICY),
    "critic.second_moment": ArrayRule(F32, ("G",), group=OFF_POLICY),
    "entropy.coefficient": ArrayRule(F32, (3,), group=ENTROPY),
    "noise.previous": ArrayRule(F64, ("N", "A"), group=NOISE),
    "replay.observations": ArrayRule(F32 + F64, ("B", "N", "O"), group=OFF_POLICY),
    "replay.actions": ArrayRule(F32, ("B", "N", "A"), group=OFF_POLICY),
    "replay.rewards": ArrayRule(F32, ("B", "N"), group=OFF_POLICY),
    "replay.dones": ArrayRule(FLAG, ("B", "N"), group=OFF_POLICY),
    "replay.timeouts": ArrayRule(FLAG, ("B", "N"), group=OFF_POLICY),
    "replay.jumps": ArrayRule(I64, ("J",), group=OFF_POLICY),
    "replay.jump_observations": ArrayRule(F32 + F64, ("J", "O"), group=OFF_POLICY),
    "learner.original_observations": ArrayRule(F64, ("N", "O"), group=OFF_POLICY),
    "learner.observations": ArrayRule(F32 + F64, ("N", "O")),
    "learner.episode_starts": ArrayRule(FLAG, ("N",)),
    "learner.episodes": ArrayRule(F64, ("E", 3)),
    "learner.log": ArrayRule(F64, ("L",), finite=False),
    "normalizer.mean": ArrayRule(F64, ("O",), group=STATISTICS),
    "normalizer.var": ArrayRule(F64, ("O",), group=STATISTICS),
    "normalizer.count": ArrayRule(F64, (1,), group=STATISTICS),
    "normalizer.return_moments": ArrayRule(F64, (3,), group=RETURNS),
    "normalizer.returns": ArrayRule(F64, ("N",), group=RETURNS),
    "simulation.physics": ArrayRule(F64, ("N", "S")),
    "simulation.now": ArrayRule(F64, ("N", "W")),
    "simulation.before": ArrayRule(F64, ("N", "W")),
    "simulation.start_q": ArrayRule(F64, ("N", "Q")),
    "simulation.actions": ArrayRule(F64, ("N", "A")),
    "simulation.previous_actions": ArrayRule(F64, ("N", "A")),
    "simulation.elapsed": ArrayRule(I64, ("N",)),
    "simulation.turned": ArrayRule(F64, ("N", 3)),
    "environment.returns": ArrayRule(F64, ("N",)),
    "environment.sums": ArrayRule(F64, ("N", "C")),
    "random.environments": ArrayRule(U64, ("N", 6)),
    "random.actions": ArrayRule(U64, (1, 6), group=OFF_POLICY),
    "random.numpy": ArrayRule(U64, (627,)),
    "random.python": ArrayRule(U64, (628,)),
    "random.torch": ArrayRule(U8, ("T",)),
    "recent.episodes": ArrayRule(F64, ("R", 3)),
    "recent.components": ArrayRule(F64, ("R", "C")),
    "peak.parameters": ArrayRule(F32, ("D",), group=PEAK),
    "peak.mean": ArrayRule(F64, ("O",), group=PEAK_STATISTICS),
    "peak.var": ArrayRule(F64, ("O",), group=PEAK_STATISTICS),
    "curves.rows": ArrayRule(F64, ("M", "K"), finite=False),
    "curves.present": ArrayRule(FLAG, ("M", "K")),
}
LARGEST: dict[str, int] = {"N": MOST_ENVS, "C": 32, "L": 256, "K": 256, "M": 401, "R": 100, "E": 100, "T": 2**16}
"""Of the sizes that follow from neither the body nor the other arrays."""
