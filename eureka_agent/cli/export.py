"""`eureka export`: a reward and its policy as files that stock Stable-Baselines3 and Isaac Gym style code take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eureka_agent.cli.policies import Policy
    from eureka_agent.contract.task import Task

README = """# {name} of {task}

* `reward.py`: `compute_reward(state variables by name) -> (total, components)`, torch tensors with leading axis N; it
  needs nothing of eureka-agent.
{progress}* `policy.zip`: the policy for stock Stable-Baselines3, `{algorithm}.load("policy.zip")`.
{normalised}
* `load_policy.py`: makes the environment and loads the policy; `python load_policy.py` plays one episode.
* `policy.safetensors`, `policy.json`: the same weights as arrays, and what network and body they are for.

`load_policy.py` needs `stable-baselines3` and `gymnasium[mujoco]`, nothing of eureka-agent:

```python
from load_policy import load
model, env = load()
action, _ = model.predict(env.reset(), deterministic=True)
```

{environment} is Gymnasium's own: its reward is not `reward.py`'s and not the task's metric, and its episodes end by
Gymnasium's rule (after {steps} steps at most), also where the task has another. `policy.zip` and `vecnormalize.pkl` are
pickles, as Stable-Baselines3 writes them: `eureka export` made them on the machine it ran on, from the arrays; whoever
got this folder from someone they do not trust should not load them.
"""
PROGRESS = """\
  It names `training_progress`, float32 (N,): in your own training, environment steps so far over all there will be.
"""
NORMALISED = """\
* `vecnormalize.pkl`: the mean and variance of its observations, `VecNormalize.load("vecnormalize.pkl", env)`. The
  policy acts on observations normalised by them; `policy.zip` alone acts wrongly."""
NOT_NORMALISED = "  It takes observations as they are: there is no `vecnormalize.pkl`."
LOADER = '''"""This folder's policy in stock Stable-Baselines3; `python load_policy.py` plays one episode with it."""

from pathlib import Path

import gymnasium
from stable_baselines3 import {algorithm}
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

FOLDER = Path(__file__).resolve().parent


def make_env(**options):
    """The body's Gymnasium environment; its observations are normalised where the policy was trained on such."""
    env = DummyVecEnv([lambda: gymnasium.make("{environment}", max_episode_steps={steps}, **options)])
    statistics = FOLDER / "vecnormalize.pkl"
    return VecNormalize.load(str(statistics), env) if statistics.exists() else env


def load(env=None):
    """The model and its environment; `model.predict` takes the observations that this environment gives."""
    env = make_env() if env is None else env
    return {algorithm}.load(FOLDER / "policy.zip", env=env, device="cpu"), env


def play(model, env):
    """Return and length of one deterministic episode."""
    observation, total, length, done = env.reset(), 0.0, 0, False
    while not done:
        action, _ = model.predict(observation, deterministic=True)
        observation, rewards, dones, _ = env.step(action)
        total, length, done = total + float(rewards[0]), length + 1, bool(dones[0])
    return total, length


if __name__ == "__main__":
    total, length = play(*load())
    print(f"{environment}: return {{total:.2f}} in {{length}} steps")
'''


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a task's name, or latest.")],
    candidate: Annotated[str | None, typer.Argument(help="A candidate's id or human (the best).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; it must not hold files yet (export).")
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the curves of all trainings instead, for `tensorboard --logdir DIR`."),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the prompts and answers instead, for `--model replay:DIR`."),
    ] = None,
) -> None:
    """Write reward.py and the policy, ready for stock Stable-Baselines3, into a folder."""
    from eureka_agent.cli.common import named_run
    from eureka_agent.cli.policies import find_policy
    from eureka_agent.errors import UsageError
    from eureka_agent.runs.run import Run

    if tensorboard is not None:
        if candidate is not None or output is not None:
            raise UsageError("--tensorboard writes the curves of all trainings; leave out CANDIDATE and --output")
        _export_curves(run, tensorboard)
        return
    if transcript is not None:
        if candidate is not None or output is not None:
            raise UsageError(
                "--transcript writes the prompts and answers of all candidates; leave out the other options"
            )
        _export_transcript(run, transcript)
        return
    output = output or Path("export")
    with Run.open(named_run(run), read_only=True) as opened:
        policy, task = find_policy(opened, candidate), opened.task
    if not policy.files:
        raise UsageError("a random policy has nothing to export; name a candidate or human")
    must_be_free(output)
    write_folder(output, _policy_folder(policy, task))
    typer.echo(output)


def _policy_folder(policy: Policy, task: Task) -> dict[str, bytes]:
    from eureka_agent.cli.policies import stock_files
    from eureka_agent.errors import EurekaError
    from eureka_sandbox.bodies import TRAINING_PROGRESS
    from eureka_sandbox.protocol import PolicyMeta

    meta = PolicyMeta.model_validate_json(policy.files["policy.json"])
    if meta.body != task.body.name:
        raise EurekaError(f"{policy.name} has a policy for {meta.body!r:.60}, the task has {task.body.name!r}")
    known = {
        "algorithm": meta.algorithm.upper(),
        "environment": task.body.gymnasium_id,
        "steps": task.spec.environment.episode_steps,
    }
    normalised = NORMALISED if meta.normalise else NOT_NORMALISED
    progress = PROGRESS if TRAINING_PROGRESS.name in policy.code else ""
    readme = README.format(name=policy.name, progress=progress, task=task.name, normalised=normalised, **known)
    return {
        "reward.py": policy.code.encode(),
        **policy.files,
        **stock_files(policy),
        "load_policy.py": LOADER.format(**known).encode(),
        "README.md": readme.encode(),
    }


def _export_curves(name: str, folder: Path) -> None:
    from eureka_agent.cli.common import named_run
    from eureka_agent.errors import UsageError
    from eureka_agent.runs.event_files import trainings_of, write_event_files
    from eureka_agent.runs.run import Run

    must_be_free(folder)
    with Run.open(named_run(name), read_only=True) as run:
        trainings, began = trainings_of(run), run.created
    if not trainings:
        raise UsageError(f"{name}: nothing has trained to its end yet, there are no curves")
    write_event_files(folder.absolute(), trainings, began)
    typer.echo(folder)


def _export_transcript(name: str, folder: Path) -> None:
    from eureka_agent.cli.common import named_run
    from eureka_agent.runs.recording import recording_files
    from eureka_agent.runs.run import Run

    with Run.open(named_run(name), read_only=True) as run:
        write_folder(folder, recording_files(run))
    typer.echo(folder)


def must_be_free(folder: Path) -> None:
    """Refuse to write where something is.

    Raises:
        UsageError: something is there already.
    """
    from eureka_agent.errors import UsageError

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: already there; choose another name, or move it away")


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder with these files; all of it appears at once, or nothing.

    Raises:
        UsageError: something is there already.
        RunError: it cannot be written.
    """
    from eureka_agent.runs.storage import appearing, write_file

    must_be_free(folder)
    with appearing(folder.absolute()) as draft:
        for name, data in files.items():
            write_file(draft / name, data, durable=False)
