"""Fast learners with Stable-Baselines3's interface and arithmetic.

- `fused_ppo.py`: `FusedPPO`, a drop-in for `stable_baselines3.PPO`; start here.
- `losses.py`: PPO's objective as pure functions, with the papers' equation numbers.
- `update.py`: all epochs and minibatches of one update as one compiled program.
- `network.py`: the actor-critic as one flat vector of parameters, in JAX and in NumPy.
- `rollout.py`: what a rollout needs per step (lean) and after it (in batch).
- `normalize.py`: `VecNormalize`'s arithmetic without its overhead.
- `torch_exchange.py`: between SB3's torch objects and flat vectors.
- `lean_torch.py`: keeps torch's compiler from being imported.
- `xla.py`: single-thread XLA and the compilation cache on disk.
"""
