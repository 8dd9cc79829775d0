"""The arrays of a training's checkpoint: names, types and shapes, for the box that writes and the host that checks.

Letters in a shape are sizes that must agree wherever they occur: D parameters of policy and value function, N
environments, O and A the body's observation and action sizes, S MuJoCo's integration state, W what is read after a
step, Q positions, C reward components; L, M, K, R, E count log entries, rows and columns of the curves, and episodes.
"""

from __future__ import annotations

from dataclasses import dataclass


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

ARRAYS: dict[str, ArrayRule] = {
    "policy.parameters": ArrayRule(F32, ("D",)),
    "policy.first_moment": ArrayRule(F32, ("D",)),
    "policy.second_moment": ArrayRule(F32, ("D",)),
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
LARGEST: dict[str, int] = {"N": 4096, "C": 32, "L": 256, "K": 256, "M": 401, "R": 100, "E": 100, "T": 2**16}
"""Of the sizes that follow from neither the body nor the other arrays."""
