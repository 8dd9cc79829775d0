"""Tasks and checks that the tests of the offline search share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from eureka_agent.contract.reward_code import check_reward_code
from eureka_agent.contract.reward_code import component_names as names_in_code
from eureka_agent.contract.task import Task, builtin_tasks, load_task, task_from_files
from eureka_agent.population import Brief
from eureka_agent.proposers.grammar import Genome
from eureka_agent.proposers.naming import component_names
from eureka_agent.proposers.operators import MAX_TERMS
from eureka_agent.proposers.writing import write_reward
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import COMPONENT_NAME

PILOT = Path(__file__).parents[1] / "evaluation" / "bench" / "answers"
TASK_YAML = """
description: "{description}"
environment: {{mujoco: {body}, episode_steps: 100}}
metric: {{name: score, unit: "1", meaning: Some score., success: Any.}}
training: {{timesteps: 1000}}
"""
TASK_PY = b"def fitness(episode): return 0.0\ndef success(episode): return False\n"


def make_task(body: str, description: str = "Do something useful with it.", extra: str = "", code: bytes = b"") -> Task:
    text = TASK_YAML.format(body=body, description=description) + extra
    human = (PILOT / "hopper_forward" / "g0c0.py").read_bytes()
    files = {"task.yaml": text.encode(), "task.py": TASK_PY + code, "reward_human.py": human}
    return task_from_files("test", Path("test"), files, None)


TASKS = {name: load_task(name) for name in builtin_tasks()} | {f"any_{body}": make_task(body) for body in BODIES}


def run_reward(code: str, task: Task, num_envs: int, seed: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Execute a reward on random states; returns total, components and the state as it is afterwards."""
    generator = torch.Generator().manual_seed(seed)
    state = {v.name: 3.0 * torch.randn((num_envs, *v.shape), generator=generator) for v in task.variables}
    for name in state.keys() & {"terminated", "foot_contacts"}:
        state[name] = (state[name] > 0).float()
    for name in state.keys() & {"target_distance"}:
        state[name] = state[name].abs()
    space: dict[str, Any] = {}
    exec(compile(code, "reward.py", "exec"), space)
    function = space["compute_reward"]
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    total, components = function(**{name: state[name].clone() for name in arguments})
    return total, components, state


def assert_correct(genome: Genome, task: Task, seed: int) -> None:
    code = write_reward(genome, task)
    assert check_reward_code(code, task.variables) is None, code
    assert all(len(line) <= 120 for line in code.splitlines()), code
    names = component_names(genome, task.variables)
    assert names == names_in_code(code)
    assert len(set(names)) == len(genome.terms) <= MAX_TERMS
    assert all(re.fullmatch(COMPONENT_NAME, name) for name in names)
    assert not set(names) & {v.name for v in task.variables}, "a component would overwrite an argument"
    assert Genome.model_validate_json(genome.model_dump_json()) == genome
    for num_envs in (1, 4):
        total, components, _ = run_reward(code, task, num_envs, seed)
        assert total.shape == (num_envs,)
        assert total.dtype == torch.float32
        assert torch.isfinite(total).all()
        assert all(value.shape == (num_envs,) for value in components.values())
        torch.testing.assert_close(total, torch.stack(list(components.values())).sum(dim=0))


def brief(operator: str = "sample", seed: int = 0, parents: tuple[str, ...] = (), slot: int = 0) -> Brief:
    return Brief(id=f"g1c{slot}", generation=1, slot=slot, operator=operator, seed=seed, parents=parents)
