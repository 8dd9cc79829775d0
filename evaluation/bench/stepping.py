"""Control steps per second: bare `mj_step`, mujoco.rollout, gymnasium, EnvPool if installed, and ours.

    .venv/bin/python evaluation/bench/stepping.py [--all] [--rounds 15]

One thread, time is CPU time. Every contender starts 8 robots from the same reset states and applies the same random
actions without resets, so that all integrate the same trajectories; EnvPool and our VecEnv, marked so, reset by
themselves and can be compared with each other. Rounds are interleaved and every figure is their median, so that a busy
machine slows all alike; compare within one run only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import mujoco
import mujoco.rollout
import numpy as np
from intervals import median_interval, samples

from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv

NUM_ENVS = 8
VECTOR_STEPS = 100
DEFAULT_BODIES = ("half_cheetah", "hopper")
BARE, ENVPOOL, WITH_STATE = "bare mj_step loop", "EnvPool (resets)", "ours, observation + 5 variables"
RATES, SHARES = "steps_per_second", "of_bare"
STATE = {
    "half_cheetah": ("torso_x_velocity", "torso_z", "torso_pitch", "joint_velocities", "foot_contacts"),
    "hopper": ("torso_x_velocity", "torso_z", "torso_pitch", "joint_velocities", "foot_contacts"),
    "walker2d": ("torso_x_velocity", "torso_z", "torso_pitch", "joint_velocities", "foot_contacts"),
    "swimmer": ("torso_x_velocity", "torso_y", "heading", "joint_velocities", "previous_actions"),
    "reacher": ("target_distance", "fingertip_velocity", "joint_angles", "joint_velocities", "previous_actions"),
    "inverted_pendulum": ("cart_position", "cart_velocity", "pole_angle", "pole_velocity", "previous_actions"),
    "ant": ("torso_x_velocity", "torso_z", "torso_up", "joint_velocities", "foot_contacts"),
}
"""Five state variables each, the costly ones (contacts, kinematics) among them."""

Actions = np.ndarray
Run = Callable[[Actions], None]
"""Steps all environments through actions `(T, N, nu)`."""


def started(body: str) -> Simulation:
    """Our simulation right after a reset; the same states every time."""
    sim = Simulation(body, NUM_ENVS, max_episode_steps=10**6)
    sim.reset(range(NUM_ENVS), [np.random.default_rng(seed) for seed in range(NUM_ENVS)])
    return sim


def bare(body: str) -> Run:
    """Set the controls, call `mj_step`, nothing else: the limit."""
    sim = started(body)
    model, frame_skip, mj_step = sim.model, sim.frame_skip, mujoco.mj_step
    pairs = [(data, data.ctrl) for data in sim.data]

    def run(actions: Actions) -> None:
        for step in actions:
            for (data, control), action in zip(pairs, step, strict=True):
                control[:] = action
                mj_step(model, data, frame_skip)

    return run


def rollout(body: str) -> Run:
    """`mujoco.rollout` one control step at a time; it starts the solver cold and so drifts off Gymnasium."""
    sim = started(body)
    model, frame_skip = sim.model, sim.frame_skip
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    states = np.zeros((NUM_ENVS, mujoco.mj_stateSize(model, kind)))
    for row, data in zip(states, sim.data, strict=True):
        mujoco.mj_getState(model, data, row, kind)
    scratch = mujoco.MjData(model)
    trajectory = np.zeros((NUM_ENVS, frame_skip, states.shape[1]))
    sensors = np.zeros((NUM_ENVS, frame_skip, model.nsensordata))

    def run(actions: Actions) -> None:
        start = states
        for step in actions:
            controls = np.repeat(step[:, None], frame_skip, axis=1)
            mujoco.rollout.rollout(model, scratch, start, controls, state=trajectory, sensordata=sensors)
            start = trajectory[:, -1].copy()

    return run


def gymnasium(body: str) -> Run:
    """`gymnasium.make`'s environments, one after the other."""
    envs = [gym.make(BODIES[body].gymnasium_id) for _ in range(NUM_ENVS)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)

    def run(actions: Actions) -> None:
        for step in actions:
            for env, action in zip(envs, step, strict=True):
                env.step(action)

    return run


def envpool(body: str) -> Run:
    """EnvPool's batch with one thread."""
    import envpool as pool

    env: Any = pool.make_gymnasium(BODIES[body].gymnasium_id, num_envs=NUM_ENVS, num_threads=1)
    env.reset()

    def run(actions: Actions) -> None:
        for step in actions:
            env.step(step)

    return run


def ours(body: str) -> Run:
    """Our simulation alone."""
    sim = started(body)

    def run(actions: Actions) -> None:
        for step in actions:
            sim.step(step)

    return run


def ours_with_state(body: str) -> Run:
    """What a training step reads: observation, five state variables, termination, truncation."""
    return _reading(started(body), STATE[body])


def _reading(sim: Simulation, names: tuple[str, ...]) -> Run:
    def run(actions: Actions) -> None:
        for step in actions:
            sim.step(step)
            sim.state(names)
            sim.terminated()
            sim.truncated()
            sim.observation()

    return run


def ours_as_vec_env(body: str) -> Run:
    """The `VecEnv` with the body's own reward and resets."""
    env = RewardVecEnv(EnvironmentSpec(body=body, max_episode_steps=1000), None, None, NUM_ENVS, seed=0)
    env.reset()
    return _stepping(env)


def _stepping(env: RewardVecEnv) -> Run:
    def run(actions: Actions) -> None:
        for step in actions:
            env.step(step)

    return run


def overhead_of_simulation(body: str) -> Run:
    """`ours_with_state` with no physics: what our Python and numpy cost."""
    return _reading(_without_physics(started(body)), STATE[body])


def overhead_of_vec_env(body: str) -> Run:
    """The `VecEnv` with no physics and a reward that costs nothing."""

    class Reward:
        arguments = STATE[body]

        def __call__(self, state: Any, steps: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            return total, {"a": total, "b": total, "c": total}

    total = np.zeros(NUM_ENVS, dtype=np.float32)
    env = RewardVecEnv(EnvironmentSpec(body=body, max_episode_steps=10**5), None, Reward(), NUM_ENVS, seed=0)
    env.reset()
    _without_physics(env.simulation)
    return _stepping(env)


def _without_physics(sim: Simulation) -> Simulation:
    sim.frame_skip = 0
    return sim


SPEEDS: dict[str, Callable[[str], Run]] = {
    BARE: bare,
    "mujoco.rollout": rollout,
    "gymnasium": gymnasium,
    ENVPOOL: envpool,
    "ours, no state": ours,
    WITH_STATE: ours_with_state,
    "our VecEnv, native reward (resets)": ours_as_vec_env,
}
OVERHEADS: dict[str, Callable[[str], Run]] = {
    WITH_STATE: overhead_of_simulation,
    "RewardVecEnv, 5 variables, 3 components": overhead_of_vec_env,
}


def measure(body: str, rounds: int, seed: int = 0) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds per round of every contender, and of every overhead; `seed` is that of the actions."""
    speeds = {name: build for name, build in SPEEDS.items() if name != ENVPOOL or importlib.util.find_spec("envpool")}
    bound = mujoco_bounds(body)
    actions = np.random.default_rng(seed).uniform(*bound, (VECTOR_STEPS, NUM_ENVS, len(bound[0]))).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in speeds}
    costs: dict[str, list[float]] = {name: [] for name in OVERHEADS}
    for _ in range(rounds):
        for contenders, results in ((speeds, times), (OVERHEADS, costs)):
            for name, build in contenders.items():
                results[name].append(timed(build(body), actions))
    return times, costs


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """`RATES`: control steps per CPU second; `SHARES`: of bare MuJoCo's, taken in each round; medians of all rounds."""
    rates = {name: NUM_ENVS * VECTOR_STEPS / statistics.median(seconds) for name, seconds in times.items()}
    shares = {
        name: statistics.median(bare / own for bare, own in zip(times[BARE], seconds, strict=True))
        for name, seconds in times.items()
    }
    return {RATES: rates, SHARES: shares}


def mujoco_bounds(body: str) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest action."""
    sim = Simulation(body, 1, 1)
    return sim.action_low, sim.action_high


def timed(run: Run, actions: Actions) -> float:
    """CPU seconds of one run; building it is not counted."""
    start = time.process_time()
    run(actions)
    return time.process_time() - start


def report(body: str, times: dict[str, list[float]], costs: dict[str, list[float]]) -> None:
    """Print the table of one body."""
    print(f"\n{BODIES[body].gymnasium_id}: {NUM_ENVS} environments, {len(times[BARE])} rounds of {VECTOR_STEPS} steps")
    print(f"  {'':42}{'steps/s':>10}{'of bare, by round':>26}")
    for name in times:
        shares = median_interval(samples([bare / own for bare, own in zip(times[BARE], times[name], strict=True)]))
        print(f"  {name:42}{summary(times)[RATES][name]:>10,.0f}{shares.text('.2f'):>26}")
    for name, seconds in costs.items():
        print(f"  outside mj_step: {name:42}{statistics.median(seconds) / VECTOR_STEPS * 1e6:>6.0f} µs per vector step")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--all", action="store_true", help="every body, not only HalfCheetah and Hopper")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds per contender")
    arguments = parser.parse_args()
    if not importlib.util.find_spec("envpool"):
        print("EnvPool is not installed and left out; evaluation/bench/README.md says how to have it", file=sys.stderr)
    for body in BODIES if arguments.all else DEFAULT_BODIES:
        report(body, *measure(body, arguments.rounds))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
