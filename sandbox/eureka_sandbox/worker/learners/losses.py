"""PPO's objective (Schulman et al. 2017, arXiv:1707.06347) as pure functions of one minibatch.

Everything is float32; B is the minibatch size, A the number of action dimensions. The conventions where the paper
leaves room (value clipping, KL estimate, advantage normalisation) are those of Stable-Baselines3.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def gaussian_log_prob(actions: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """log π(a|s) of a diagonal Gaussian: actions and mean `(B, A)`, log_std `(A,)` → `(B,)`."""
    deviations = (actions - mean) * jnp.exp(-log_std)
    return -jnp.sum(0.5 * deviations**2 + log_std + HALF_LOG_TWO_PI, axis=1)


def gaussian_entropy(log_std: jax.Array) -> jax.Array:
    """Differential entropy of a diagonal Gaussian, nats; the same for every state."""
    return jnp.sum(log_std + HALF_LOG_TWO_PI + 0.5)


def normalized(advantages: jax.Array) -> jax.Array:
    """Advantages `(B,)` at mean 0 and sample standard deviation 1 (B - 1 in the denominator, as torch)."""
    return (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)


def clipped_surrogate(ratio: jax.Array, advantages: jax.Array, clip_range: jax.Array) -> jax.Array:
    """L^CLIP, eq. 7: E[min(r Â, clip(r, 1 - ε, 1 + ε) Â)]; to be maximised."""
    clipped_ratio = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    return jnp.minimum(ratio * advantages, clipped_ratio * advantages).mean()


def value_loss(
    values: jax.Array, old_values: jax.Array, returns: jax.Array, clip_range_vf: jax.Array | None
) -> jax.Array:
    """L^VF of eq. 9: mean squared error to the TD(λ) returns, with OpenAI's optional clip around the old values."""
    if clip_range_vf is not None:
        values = old_values + jnp.clip(values - old_values, -clip_range_vf, clip_range_vf)
    return jnp.mean((returns - values) ** 2)


def approximate_kl(ratio: jax.Array, log_ratio: jax.Array) -> jax.Array:
    """Unbiased, low-variance estimate of KL(old ‖ new) (http://joschu.net/blog/kl-approx.html, k3)."""
    return jnp.mean((ratio - 1.0) - log_ratio)


def clip_fraction(ratio: jax.Array, clip_range: jax.Array) -> jax.Array:
    """Share of the minibatch whose ratio is outside 1 ± ε."""
    return jnp.mean(jnp.abs(ratio - 1.0) > clip_range, dtype=jnp.float32)
