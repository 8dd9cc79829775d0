"""The batch of environments with a reward function in the loop, as a Stable-Baselines3 `VecEnv`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from eureka_sandbox.bodies import TRAINING_PROGRESS
from eureka_sandbox.protocol import EnvironmentSpec
from eureka_sandbox.worker.envs.payroll import NativeReward, Payroll, RewardFunction
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.envs.task_state import TaskState
from eureka_sandbox.worker.randomness import pcg_generators, pcg_states
from eureka_sandbox.worker.task_code import TaskCode

Floats = NDArray[np.float32]
Indices = int | Iterable[int] | None


class RewardVecEnv(VecEnv):
    """N environments that reset themselves and are rewarded by one call per vector step, or one per rollout.

    Infos are those of `DummyVecEnv` over `Monitor`: `TimeLimit.truncated` always; at an episode's end also
    `terminal_observation`, `episode` (`r` return under this reward, `l` length, `t` seconds since the start) and
    `episode_components` (each component's sum over the episode).
    """

    def __init__(
        self,
        environment: EnvironmentSpec,
        task: TaskCode | None,
        reward: RewardFunction | None,
        num_envs: int,
        seed: int,
    ) -> None:
        """Build N environments; environment i draws its resets from `seed + i`, as in Stable-Baselines3.

        Args:
            environment: which body, how long an episode, which derived variables.
            task: may derive state variables and replace the termination rule.
            reward: None for the environment's native reward.
            num_envs: N.
            seed: replaced by a later `seed(...)`, which the algorithms call with their own.
        """
        self.simulation = sim = Simulation(environment.body, num_envs, environment.max_episode_steps)
        self._task_state = TaskState(sim, task, environment.derived)
        self._native = NativeReward.arguments[0] if reward is None else None
        self._payroll = Payroll(reward or NativeReward(), num_envs)
        self._unpaid: Floats | None = None
        named = reward.arguments if reward else ()
        self._names = tuple(name for name in named if name != TRAINING_PROGRESS.name)
        self.tells_progress = len(self._names) < len(named)
        """Whether the reward names `training_progress`."""
        self.progress: Callable[[], float] = lambda: 0.0
        """Part of the training that is over when a vector step begins, for rewards that name `training_progress`."""
        low, high = sim.observation_space_bounds
        super().__init__(
            num_envs,
            spaces.Box(low, high, dtype=np.float64),
            spaces.Box(sim.action_low.astype(np.float32), sim.action_high.astype(np.float32), dtype=np.float32),
        )
        self._rngs = [np.random.default_rng(seed + i) for i in range(num_envs)]
        self._actions: Floats = np.zeros((num_envs, len(sim.action_low)), dtype=np.float32)
        self._started = time.time()

    def reset(self) -> NDArray[np.float64]:
        """Start every episode anew; observations `(N, observation_size)`."""
        for i, seed in enumerate(self._seeds):
            if seed is not None:
                self._rngs[i] = np.random.default_rng(seed)
        self._reset_seeds()
        self._begin(np.arange(self.num_envs))
        self._unpaid = None
        self._payroll.make_room(1)
        self._payroll.sums[:] = 0.0
        return self.simulation.observation()

    def step_async(self, actions: Floats) -> None:
        """Take the actions of the next step, `(N, nu)`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float64], Floats, NDArray[np.bool_], list[dict[str, Any]]]:
        """Step, reward, and reset what has ended: observations, rewards `(N,)`, dones `(N,)`, infos.

        After `defer_rewards` the rewards are not known yet (NaN), nor are `r` and `episode_components` in infos.

        Raises:
            RewardError: the reward broke its contract.
            TaskCodeError: the task's `derive` or `terminated` did.
        """
        sim = self.simulation
        sim.step(self._actions)
        state, terminated = self._task_state.read(self._names)
        if self.tells_progress:
            state[TRAINING_PROGRESS.name] = np.full(self.num_envs, self.progress(), dtype=np.float32)
        if self._native:
            state[self._native] = sim.native_reward().astype(np.float32)
        self._payroll.add(state)
        truncated = sim.truncated()
        dones = terminated | truncated
        observations = sim.observation()
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if ended.size:
            for i in ended.tolist():
                infos[i] = {
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                    "terminal_observation": observations[i].copy(),
                    "episode": {"l": int(sim.elapsed[i]), "t": round(time.time() - self._started, 6)},
                }
                self._payroll.note_end(i, infos[i])
            self._begin(ended)
            observations[ended] = sim.observation()[ended]
        rewards = self._payroll.pay()[0] if self._unpaid is None else self._unpaid
        return observations, rewards, dones, infos

    def defer_rewards(self, steps: int) -> None:
        """Give no rewards in the next vector steps, at most so many: `pay` computes all of them in one call."""
        self._payroll.make_room(steps)
        self._unpaid = np.full(self.num_envs, np.nan, np.float32)

    def pay(self) -> Floats:
        """The rewards of the steps since `defer_rewards`, `(steps, N)`; their infos are completed in place.

        Raises:
            RewardError: the reward broke its contract.
        """
        self._unpaid = None
        try:
            return self._payroll.pay()
        finally:
            self._payroll.make_room(1)

    def _begin(self, indices: NDArray[np.int64]) -> None:
        self.simulation.reset(indices, [self._rngs[i] for i in indices])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of what the next steps depend on, under the names of `checkpoint_arrays`."""
        returns, *sums = self._payroll.sums.copy()
        return {
            **{f"simulation.{name}": array for name, array in self.simulation.snapshot().items()},
            "environment.returns": returns,
            "environment.sums": np.stack(sums, axis=1) if sums else np.zeros((self.num_envs, 0)),
            "random.environments": pcg_states(self._rngs),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `snapshot` was taken; the arrays have the shapes of this batch's own snapshot."""
        own = {name.removeprefix("simulation."): array for name, array in arrays.items()}
        self.simulation.restore(own)
        self._payroll.sums[:] = [arrays["environment.returns"], *arrays["environment.sums"].T]
        self._rngs = pcg_generators(arrays["random.environments"])

    def close(self) -> None:
        """Nothing to release: MuJoCo's memory goes with the object."""

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The batch's attribute once per environment asked for; none of them can render."""
        value = None if attr_name == "render_mode" else getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Refused: the environments share one object."""
        raise NotImplementedError(
            f"cannot set {attr_name!r}: the environments of a batch have no attributes of their own"
        )

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Refused: the environments share one object."""
        raise NotImplementedError(f"cannot call {method_name!r}: the environments of a batch are not objects")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """True for `Monitor`, whose episode statistics are reported here as well; no other wrapper is there."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
