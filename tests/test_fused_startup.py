"""What a worker process pays for the fused learner: imports, and compiling once per machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = """
import sys
import gymnasium as gym, numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from eureka_sandbox.worker.learners.fused_ppo import FusedPPO

class Blank(gym.Env):
    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    def reset(self, seed=None, options=None): return np.zeros(2, np.float32), {}
    def step(self, action): return np.zeros(2, np.float32), 0.0, False, False, {}

model = FusedPPO("MlpPolicy", DummyVecEnv([Blank]), n_steps=8, batch_size=4, n_epochs=1, seed=0)
"""


def python(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX", "XLA", "EUREKA"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_jax_nor_torch_s_compiler_is_imported_before_the_first_update(tmp_path: Path) -> None:
    code = BUILD + f"model.save({str(tmp_path / 'm.zip')!r})\nFusedPPO.load({str(tmp_path / 'm.zip')!r})\n"
    heavy = "print([name for name in ('jax', 'torch._dynamo', 'sympy') if name in sys.modules])"
    assert python(code + heavy) == "[]"


def test_a_second_process_reads_the_compiled_program_instead_of_compiling_it(tmp_path: Path) -> None:
    code = BUILD + "\n".join(
        [
            "import os",
            "from eureka_sandbox.worker.learners import xla",
            "xla.prepare()",
            "import jax",
            "events = []",
            "jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rsplit('/', 1)[-1]))",
            "model.learn(8)",
            "print(events.count('cache_hits'), events.count('cache_misses'))",
        ]
    )
    folder = tmp_path / "cache"
    assert python(code, EUREKA_COMPILE_CACHE=str(folder)) == "0 1"
    stored = sorted(path.name for path in folder.iterdir() if path.name.startswith("jit_update"))
    assert len(stored) == 1
    assert python(code, EUREKA_COMPILE_CACHE=str(folder)) == "1 0"


def test_other_coefficients_and_schedules_do_not_compile_again() -> None:
    code = BUILD + "\n".join(
        [
            "model.learn(8)",
            "from eureka_sandbox.worker.learners import update",
            "model.learning_rate = 1e-5; model._setup_lr_schedule()",
            "model.ent_coef, model.vf_coef, model.max_grad_norm = 0.1, 0.2, 0.3",
            "model.clip_range = lambda remaining: 0.05 + remaining",
            "model.learn(24)",
            "print(update.update._cache_size())",
        ]
    )
    assert python(code, EUREKA_COMPILE_CACHE="") == "1"


@pytest.mark.parametrize("named", ["", "/somewhere/else"])
def test_the_user_s_own_xla_settings_are_not_overwritten(named: str) -> None:
    code = (
        "from eureka_sandbox.worker.learners import xla\n"
        "xla.prepare()\n"
        "import jax, os\n"
        "print(os.environ['XLA_FLAGS'], jax.config.jax_compilation_cache_dir)"
    )
    flags = "--xla_cpu_multi_thread_eigen=true"
    shown = python(code, XLA_FLAGS=flags, JAX_COMPILATION_CACHE_DIR="/mine", EUREKA_COMPILE_CACHE=named)
    assert shown == f"{flags} /mine"


def test_importing_jax_leaves_numpy_s_global_generator_where_it_was() -> None:
    code = (
        "import numpy as np\nnp.random.seed(0)\n"
        "from eureka_sandbox.worker.learners import xla\nxla.prepare()\n"
        "drawn = np.random.random()\nnp.random.seed(0)\nprint(drawn == np.random.random())"
    )
    assert python(code) == "True"
