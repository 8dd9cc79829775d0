"""Box B: roll out a policy from seeds it never saw and let the task's own code say what each episode was worth.

No reward code, no torch, no Stable-Baselines3 here: arrays in, simulator state recorded, one number per episode out.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import recorded_bytes, save_episodes
from eureka_sandbox.protocol import EnvironmentSpec, Failure, ScoreResult, ScoreSpec, Verdict
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.policy import META_FILE, WEIGHTS_FILE, NumpyPolicy, PolicyError
from eureka_sandbox.worker.task_code import TaskCode, load_task_code

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation
    from eureka_sandbox.worker.variation import Disturbance

MAX_SIMULATORS = 16
"""Episodes that run side by side; with more seeds than this, a simulator whose episode has ended takes the next."""
MAX_RECORDING_BYTES = 32 * 1024 * 1024
ACTION_STREAM = 1
"""Random actions come from the generator of `[seed, ACTION_STREAM]`, apart from the reset's own."""


def score(spec: ScoreSpec, folder: Path, emit: Emitter) -> tuple[ScoreResult, dict[str, bytes]]:
    """Score `policy.safetensors` + `policy.json` in `folder` (absent: random or zero actions) under its `task.py`.

    Args:
        spec: environment, seeds, what to record and show.
        folder: the job folder; films are made in its `scratch`.
        emit: where progress would go; a score takes seconds and reports none.

    Raises:
        TaskCodeError: the task's code failed, or its fitness is not finite.
        JobFailed: the policy does not fit its description or the body.
    """
    started = time.monotonic()
    engine = simulation_module()
    task = load_task_code(folder / "task.py")
    policy = _load_policy(folder)
    simulation = engine.Simulation(
        spec.environment.body, min(len(spec.seeds), MAX_SIMULATORS), spec.environment.max_episode_steps
    )
    _check_fit(policy, simulation, spec.environment)
    disturbance = None
    if spec.variation:
        from eureka_sandbox.worker.variation import Disturbance, vary

        vary(simulation, spec.variation)
        disturbance = Disturbance(spec.variation, simulation)
    rollout = Rollout(simulation, spec.environment, task, policy, spec.seeds, spec.idle, disturbance)
    episodes = list(rollout.run())
    fitness = [task.fitness(episode) for episode in episodes]
    success = [task.success(episode) for episode in episodes]
    recorded = choose_recorded(fitness, episodes, spec.record_episodes)
    blobs: dict[str, bytes] = {}
    if recorded:
        blobs["episodes.npz"] = save_episodes({i: episodes[i] for i in recorded})
    shown, video_note = _shown(spec, simulation, episodes, fitness, folder)
    blobs |= shown
    result = ScoreResult(
        fitness=fitness,
        success=success,
        lengths=[episode.length for episode in episodes],
        recorded=recorded,
        video_note=video_note,
        seconds=time.monotonic() - started,
        versions={"python": platform.python_version(), "cpu": _processor()}
        | {name: version(name) for name in ("numpy", "mujoco")},
    )
    return result, blobs


def _processor() -> str:
    """The processor's model: numpy chooses its code by it, so the last bits of a policy's actions depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _shown(
    spec: ScoreSpec, simulation: Simulation, episodes: Sequence[Episode], fitness: Sequence[float], folder: Path
) -> tuple[dict[str, bytes], str]:
    """The episode of median fitness as a film, a contact sheet or both, as far as they were asked for."""
    if spec.video is None and spec.sheet is None:
        return {}, ""
    from eureka_sandbox.worker.video import contact_sheet, film

    median = episodes[by_fitness(fitness)[(len(fitness) - 1) // 2]]
    body, model, scratch = spec.environment.body, simulation.model, folder / "scratch"
    filmed, film_note = film(body, model, median, spec.video, scratch) if spec.video else ({}, "")
    drawn, sheet_note = contact_sheet(body, model, median, spec.sheet, scratch) if spec.sheet else ({}, "")
    return filmed | drawn, "; ".join(filter(None, (film_note, sheet_note)))


def by_fitness(fitness: Sequence[float]) -> list[int]:
    """Positions from worst to best; the earlier seed first where equal."""
    return sorted(range(len(fitness)), key=lambda i: fitness[i])


def choose_recorded(fitness: Sequence[float], episodes: Sequence[Episode], count: int) -> list[int]:
    """Which episodes to keep: the median, the worst, the best, then an even spread over the ranks.

    Stops before the one that would exceed `MAX_RECORDING_BYTES`, so fewer than `count` may come back.

    Returns:
        Positions, ascending.
    """
    ranked = by_fitness(fitness)
    last = len(ranked) - 1
    ranks = [last // 2, 0, last, *(round(rank) for rank in np.linspace(0, last, count)), *range(last + 1)]
    chosen: list[int] = []
    size = 0
    for rank in list(dict.fromkeys(ranks))[:count]:
        size += recorded_bytes(episodes[ranked[rank]])
        if size > MAX_RECORDING_BYTES:
            break
        chosen.append(ranked[rank])
    return sorted(chosen)


class Rollout:
    """Plays one episode per seed, several side by side, and records each.

    The same seeds give the same episodes. Every episode has a generator of its own for its reset, and stops being
    recorded at its end.
    """

    def __init__(
        self,
        simulation: Simulation,
        environment: EnvironmentSpec,
        task: TaskCode,
        policy: NumpyPolicy | None,
        seeds: Sequence[int],
        idle: bool = False,
        disturbance: Disturbance | None = None,
    ) -> None:
        from eureka_sandbox.worker.envs.task_state import TaskState

        self._simulation, self._policy, self._seeds = simulation, policy, seeds
        self._disturbance = disturbance
        self._task_state = TaskState(simulation, task, environment.derived)
        slots, steps = simulation.num_envs, environment.max_episode_steps
        self._slots = np.arange(slots)
        self._playing = np.full(slots, -1)
        """Position among the seeds of the episode that each simulator plays; -1 where none is left to play."""
        self._random = policy is None and not idle
        self._given_actions = np.zeros((steps, slots, simulation.model.nu), dtype=np.float32)
        self._actions = np.zeros((steps + 1, slots, simulation.model.nu), dtype=np.float32)
        """Row t: what led to row t of the state."""
        self._qpos = np.zeros((steps + 1, slots, simulation.model.nq))
        self._qvel = np.zeros((steps + 1, slots, simulation.model.nv))
        self._state: dict[str, NDArray[np.float32]] = {}

    def run(self) -> Iterator[Episode]:
        """Episodes in the order of their seeds, each as soon as it and all before it have ended."""
        simulation = self._simulation
        waiting = iter(range(len(self._seeds)))
        ended: dict[int, Episode] = {}
        self._begin(self._slots, waiting)
        for position in range(len(self._seeds)):
            while position not in ended:
                simulation.step(self._act())
                done = (self._record() | simulation.truncated()) & (self._playing >= 0)
                for slot in np.flatnonzero(done):
                    ended[int(self._playing[slot])] = self._episode(slot)
                if done.any():
                    self._begin(np.flatnonzero(done), waiting)
            yield ended.pop(position)

    def _begin(self, slots: NDArray[np.intp], waiting: Iterator[int]) -> None:
        for slot in slots:
            self._playing[slot] = next(waiting, -1)
        slots = slots[self._playing[slots] >= 0]
        if not slots.size:
            return
        seeds = [self._seeds[position] for position in self._playing[slots]]
        self._simulation.reset(slots, [np.random.default_rng(seed) for seed in seeds])
        if self._disturbance:
            self._disturbance.begin(slots, seeds)
        if self._random:
            for slot, seed in zip(slots, seeds, strict=True):
                rng = np.random.default_rng([seed, ACTION_STREAM])
                low, high = self._simulation.action_low, self._simulation.action_high
                self._given_actions[:, slot] = rng.uniform(low, high, self._given_actions[:, slot].shape)
        self._record()

    def _act(self) -> NDArray[np.float32]:
        if self._policy is not None:
            observations = self._simulation.observation()
            if self._disturbance:
                observations = self._disturbance.seen(observations)
            actions = self._policy.act(observations)
            if not np.isfinite(actions).all():  # finite weights may overflow; MuJoCo would go on with zeros
                raise JobFailed(_bad_policy("the policy's action is not a number: its weights overflow"))
        else:
            rows = np.minimum(self._simulation.elapsed, len(self._given_actions) - 1)
            actions = self._given_actions[rows, self._slots]
        if self._disturbance:
            actions = self._disturbance.arriving(actions)
        actions[self._playing < 0] = 0.0
        return actions

    def _record(self) -> NDArray[np.bool_]:
        """Write down the present instant of every simulator; which of them are in a terminal state."""
        simulation = self._simulation
        values, terminated = self._task_state.read(self._task_state.variables)
        rows = np.minimum(simulation.elapsed, simulation.max_episode_steps)  # one that has no seed left runs on
        if not self._state:
            shape = (simulation.max_episode_steps + 1, simulation.num_envs)
            self._state = {name: np.zeros((*shape, *array.shape[1:]), np.float32) for name, array in values.items()}
        for name, array in values.items():
            self._state[name][rows, self._slots] = array
        self._qpos[rows, self._slots] = simulation.now.q
        self._qvel[rows, self._slots] = simulation.now.v
        self._actions[rows, self._slots] = simulation.actions
        self._terminal = terminated
        return terminated

    def _episode(self, slot: np.intp) -> Episode:
        length = int(self._simulation.elapsed[slot])
        return Episode(
            qpos=self._qpos[: length + 1, slot].copy(),
            qvel=self._qvel[: length + 1, slot].copy(),
            actions=self._actions[1 : length + 1, slot].copy(),
            state={name: array[: length + 1, slot].copy() for name, array in self._state.items()},
            terminated=bool(self._terminal[slot]),
            dt=self._simulation.dt,
        )


def simulation_module() -> Any:
    """Import the engine without OpenGL: stepping needs none, and one that is broken would end the box."""
    wanted = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disabled"
    try:
        from eureka_sandbox.worker.envs import simulation
    finally:
        if wanted is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = wanted
    return simulation


def _load_policy(folder: Path) -> NumpyPolicy | None:
    if not (folder / WEIGHTS_FILE).exists() and not (folder / META_FILE).exists():
        return None
    try:
        return NumpyPolicy.load(folder)
    except PolicyError as error:
        raise JobFailed(_bad_policy(str(error))) from error


def _check_fit(policy: NumpyPolicy | None, simulation: Simulation, environment: EnvironmentSpec) -> None:
    if policy is None:
        return
    meta = policy.meta
    expected = (environment.body, len(simulation.observation_space_bounds[0]), len(simulation.action_low))
    found = (meta.body, meta.observation_size, len(meta.action_low))
    if found != expected:
        words = "policy for body {!r} with {} observations and {} actions"
        raise JobFailed(_bad_policy(f"{words.format(*found)}, the task needs a {words.format(*expected)}"))


def _bad_policy(message: str) -> Failure:
    return Failure(verdict=Verdict.BAD_RESULT, message=message[:1000], file=META_FILE)
