"""PPO training steps per second on one core, native and written reward: Stable-Baselines3, SBX if installed, and ours.

    .venv/bin/python evaluation/bench/training.py [--bodies hopper half_cheetah] [--arms ...] [--rounds 3]

Every arm runs in its own process, pinned to one core with one thread; whole iterations (rollout and update) are timed,
the first one apart since it compiles or warms up. Steps per second are per second of CPU time, so that a busy machine
falsifies less; wall time is shown beside it. Arms are interleaved over the rounds and figures are medians with 95 %
intervals: compare within one run only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intervals import Sample, median_interval, ratio_interval, samples

ANSWERS = Path(__file__).resolve().parent / "answers"
RECIPE = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}
"""The shipped tasks' PPO recipe, with 8 environments and normalised observations and rewards."""

WRITTEN = {"hopper": "hopper_forward/g1c0.py", "half_cheetah": "half_cheetah_backflip/g1c0.py"}
"""By body, a reward among `answers`; the other bodies have no such arms."""

BODIES = ("half_cheetah", "hopper")


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    title: str
    algorithm: str
    """`module:class`."""
    engine: str
    """`gymnasium` (DummyVecEnv) or `ours` (RewardVecEnv)."""
    num_envs: int
    recipe: bool
    """The shipped recipe with normalisation, or SB3's defaults without."""
    written: bool = False
    """A reward that a language model wrote, see `WRITTEN`, and not the native one."""


SB3, SBX, FUSED = "stable_baselines3:PPO", "sbx:PPO", "eureka_sandbox.worker.learners.fused_ppo:FusedPPO"
BASELINE = "sb3-4"
ARMS = {
    "sb3-1": Arm("SB3 defaults, 1 env", SB3, "gymnasium", 1, False),
    BASELINE: Arm("SB3 defaults, 4 envs", SB3, "gymnasium", 4, False),
    "sb3-recipe": Arm("SB3, our recipe, gymnasium", SB3, "gymnasium", 8, True),
    "sb3-engine": Arm("SB3, our recipe, our engine", SB3, "ours", 8, True),
    "sbx-4": Arm("SBX defaults, 4 envs", SBX, "gymnasium", 4, False),
    "sbx-engine": Arm("SBX, our recipe, our engine", SBX, "ours", 8, True),
    "ours-gymnasium": Arm("ours, our recipe, gymnasium", FUSED, "gymnasium", 8, True),
    "ours": Arm("ours, our recipe, our engine", FUSED, "ours", 8, True),
    "sb3-written": Arm("SB3, our recipe, our engine, a written reward", SB3, "ours", 8, True, written=True),
    "ours-written": Arm("ours, our recipe, our engine, a written reward", FUSED, "ours", 8, True, written=True),
}


DEFAULT_ARMS = (BASELINE, "sbx-engine", "ours")


# ------------------------------------------------------------------------------------------------- inside an arm


def build(arm: Arm, body: str, seed: int) -> Any:
    """The model of one arm, environments and all."""
    import torch
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize

    torch.set_num_threads(1)
    env: VecEnv = gymnasium_envs(body, arm.num_envs) if arm.engine == "gymnasium" else our_envs(arm, body)
    if arm.recipe:
        env = VecNormalize(env)
    module, name = arm.algorithm.split(":")
    algorithm = getattr(importlib.import_module(module), name)
    return algorithm("MlpPolicy", env, seed=seed, device="cpu", **(RECIPE if arm.recipe else {}))


def gymnasium_envs(body: str, num_envs: int) -> Any:
    """Gymnasium's environment as SB3 users have it."""
    import gymnasium as gym
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv

    from eureka_sandbox.bodies import BODIES

    return DummyVecEnv([lambda: Monitor(gym.make(BODIES[body].gymnasium_id))] * num_envs)


def our_envs(arm: Arm, body: str) -> Any:
    """The fast engine with its own reward, or a written one that has seen a first batch, as in a training box."""
    import numpy as np

    from eureka_sandbox.bodies import reward_shapes
    from eureka_sandbox.protocol import EnvironmentSpec
    from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
    from eureka_sandbox.worker.reward import load_reward

    spec = EnvironmentSpec(body=body, max_episode_steps=1000)
    reward = load_reward(ANSWERS / WRITTEN[body], reward_shapes(spec)) if arm.written else None
    env = RewardVecEnv(spec, None, reward, arm.num_envs, seed=0)
    env.reset()
    env.step(np.zeros((arm.num_envs, *env.action_space.shape), np.float32))
    return env


def measure_speed(arm: Arm, body: str, seed: int, timesteps: int) -> dict[str, float]:
    """Train for one iteration, then for at least `timesteps` steps in whole iterations."""
    model = build(arm, body, seed)
    iteration = model.n_steps * arm.num_envs
    start = time.perf_counter()
    model.learn(iteration)
    first = time.perf_counter() - start
    wall, cpu, done = time.perf_counter(), time.process_time(), model.num_timesteps
    model.learn(timesteps, reset_num_timesteps=False)
    steps = model.num_timesteps - done
    return {
        "steps_per_cpu_second": steps / (time.process_time() - cpu),
        "steps_per_second": steps / (time.perf_counter() - wall),
        "first_iteration_seconds": first,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


# ------------------------------------------------------------------------------------------------- over the arms


def run_arm(name: str, body: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One arm in a process of its own, alone on its core."""
    command = [sys.executable, __file__, "--one", name, "--bodies", body, "--seed", str(seed)]
    command += ["--timesteps", str(arguments.timesteps)]
    core = sorted(os.sched_getaffinity(0))[-1]
    with tempfile.TemporaryDirectory() as scratch:  # Stable-Baselines3 leaves a folder for each model's log
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": scratch},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_one(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the child process does."""
    (body,) = arguments.bodies
    return measure_speed(ARMS[name], body, arguments.seed, arguments.timesteps)


def report(body: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Table of medians with intervals, relative to SB3's defaults with 4 environments where they ran."""

    rounds = max(map(len, results.values()))

    def numbers(name: str, key: str) -> list[Sample]:
        return samples([result[key] for result in results[name]])

    print(f"\n{body}: PPO, one core, native reward unless it says otherwise; medians [95 % intervals] of {rounds}")
    print(f"  {'':46}{'steps/CPU s':>28}{'of SB3, 4 envs':>28}{'steps/s':>10}{'first it. s':>12}{'peak MB':>9}")
    for name in results:
        speed = numbers(name, "steps_per_cpu_second")
        base = numbers(BASELINE, "steps_per_cpu_second") if BASELINE in results else []
        ratio = ratio_interval(speed, base).text() if base else "-"
        rate, first, memory = (
            median_interval(numbers(name, key)).value
            for key in ("steps_per_second", "first_iteration_seconds", "memory_mb")
        )
        print(
            f"  {ARMS[name].title:46}{median_interval(speed).text():>28}{ratio:>28}{rate:>10,.0f}{first:>12.2f}"
            f"{memory:>9.0f}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bodies", nargs="+", default=list(BODIES), help="bodies of the fast engine")
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=list(DEFAULT_ARMS), metavar="ARM", help=", ".join(ARMS)
    )
    parser.add_argument("--rounds", type=int, default=6, help="repetitions, each with its own seed; 1 or more")
    parser.add_argument("--timesteps", type=int, default=8_192, help="timed steps per arm and round")
    for name, kind in (("--one", str), ("--seed", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_one(arguments.one, arguments)))
        return 0
    known = [name for name in arguments.arms if ARMS[name].algorithm != SBX or importlib.util.find_spec("sbx")]
    if len(known) < len(arguments.arms):
        print("SBX is not installed and left out; evaluation/bench/README.md says how to have it", file=sys.stderr)
    for body in arguments.bodies:
        arms = [name for name in known if body in WRITTEN or not ARMS[name].written]
        if not arms:
            continue
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
        for seed in range(arguments.rounds):
            for name in arms:
                said(f"{body}, repetition {seed + 1} of {arguments.rounds}: {ARMS[name].title}")
                results[name].append(run_arm(name, body, seed, arguments))
        said("")
        report(body, results)
    return 0


def said(progress: str) -> None:
    """Show what is being measured, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
