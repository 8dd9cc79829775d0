"""Recorded walks along a line for the tests of distances and of signs of hacking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.decomposition import metric_per_step
from eureka_evaluation.episode import Episode
from eureka_evaluation.hacking_evidence import Evidence
from eureka_evaluation.transitions import Trajectory, Transitions, chosen_transitions

SPEEDS = {"random": 0.0, "idle": 0.0, "slow": 0.3, "fast": 1.0, "own": 0.1, "back": -0.5}
STEPS = 120
DT = 0.1


def walk(
    policy: str,
    speed: float,
    seed: int,
    steps: int = STEPS,
    fallen: bool = False,
    fitness: float | None = None,
    force: float | None = None,
) -> Trajectory:
    """An episode at about a speed; its fitness is how far it came, unless another is given."""
    rng = np.random.default_rng(seed)
    idle = policy == "idle"
    speeds = np.zeros(steps + 1) if idle else speed + 0.1 * rng.standard_normal(steps + 1)
    x = np.cumsum(speeds) * DT
    if force is None:
        actions = np.zeros((steps, 1)) if idle else rng.uniform(-0.8, 0.8, (steps, 1))
    else:
        actions = np.where(rng.random((steps, 1)) < 0.5, -force, force)
    ended = np.zeros(steps + 1)
    ended[-1] = float(fallen)
    state = {
        "x": x,
        "speed": speeds,
        "height": 1.0 + 0.05 * np.sin(np.arange(steps + 1)) * (not idle),
        "actions": np.concatenate([np.zeros((1, 1)), actions]),
        "terminated": ended,
        "elapsed_time": DT * np.arange(steps + 1),
    }
    single = {name: values.astype(np.float32) for name, values in state.items()}
    episode = Episode(x[:, None], speeds[:, None], actions.astype(np.float32), single, fallen, DT)
    return Trajectory(policy, float(x[-1] - x[0]) if fitness is None else fitness, episode)


def recorded(room: int = 10_000, **own: Any) -> Transitions:
    """Three episodes of each policy; two of random play end in a fall. `own` changes the own ones."""
    trajectories = []
    for index, (policy, speed) in enumerate(SPEEDS.items()):
        for episode in range(3):
            more: dict[str, Any] = {"steps": 40, "fallen": True} if policy == "random" and episode else {}
            if policy == "own":
                more = {"speed": speed} | own
            trajectories.append(walk(policy, **({"speed": speed} | more), seed=10 * index + episode))
    return chosen_transitions(trajectories, room)


def random_rewards(known: Transitions) -> dict[str, NDArray[np.float64]]:
    """Rewards by what they pay for, `(T,)`."""
    speed, height = known.column("speed"), known.column("height")
    force = known.column("actions[0]")
    return {
        "forward": speed,
        "still": np.exp(-10.0 * speed**2),
        "alive": 1.0 - known.column("terminated"),
        "height": height,
        "effort": -(force**2),
    }


def evidence(components: dict[str, NDArray[np.float64]], known: Transitions, **more: Any) -> Evidence:
    """Of the policy `own`, whose reward is the sum of the components."""
    rows = np.stack(list(components.values()))
    found = Evidence(
        policy="own",
        transitions=known,
        components=tuple(components),
        values=np.concatenate([rows.sum(axis=0, keepdims=True), rows]),
        per_step=metric_per_step(known),
    )
    return replace(found, **more)
