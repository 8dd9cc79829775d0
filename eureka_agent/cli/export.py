"""`eureka export`: a reward and its policy as files that stock Stable-Baselines3 and Isaac Gym style code take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

README = """# {name} of {task}

* `reward.py`: `compute_reward(state variables by name) -> (total, components)`, torch tensors with leading axis N; it
  needs nothing of eureka-agent.
* `policy.safetensors`, `policy.json`: the policy's weights as arrays, and what network and body they are for.
* `load_policy.py`: loads them into stock Stable-Baselines3, `python load_policy.py` saves `policy.zip`.

```python
from load_policy import load
model, normalizer = load()          # stable_baselines3 model, VecNormalize or None
action, _ = model.predict(normalizer.normalize_obs(observation) if normalizer else observation, deterministic=True)
```
"""
LOADER = '''"""Load this folder's policy into stock Stable-Baselines3: `from load_policy import load`."""

from pathlib import Path

from eureka_sandbox.worker.policy_sb3 import load_into_sb3


def load():
    """The model, and the VecNormalize that its observations go through (None if they are taken as they are)."""
    return load_into_sb3(Path(__file__).resolve().parent)


if __name__ == "__main__":
    model, normalizer = load()
    model.save("policy.zip")
    print(f"saved policy.zip: {type(model).__name__}, observations {'normalised' if normalizer else 'as they are'}")
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
    """Write reward.py, the policy, and a loader for stock Stable-Baselines3 into a folder."""
    from eureka_agent.cli.common import find_run
    from eureka_agent.cli.policies import find_policy
    from eureka_agent.errors import UsageError
    from eureka_agent.run import Run

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
    with Run.open(find_run(run), read_only=True) as opened:
        policy, task = find_policy(opened, candidate), opened.task
    if not policy.files:
        raise UsageError("a random policy has nothing to export; name a candidate or human")
    readme = README.format(name=policy.name, task=task.name)
    files = {"reward.py": policy.code.encode(), **policy.files}
    write_folder(output, {**files, "README.md": readme.encode(), "load_policy.py": LOADER.encode()})
    typer.echo(output)


def _export_curves(name: str, folder: Path) -> None:
    from eureka_agent.cli.common import find_run
    from eureka_agent.errors import UsageError
    from eureka_agent.event_files import trainings_of, write_event_files
    from eureka_agent.run import Run

    must_be_free(folder)
    with Run.open(find_run(name), read_only=True) as run:
        trainings, began = trainings_of(run), run.created
    if not trainings:
        raise UsageError(f"{name}: nothing has trained to its end yet, there are no curves")
    write_event_files(folder.absolute(), trainings, began)
    typer.echo(folder)


def _export_transcript(name: str, folder: Path) -> None:
    from eureka_agent.cli.common import find_run
    from eureka_agent.recording import recording_files
    from eureka_agent.run import Run

    with Run.open(find_run(name), read_only=True) as run:
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
    from eureka_agent.storage import appearing, write_file

    must_be_free(folder)
    with appearing(folder.absolute()) as draft:
        for name, data in files.items():
            write_file(draft / name, data, durable=False)
