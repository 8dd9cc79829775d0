"""What each part of the benchmark measures: a list of measurements, in the order in which they should run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import time_to_fitness
from record import Record

from eureka_sandbox.bodies import BODIES

PARTS = {
    "a": "control steps per second",
    "b": "training steps per second",
    "c": "wall time to a fitness",
    "d": "final fitness",
    "e": "a whole search",
    "f": "scaling",
    "g": "memory per worker",
}
SPEED_BODIES = ("half_cheetah", "hopper")
SPEED_ROUNDS = 31
SPEED_ARMS = (
    *("sb3-1", "sb3-4", "sb3-8", "sbx-4", "sbx-engine", "sb3-engine", "sb3-written"),
    *("ours", "ours-written", "ours-cold"),
)
SPEED_TIMESTEPS = 16_384
FINAL_TASKS = ("hopper_forward", "half_cheetah_forward")
SEARCH_TASK, SEARCH_BODY = "hopper_forward", "hopper"
SCALING_CANDIDATES = (1, 4, 16, 64)
CORES_TIMESTEPS, CANDIDATES_TIMESTEPS, MEMORY_TIMESTEPS = 50_000, 20_000, 60_000
SEARCH_RATE = 5_500
"""Environment steps per second and core, for estimates; like their other guesses of a slow machine, so that a sitting
ends sooner than was said rather than later."""


@dataclass(frozen=True)
class Options:
    """What may be chosen about a benchmark."""

    seeds: int
    censor: float
    """SB3's trainings in part c are stopped after so many times our median time on the same goal."""
    final_timesteps: int
    search_timesteps: int
    search_projection: bool
    cores: int
    peers: bool
    """EnvPool and SBX can be imported."""


@dataclass(frozen=True)
class Measurement:
    """One measurement, run in a process of its own."""

    key: str
    """`part/…/seed`."""
    function: str
    """`module.function` in this folder."""
    parameters: dict[str, Any]
    expected: float
    """Seconds it is likely to take, for the estimate."""
    unlimited: dict[str, Any] = field(default_factory=dict)
    """Further parameters that a finished row need not share."""
    all_cores: bool = False
    ready: bool = True
    """False while it waits for others."""
    timed_from_spawn: bool = False
    """Give the function `spawned`, the time right before its process starts."""
    needs_peers: bool = False
    """Run it where EnvPool and SBX can be imported, if there is such a place."""

    @property
    def group(self) -> str:
        """The key without its seed."""
        return self.key.rpartition("/")[0]

    def done(self, record: Record) -> bool:
        """Whether a finished row answers it; one that was stopped answers only limits as short as its own."""
        row = record.get(self.key)
        if row is None or row.parameters != self.parameters:
            return False
        limit = self.unlimited.get("limit")
        return limit is None or row.result["reached"] or row.result["limit"] >= 0.98 * limit


def stepping(options: Options, record: Record) -> Iterator[Measurement]:
    """(a) Interleaved rounds of every contender; each repetition with its own actions."""
    for seed in range(options.seeds):
        for body in SPEED_BODIES:
            parameters = {"body": body, "rounds": SPEED_ROUNDS, "seed": seed}
            yield Measurement(f"a/{body}/{seed}", "speeds.stepping_rates", parameters, 20, needs_peers=True)


def training(options: Options, record: Record) -> Iterator[Measurement]:
    """(b) Every arm in turn, seed after seed."""
    seconds = {"ours": 14, "ours-written": 14, "ours-cold": 14, "sb3-engine": 31, "sb3-written": 31}
    for seed in range(options.seeds):
        for body in SPEED_BODIES:
            for arm in SPEED_ARMS if options.peers else [a for a in SPEED_ARMS if not a.startswith("sbx")]:
                parameters = {"arm": arm, "body": body, "seed": seed, "timesteps": SPEED_TIMESTEPS}
                yield Measurement(
                    f"b/{body}/{arm}/{seed}",
                    "speeds.training_rate",
                    parameters,
                    seconds.get(arm, 42),
                    needs_peers=arm.startswith("sbx"),
                )


def fitness(options: Options, record: Record) -> Iterator[Measurement]:
    """(c) Ours on every seed, then SB3's defaults, which are stopped at a multiple of our median."""
    expected = {"hopper": 55, "half_cheetah": 53, "swimmer": 25, "reacher": 15, "walker2d": 106, "ant": 136}
    for name, goal in time_to_fitness.GOALS.items():
        parameters = {"goal": name, "fitness": goal.fitness}
        for seed in range(options.seeds):
            ours = parameters | {"arm": "ours", "seed": seed, "hyperparameters": goal.hyperparameters()}
            yield Measurement(
                f"c/{name}/ours/{seed}", "time_to_fitness.measure", ours, expected[name], timed_from_spawn=True
            )
        rows = [record.get(f"c/{name}/ours/{seed}") for seed in range(options.seeds)]
        times = [row.result["seconds"] for row in rows if row]
        limit = options.censor * (median(times) if times else expected[name] * 0.6)
        for seed in range(options.seeds):
            yield Measurement(
                f"c/{name}/sb3/{seed}",
                "time_to_fitness.measure",
                parameters | {"arm": "sb3", "seed": seed},
                limit * 1.2 + 5,
                unlimited={"limit": limit},
                ready=len(times) == options.seeds,
                timed_from_spawn=True,
            )


def final(options: Options, record: Record) -> Iterator[Measurement]:
    """(d) Both learners with the same recipe, engine and seeds."""
    for seed in range(options.seeds):
        for task in FINAL_TASKS:
            for learner, rate in (("fused", 5_000), ("sb3", 860)):
                parameters = {"task": task, "learner": learner, "timesteps": options.final_timesteps, "seed": seed}
                expected = 8 + options.final_timesteps / rate
                yield Measurement(f"d/{task}/{learner}/{seed}", "boxes.train_and_score", parameters, expected)


def search(options: Options, record: Record) -> Iterator[Measurement]:
    """(e) The whole search once, or one generation of it per seed; with every step of its sizes, and as by default."""
    generations, seeds = (1, options.seeds) if options.search_projection else (5, 1)
    for seed in range(seeds):
        for kind in ("every-step", "default"):
            parameters = {"task": SEARCH_TASK, "population": 8, "generations": generations, "seed": seed}
            parameters |= {"timesteps": options.search_timesteps, "every_step": kind == "every-step"}
            trainings = (8 if kind == "every-step" else 7) * generations + 6  # racing saves, and contests take
            expected = trainings * (5 + options.search_timesteps / SEARCH_RATE) / options.cores
            key = f"e/{kind}/{generations}-generations/{options.search_timesteps}/{seed}"
            yield Measurement(key, "searches.search", parameters, expected, all_cores=True)


def scaling(options: Options, record: Record) -> Iterator[Measurement]:
    """(f) One generation over 1 to all cores, and of 1 to 64 candidates over all cores."""
    cases = [("cores", 8, jobs, CORES_TIMESTEPS) for jobs in sorted({*range(1, options.cores + 1)})]
    cases += [("candidates", number, options.cores, CANDIDATES_TIMESTEPS) for number in SCALING_CANDIDATES]
    for seed in range(options.seeds):
        for kind, candidates, jobs, timesteps in cases:
            parameters = {"task": SEARCH_TASK, "candidates": candidates, "jobs": jobs, "seed": seed}
            parameters["timesteps"] = timesteps
            expected = 3 + candidates * (2 + timesteps / SEARCH_RATE) / jobs
            key = f"f/{kind}/{jobs if kind == 'cores' else candidates}/{seed}"
            yield Measurement(key, "searches.generation", parameters, expected, all_cores=True)


def memory(options: Options, record: Record) -> Iterator[Measurement]:
    """(g) A short training of every body."""
    goals = {goal.body: goal for goal in time_to_fitness.GOALS.values()}
    for seed in range(options.seeds):
        for body in BODIES:
            goal = goals.get(body)
            parameters = {
                "body": body,
                "episode_steps": goal.episode_steps if goal else 1000,
                "hyperparameters": goal.hyperparameters() if goal else time_to_fitness.DEFAULT_RECIPE,
                "timesteps": MEMORY_TIMESTEPS,
                "seed": seed,
            }
            yield Measurement(f"g/{body}/{seed}", "boxes.train", parameters, 30)


PLANS: dict[str, Callable[[Options, Record], Iterator[Measurement]]] = {
    "a": stepping,
    "b": training,
    "c": fitness,
    "d": final,
    "e": search,
    "f": scaling,
    "g": memory,
}
