"""XLA on one CPU thread, and its compiled programs kept on disk so that a machine compiles each of them once."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np

SINGLE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
"""Workers are parallel over candidates; a second thread inside one only fights with its neighbours."""

CACHE_VARIABLE = "EUREKA_COMPILE_CACHE"
"""Environment variable that names the folder of compiled programs; empty: keep none. In a box mostly read-only."""


def cache_folder() -> Path | None:
    """Where compiled programs are kept: `$EUREKA_COMPILE_CACHE`, else `~/.cache/eureka-agent/xla`; None if empty."""
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return Path.home() / ".cache" / "eureka-agent" / "xla"


def prepare() -> None:
    """Import JAX for this process, on the CPU with one thread and a cache on disk; a user's own settings win.

    Without effect on the flags once JAX has computed something.
    """
    os.environ.setdefault("XLA_FLAGS", SINGLE_THREAD)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if "jax" not in sys.modules:
        # Importing JAX draws from NumPy's global generator, from which SB3 draws its permutations.
        random_state = np.random.get_state()
        importlib.import_module("jax")
        np.random.set_state(random_state)
    config, folder = sys.modules["jax"].config, cache_folder()
    if folder is not None and config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(folder))
        # JAX's own thresholds skip programs that compile in under a second: ours, on a fast machine. A box that may
        # only read the folder must not try to write: nothing compiles for as long as that.
        least = 0.0 if _writable(folder) else 1e9
        # XLA's caches of GPU kernels, unused here, would make the folder's own path a part of each program's name
        settings = {"min_compile_time_secs": least, "min_entry_size_bytes": 0, "enable_xla_caches": ""}
        for name, value in settings.items():
            if f"JAX_PERSISTENT_CACHE_{name.upper()}" not in os.environ:
                config.update(f"jax_persistent_cache_{name}", value)


def _writable(folder: Path) -> bool:
    """Whether programs can be kept there; a folder that is not there yet is made by JAX."""
    return os.access(folder, os.W_OK) or not folder.exists()
