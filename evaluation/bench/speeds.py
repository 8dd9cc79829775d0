"""Parts (a) and (b) as single measurements: the functions of `stepping.py` and `training.py`, one repetition each."""

from __future__ import annotations

import os
from dataclasses import replace

import training

COLD = "ours-cold"
ARMS = {
    **training.ARMS,
    "sb3-8": training.Arm("SB3 defaults, 8 envs", training.SB3, "gymnasium", 8, False),
    COLD: replace(training.ARMS["ours"], title="ours, without the cache of compiled programs"),
}


def stepping_rates(body: str, rounds: int, seed: int) -> dict[str, dict[str, float]]:
    """Control steps per CPU second of every contender, and its share of bare MuJoCo's; see `stepping.summary`."""
    import stepping

    return stepping.summary(stepping.measure(body, rounds, seed)[0])


def training_rate(arm: str, body: str, seed: int, timesteps: int) -> dict[str, float]:
    """Training steps per second of one arm, and what its first iteration and memory cost."""
    if arm == COLD:
        os.environ["EUREKA_COMPILE_CACHE"] = ""
    return training.measure_speed(ARMS[arm], body, seed, timesteps)
