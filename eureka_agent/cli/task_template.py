"""The files of a new task: a sensible goal for the body, with comments that say what to change."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

from eureka_sandbox.bodies import Body


@dataclass(frozen=True)
class Goal:
    """A first goal that a body can be trained for, to be replaced by the person's own."""

    needs: str
    """State variable that the body must have."""
    description: str
    metric: str
    unit: str
    meaning: str
    success: str
    fitness: str
    """Body of `fitness(episode)`."""
    succeeded: str
    """Body of `success(episode)`."""
    arguments: tuple[str, ...]
    terms: str
    """Body of `compute_reward` up to its return: assigns each of `components`."""
    components: tuple[str, ...]
    episode_steps: int
    timesteps: int


CONTROL = "control = -1e-3 * (actions**2).sum(dim=-1)"

TRAVEL = Goal(
    needs="torso_x_velocity",
    description="The robot should travel forward, along +x, as far as it can.",
    metric="forward displacement",
    unit="m",
    meaning="How far the torso came along x from where it was after the reset; backward is negative.",
    success="At least 5 m forward.",
    fitness='x = episode.state["torso_x"]\nreturn float(x[-1] - x[0])',
    succeeded="return fitness(episode) >= 5.0",
    arguments=("torso_x_velocity", "actions"),
    terms=f"forward = torso_x_velocity\n{CONTROL}",
    components=("forward", "control"),
    episode_steps=1000,
    timesteps=300_000,
)
REACH = Goal(
    needs="target_distance",
    description="The arm should bring its fingertip onto the target and hold it there.",
    metric="negative final distance",
    unit="m",
    meaning="Minus the distance from fingertip to target at the end of the episode; 0 is on target.",
    success="The fingertip ends within 0.05 m of the target.",
    fitness='return -float(episode.state["target_distance"][-1])',
    succeeded="return fitness(episode) >= -0.05",
    arguments=("target_distance", "actions"),
    terms=f"near = -target_distance\n{CONTROL}",
    components=("near", "control"),
    episode_steps=50,
    timesteps=150_000,
)
BALANCE = Goal(
    needs="pole_angle",
    description="The cart should keep the pole upright for as long as it can.",
    metric="time upright",
    unit="s",
    meaning="Simulated time until the pole fell or the episode ended.",
    success="The pole never fell.",
    fitness="return episode.seconds",
    succeeded="return not episode.terminated",
    arguments=("terminated", "pole_angle"),
    terms="alive = 1.0 - terminated\nupright = torch.exp(-10.0 * pole_angle**2)",
    components=("alive", "upright"),
    episode_steps=1000,
    timesteps=60_000,
)


def goal_for(body: Body) -> Goal:
    """The first goal whose state variable the body has."""
    names = {variable.name for variable in body.variables}
    return next(goal for goal in (REACH, BALANCE, TRAVEL) if goal.needs in names)


def task_files(name: str, body: Body) -> dict[str, str]:
    """task.yaml, task.py and reward_human.py of a new task."""
    goal = goal_for(body)
    return {
        "task.yaml": _yaml(body, goal),
        "task.py": _code(name, goal),
        "reward_human.py": _reward(body, goal),
    }


def _yaml(body: Body, goal: Goal) -> str:
    width = max(len(variable.name) for variable in body.variables)
    variables = "\n".join(f"#   {v.name:<{width}}  [{v.unit}] {v.meaning}" for v in body.variables)
    return f"""\
# What you want, in words. This is what writes rewards reads first: say the goal, not how to reward it.
description: >-
  {goal.description}

environment:
  mujoco: {body.name}   # {body.summary}
  episode_steps: {goal.episode_steps}   # control steps until an episode is cut; one step is {body.dt:g} s

# What `fitness` and `success` in task.py measure. Higher fitness is always better.
metric:
  name: {goal.metric}
  unit: {goal.unit}
  meaning: >-
    {goal.meaning}
  success: >-
    {goal.success}

# State variables that a reward may name, beside training_progress (0 to 1). All of the body's, unless listed:
# state_variables: [{body.variables[0].name}, {body.variables[1].name}, actions]
#
{variables}
#
# Variables of your own come from `derive` in task.py, and are declared here:
# derived:
#   - {{name: my_variable, shape: [], unit: m, frame: world, meaning: What it is and its sign.}}

# State variables whose means tell behaviours apart, beside effort and speed, for --strategy map_elites:
# descriptors: [{body.variables[0].name}]

# How each candidate is trained, as in rl-baselines3-zoo.
training:
  algorithm: ppo          # ppo, sac or td3
  timesteps: {goal.timesteps}       # environment steps per candidate
  hyperparameters:        # Stable-Baselines3's arguments and defaults; PPO has those marked * without a line, too
    n_envs: 8             # * robots stepped side by side
    n_steps: 256          # * steps of each robot between two updates
    batch_size: 64
    n_epochs: 10
    normalize: true       # * running normalisation of observations and rewards (VecNormalize)

evaluation_episodes: 30   # scored episodes per policy, each from its own fresh seed

# Worlds in which the final policies are tried besides this one; left out: the usual ones of the body.
# variations:
#   heavy: {{mass: 1.3}}
#   icy_and_late: {{friction: 0.3, delay: 2}}

# Who selects: the metric (`metric`, as usual), people who compare films in `eureka review` (`preference`), or a vision
# model that is shown frames (`vision`, with --vision-model).
# fitness: preference

# What a vision model is told to look for (`--vision-model`); the description and an untrained robot, if left out.
# vision:
#   goal: The robot runs upright to the right.
#   baseline: The robot lies on its back and twitches.
"""


def _code(name: str, goal: Goal) -> str:
    return f'''\
"""{name}: what counts as good. Pure functions of the recorded simulator state; no reward reaches them."""

from __future__ import annotations

from eureka_evaluation.episode import Episode

# episode.state["name"] is a state variable over time: (T + 1, *shape) float32, row 0 after the reset.
# episode.qpos, .qvel, .actions, .terminated, .dt, .length and .seconds are there too.


def fitness(episode: Episode) -> float:
    """{goal.meaning}"""
{indent(goal.fitness, "    ")}


def success(episode: Episode) -> bool:
    """{goal.success}"""
{indent(goal.succeeded, "    ")}


# Optional. State variables of your own (declare them under `derived` in task.yaml), numpy in, numpy out:
# def derive(state, dt):
#     return {{"my_variable": state["{goal.needs}"] * 2.0}}

# Optional. Replaces the body's own rule for a terminal state; (N,) bool:
# def terminated(state):
#     return state["{goal.needs}"] > 100.0
'''


def _reward(body: Body, goal: Goal) -> str:
    arguments = ", ".join(f"{name}: torch.Tensor" for name in goal.arguments)
    total, parts = " + ".join(goal.components), ", ".join(f'"{name}": {name}' for name in goal.components)
    text = f'''\
"""The human baseline that every candidate is compared with: write the reward you would have used."""

import torch


def compute_reward({arguments}) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Arguments are state variables by name, each (N, *shape); returns the total (N,) and its named components."""
TERMS
    return {total}, {{{parts}}}
'''
    return dedent(text).replace("TERMS", indent(goal.terms, "    "))
