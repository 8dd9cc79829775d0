"""A training that begins with an earlier policy: the job's `warm.safetensors` and `warm.json`, arrays and JSON only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load as load_tensors
from stable_baselines3.common.base_class import BaseAlgorithm

from eureka_sandbox.protocol import WARM_META, WARM_WEIGHTS, Failure, Verdict
from eureka_sandbox.worker.emit import JobFailed
from eureka_sandbox.worker.policy import NumpyPolicy, PolicyError, PolicyMeta
from eureka_sandbox.worker.policy_sb3 import give_policy


@dataclass(frozen=True)
class Warm:
    """The two files as they lie in the job's folder."""

    weights: bytes
    meta: bytes


def read_warm(folder: Path) -> Warm | None:
    """The policy to begin with; None: random weights."""
    if not (folder / WARM_META).exists():
        return None
    return Warm((folder / WARM_WEIGHTS).read_bytes(), (folder / WARM_META).read_bytes())


def warm_start(model: BaseAlgorithm, warm: Warm | None) -> None:
    """Give a freshly built model an earlier policy: all its weights, critics too, and its observation statistics.

    The optimiser, the scale of returns and the count of environment steps begin anew.

    Raises:
        JobFailed: the files do not hold a policy of this model's shape.
    """
    if warm is None:
        return
    try:
        meta = PolicyMeta.model_validate_json(warm.meta)
        NumpyPolicy(load_arrays(warm.weights), meta)  # checks names, shapes and finiteness
        give_policy(model, load_tensors(warm.weights), meta)
    except (PolicyError, ValidationError, SafetensorError) as error:
        message = f"warm start: the policy to begin with does not fit: {error}"[:1000]
        raise JobFailed(Failure(verdict=Verdict.BAD_RESULT, message=message, file=WARM_META)) from error
