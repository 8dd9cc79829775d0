"""What a worker process leaves out of torch until somebody asks for it, and that nobody can tell otherwise."""

from __future__ import annotations

import subprocess
import sys
from threading import Event

from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.hostile.suite import smoke_job
from eureka_sandbox.protocol import Finished, Limits, SmokeResult

HEAVY = "print([n for n in ('torch._dynamo', 'torch._decomp', 'torch._refs', 'sympy') if n in sys.modules])\n"
START = """
import sys
from eureka_sandbox.worker.lean_import import put_off_meta_kernels
put_off_meta_kernels()
import torch
"""


def python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_training_on_sb3_s_own_learner_imports_neither_torch_s_compiler_nor_its_meta_kernels() -> None:
    code = """
import tempfile
from pathlib import Path
from eureka_sandbox.hostile import load_corpus
from eureka_sandbox.hostile.tamper import train_job
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.training import train
control = load_corpus()["J"].control
job = train_job(control.source, control.limits)
with tempfile.TemporaryDirectory() as folder, open("/dev/null", "wb") as nowhere:
    for name, data in job.files.items():
        (Path(folder) / name).write_bytes(data)
    print(train(job.spec, Path(folder), Emitter(nowhere))[0].timesteps)
"""
    assert python(code + HEAVY) == ["512", "[]"]


REWARD = b"""
import sys, torch

def compute_reward(pole_angle):
    heavy = [name for name in ("torch._dynamo", "torch._decomp", "torch._refs", "sympy") if name in sys.modules]
    told = torch.full_like(pole_angle, len(heavy))
    return told, {"heavy": told}
"""


def test_a_box_begins_without_them() -> None:
    outcome = make_sandbox("none").run(smoke_job(REWARD, Limits()), lambda _: None, Event())
    assert isinstance(outcome, Finished), outcome
    assert isinstance(outcome.result, SmokeResult)
    assert outcome.result.components["heavy"].mean == 0


def test_an_optimizer_steps_to_the_same_weights_as_torch_s_own() -> None:
    code = """
from torch.optim import Adam
from eureka_sandbox.worker.learners.lean_torch import skip_dynamo
class Original(Adam):
    step = Adam.step
skip_dynamo()
assert Adam.step is not Original.step
def stepped(kind):
    weights = torch.arange(6.0, requires_grad=True)
    optimizer = kind([weights], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (weights ** 3).sum().backward()
        optimizer.step()
        assert torch.is_grad_enabled()
    return weights.detach()
lean = stepped(Adam)
print("torch._dynamo" in sys.modules, torch.equal(lean, stepped(Original)), "torch._dynamo" in sys.modules)
"""
    assert python(code) == ["False True True"]


def test_what_was_put_off_is_there_for_who_asks_for_it() -> None:
    code = """
pool = torch.nn.functional.avg_pool2d
print(torch.compile(lambda x: x.cos() + 1, backend="aot_eager")(torch.zeros(2)).tolist())
print(tuple(pool(torch.empty(1, 1, 4, 4, device="meta"), 2).shape))
"""
    assert python(HEAVY + code) == ["[]", "[2.0, 2.0]", "(1, 1, 2, 2)"]
    named = """
print(torch.vmap(torch.sum)(torch.ones(2, 3)).tolist(), torch.func.grad(torch.sum)(torch.ones(2)).tolist())
print(torch._meta_registrations.meta_index_Tensor.__name__, type(torch._meta_registrations) is type(sys))
import torch._dynamo
"""
    assert python(named) == ["[3.0, 3.0] [1.0, 1.0]", "meta_index_Tensor True"]
    alone = """
def picked():
    return tuple(torch.empty(4, device="meta").index_select(0, torch.zeros(2, dtype=torch.int64, device="meta")).shape)
try:
    print(picked())
except NotImplementedError:
    print("not yet")
import torch._dynamo
print(picked())
"""
    assert python(alone) == ["not yet", "(2,)"]
