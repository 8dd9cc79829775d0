"""What a box imports before it looks at its job, so that one process can import it for many boxes (a forkserver).

Nothing here starts a thread or a computation: threads do not survive a fork, and XLA's begin with its first program.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from eureka_sandbox.worker.lean_import import put_off_meta_kernels


def for_training() -> None:
    """Import what training takes."""
    os.environ["MUJOCO_GL"] = "disabled"  # training draws nothing: a missing GL library must not stop it
    # SB3 imports TensorBoard where it is installed; curves leave as frames here, so its 0.1 s is saved
    sys.modules.setdefault("torch.utils.tensorboard", None)  # type: ignore[arg-type]  # None: ImportError
    put_off_meta_kernels()
    importlib.import_module("eureka_sandbox.worker.training")


def preload(kind: str) -> None:
    """Import all that jobs of one kind may need.

    Args:
        kind: `train` (and whatever else calls rewards: another process without JAX would cost more memory than a smoke
            box without it saves), `score`, or `nothing`.

    Raises:
        KeyError: there is no such kind.
    """
    KINDS[kind]()


def _train() -> None:
    for_training()
    importlib.import_module("eureka_sandbox.worker.learners.xla").prepare()
    for name in ("main", "smoke", "learners.fused_ppo", "learners.update"):
        importlib.import_module(f"eureka_sandbox.worker.{name}")


def _score() -> None:
    importlib.import_module("eureka_sandbox.worker.main")
    importlib.import_module("eureka_sandbox.worker.scoring").simulation_module()


KINDS: dict[str, Callable[[], None]] = {"train": _train, "score": _score, "nothing": lambda: None}
