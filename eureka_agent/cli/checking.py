"""`eureka tasks check`: everything that can be found out about a task in some seconds, each line as it passes."""

from __future__ import annotations

from eureka_agent.cli.common import ChecksFailed, result_console
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.contract.reward_code import component_names
from eureka_agent.contract.task import Task, load_task
from eureka_agent.lab.bank import bank_bytes
from eureka_agent.lab.jobs import run_alone, score_job, smoke_job
from eureka_agent.llm.gates import objection
from eureka_agent.search.estimate import human_job
from eureka_agent.settings import Recipe, Settings
from eureka_agent.text import command, count, measure, percent, plural
from eureka_sandbox.protocol import Failed, Finished, Job, Sandbox, ScoreResult, SmokeResult, TrainResult

TIMESTEPS = 4000
"""Enough for every algorithm to make some updates; far too few to learn."""


def check_task(name: str) -> None:
    """Check files, reward, training, metric and anchors, and say what passed.

    Raises:
        TaskError: the folder does not hold together.
        ChecksFailed: it could not be trained or scored with.
        EnvironmentMissing: the sandbox itself failed.
    """
    console = result_console()

    def passed(text: str) -> None:
        console.print("ok", style="green", end="  ")
        console.print(text, soft_wrap=True)

    task = load_task(name)
    passed(f"files: task.yaml, task.py and reward_human.py in {task.folder}")
    passed(f"state variables: {len(task.variables)} that a reward may name; `eureka tasks show {name}` lists them")
    sandbox = chosen_sandbox()
    random, played = _scored(sandbox, task, None)
    if played and (doubt := _doubt(sandbox, task, played)):
        console.print("--", style="yellow", end="  ")
        console.print(f"reward_human.py, on states of random play: {doubt}", soft_wrap=True)
    elif played:
        passed("reward_human.py: no row depends on another, on states of random play")
    trained = _finished(sandbox, human_job(task, Settings(), TIMESTEPS), f"{task.folder}: the human reward")
    result = trained.result
    assert isinstance(result, TrainResult)
    passed(f"reward_human.py: a total and {_components(task, result)}")
    speed = count(result.timesteps / max(result.seconds, 1e-3))
    passed(f"training: {count(result.timesteps)} steps at {speed} steps/s with {_recipe(task)}")
    trial, _ = _scored(sandbox, task, trained)
    unit = task.spec.metric.unit
    passed(f"fitness: {_spread(trial, unit)} after this short training, {_spread(random, unit)} at random")
    passed(f"success: {percent(_share(trial))} after this short training, {percent(_share(random))} at random")
    if task.anchors:
        passed(f"anchors: measured {task.anchors.measured}")
    else:
        hint = command(["eureka", "tasks", "measure", name])
        console.print("--", style="yellow", end="  ")
        console.print(f"anchors: not measured yet; {hint}", soft_wrap=True)
    shipped = command(["eureka", "evolve", name])
    console.print(f"\n{task.name} holds together; {shipped} searches for its reward", soft_wrap=True)


def _components(task: Task, result: TrainResult) -> str:
    """As logged; where no episode ended in so few steps, as the source names them."""
    logged = [key.removeprefix("reward/") for key in result.curves if key.startswith("reward/")]
    names = sorted(logged or component_names(task.human_reward))
    return f"{plural(len(names), 'component')} ({', '.join(names)})" if names else "its components"


def _recipe(task: Task) -> str:
    recipe = Recipe.of(task, Settings())
    return f"{recipe.algorithm} ({recipe.learner})"


def _doubt(sandbox: Sandbox, task: Task, played: bytes) -> str:
    """What candidates would be refused for; a person's reward may be sparse or slow, and is only told so.

    Raises:
        ChecksFailed: it pays rows by other rows, or by calls before, so that learners would be paid differently.
    """
    bank, _ = bank_bytes(played, None, task.environment)
    what = f"{task.folder}: the human reward"
    result = _finished(sandbox, smoke_job(task, task.human_reward, bank), what).result
    assert isinstance(result, SmokeResult)
    failure = objection(result)
    if failure and not result.deterministic:
        raise ChecksFailed(f"{task.folder}/reward_human.py: {failure.message}")
    return failure.message if failure else ""


def _scored(sandbox: Sandbox, task: Task, trained: Finished | None) -> tuple[ScoreResult, bytes | None]:
    """The score, and the recorded episodes if there are any."""
    whose = f"{task.folder}/task.py on {'a trained' if trained else 'a random'} policy"
    job = score_job(task, range(task.spec.evaluation_episodes), trained.blobs if trained else {})
    scored = _finished(sandbox, job, whose)
    assert isinstance(scored.result, ScoreResult)
    return scored.result, scored.blobs.get("episodes.npz")


def _finished(sandbox: Sandbox, job: Job, what: str) -> Finished:
    outcome = run_alone(sandbox, job)
    if isinstance(outcome, Failed):
        raise ChecksFailed(f"{what}: {outcome.failure}")
    return outcome


def _spread(result: ScoreResult, unit: str) -> str:
    low, high = min(result.fitness), max(result.fitness)
    return measure(low, unit) if low == high else f"{measure(low, '')} to {measure(high, unit)}"


def _share(result: ScoreResult) -> float:
    return sum(result.success) / len(result.success)
