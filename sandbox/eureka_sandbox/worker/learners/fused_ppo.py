"""`FusedPPO`: Stable-Baselines3's PPO with the update compiled. Same constructor, callbacks, logger, saved models."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from eureka_sandbox.worker.learners import torch_exchange, xla
from eureka_sandbox.worker.learners.lean_torch import skip_dynamo
from eureka_sandbox.worker.learners.network import Network
from eureka_sandbox.worker.learners.normalize import LeanSteps
from eureka_sandbox.worker.learners.rollout import Actor, Rollout

if TYPE_CHECKING:
    from eureka_sandbox.worker.learners.update import Coefficients, Diagnostics, UpdateShape

log = logging.getLogger(__name__)


class FusedPPO(PPO):
    """PPO whose `train()` is one compiled program with the arithmetic of `stable_baselines3.PPO.train()`.

    Covered: `MlpPolicy` with any `net_arch`, tanh, ReLU or ELU, `Box` actions and observations, Adam, every
    hyperparameter and schedule of PPO but gSDE. Anything else trains with SB3's own code and says so once in the log.
    Parameters and Adam's moments live in `policy` and `policy.optimizer` between updates, so saving, loading, exporting
    and changing them work as in SB3. Runs on the CPU: `device="auto"` means `"cpu"`.
    """

    _fallback_reported = False

    clip_range: Schedule
    clip_range_vf: Schedule | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("device", "auto") == "auto":
            kwargs["device"] = "cpu"
        skip_dynamo()
        super().__init__(*args, **kwargs)

    def network(self) -> Network | None:
        """The policy as the compiled code sees it; None, after one log line, if it does not cover this model."""
        try:
            if type(self.rollout_buffer) is not RolloutBuffer:
                raise torch_exchange.Unsupported(f"rollout buffer {type(self.rollout_buffer).__name__}")
            torch_exchange.check_adam(self.policy.optimizer)
            return torch_exchange.describe(self.policy)
        except torch_exchange.Unsupported as reason:
            if not self._fallback_reported:
                log.warning("FusedPPO trains with Stable-Baselines3's own code: %s is not covered", reason)
                self._fallback_reported = True
            return None

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer with `n_rollout_steps` steps of every environment; False if a callback ended the training.

        SB3's loop with what does not depend on the next state moved behind it. Callbacks see SB3's local variables,
        except that `values` and `log_probs` do not exist before the rollout's end, when `rewards` are `(steps, N)` and
        the model's buffers get the episodes that ended. A `RewardVecEnv` gives all rewards at once then: in `on_step`
        they are NaN, and the `infos` of episodes' ends lack the return.
        """
        network = self.network()
        if network is None:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        assert isinstance(self._last_obs, np.ndarray), "no observation to start from: call learn()"
        assert self._last_episode_starts is not None
        assert isinstance(self.action_space, spaces.Box)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()

        steps, actor = LeanSteps(env, n_rollout_steps), Actor(self.policy, network, env.num_envs)
        rollout, ended = Rollout(rollout_buffer, actor), []
        low, high = (np.tile(bound, (env.num_envs, 1)) for bound in (self.action_space.low, self.action_space.high))
        for n_steps in range(n_rollout_steps):  # noqa: B007  (callbacks read it among the local variables)
            actions = actor.sample(self._last_obs)
            clipped_actions = np.minimum(np.maximum(actions, low), high)
            new_obs, rewards, dones, infos = steps.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            goes_on = callback.on_step()
            if not goes_on:
                break
            if dones.any():
                ended.append((infos, dones))
                rollout.note_truncations(dones, infos)
            rollout.add(self._last_obs, actions, self._last_episode_starts)
            self._last_obs, self._last_episode_starts = new_obs, dones
        rewards = steps.rewards()
        for ends, flags in ended:
            self._update_info_buffer(ends, flags)
        if not goes_on:
            return False
        rollout_buffer.rewards[:] = rewards

        values = th.from_numpy(rollout.finish(self._last_obs, self._last_episode_starts)[:, None])
        n_steps = n_rollout_steps
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Update the policy from the rollout buffer: `n_epochs` passes over it in minibatches."""
        network = self.network()
        if network is None:
            super().train()
            return
        xla.prepare()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        coefficients = self._coefficients()
        diagnostics = self._update(self._shape(network), coefficients)
        self._record(diagnostics, coefficients)

    def _shape(self, network: Network) -> UpdateShape:
        from eureka_sandbox.worker.learners.update import UpdateShape

        group = self.policy.optimizer.param_groups[0]
        return UpdateShape(
            network=network,
            batch_size=self.batch_size,
            normalize_advantage=self.normalize_advantage,
            clips_values=self.clip_range_vf is not None,
            stops_early=self.target_kl is not None,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            epsilon=group["eps"],
        )

    def _coefficients(self) -> Coefficients:
        from eureka_sandbox.worker.learners.update import Coefficients

        progress = self._current_progress_remaining
        return Coefficients(
            clip_range=np.float32(self.clip_range(progress)),
            clip_range_vf=np.float32(0.0 if self.clip_range_vf is None else self.clip_range_vf(progress)),
            ent_coef=np.float32(self.ent_coef),
            vf_coef=np.float32(self.vf_coef),
            max_grad_norm=np.float32(self.max_grad_norm),
            target_kl=np.float32(0.0 if self.target_kl is None else self.target_kl),
        )

    def _update(self, shape: UpdateShape, coefficients: Coefficients) -> Diagnostics:
        """Run the program from and to the torch policy and optimizer; diagnostics are `(epochs, minibatches)`."""
        from eureka_sandbox.worker.learners import update

        policy, optimizer = self.policy, self.policy.optimizer
        rollout = update.Samples(*torch_exchange.flatten_buffer(self.rollout_buffer))
        n = len(rollout.observations)
        random_state = np.random.get_state()
        permutations = _draw_permutations(self.n_epochs, n)
        *moments, steps = torch_exchange.read_adam(optimizer)
        learning_rate = optimizer.param_groups[0]["lr"]
        sizes = update.step_sizes(steps, self.n_epochs, -(-n // shape.batch_size), learning_rate, shape)
        before = update.AdamState(torch_exchange.pack(policy.parameters()), *moments)

        after, logs = update.update(before, rollout, permutations, sizes, coefficients, shape)

        parameters, first, second = (np.asarray(vector) for vector in after)
        diagnostics = update.Diagnostics(*(np.asarray(values) for values in logs))
        torch_exchange.unpack(parameters, policy.parameters())
        torch_exchange.write_adam(optimizer, first, second, steps + int(diagnostics.stepped.sum()))
        epochs = int(diagnostics.evaluated[:, 0].sum())
        if epochs < self.n_epochs:  # SB3 draws epoch by epoch: leave NumPy's global generator where it would
            np.random.set_state(random_state)
            _draw_permutations(epochs, n)
        return diagnostics

    def _record(self, diagnostics: Diagnostics, coefficients: Coefficients) -> None:
        """Count and log the update under SB3's keys."""
        evaluated = diagnostics.evaluated
        epochs = int(evaluated[:, 0].sum())
        self._n_updates += epochs
        last_epoch = evaluated[epochs - 1]
        record = self.logger.record
        record("train/entropy_loss", diagnostics.entropy_loss[evaluated].mean())
        record("train/policy_gradient_loss", diagnostics.policy_loss[evaluated].mean())
        record("train/value_loss", diagnostics.value_loss[evaluated].mean())
        record("train/approx_kl", diagnostics.approximate_kl[epochs - 1][last_epoch].mean())
        record("train/clip_fraction", diagnostics.clip_fraction[evaluated].mean())
        record("train/loss", diagnostics.loss[evaluated][-1].item())
        buffer = self.rollout_buffer
        record("train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        record("train/std", th.exp(self.policy.log_std).mean().item())
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/clip_range", float(coefficients.clip_range))
        if self.clip_range_vf is not None:
            record("train/clip_range_vf", float(coefficients.clip_range_vf))


def _draw_permutations(epochs: int, n: int) -> NDArray[np.int32]:
    """The permutations that `RolloutBuffer.get` would draw, `(epochs, n)`."""
    return np.array([np.random.permutation(n) for _ in range(epochs)], dtype=np.int32).reshape(epochs, n)
