"""Play without learning: what it is compared with, what stops a search, and the transitions it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eureka_agent.contract.task import Anchor, Anchors, Task, load_task, task_from_files
from eureka_agent.errors import TaskError
from eureka_agent.lab.bank import RANDOM_TRANSITIONS, bank_bytes
from eureka_agent.lab.floor import RANDOM, ZERO
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import load_episodes, save_episodes
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.bank import MAX_TRANSITIONS, read_bank
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import (
    EnvironmentSpec,
    Failed,
    Failure,
    Finished,
    Job,
    Outcome,
    ScoreResult,
    ScoreSpec,
    SmokeResult,
    Verdict,
)

TASK = load_task("inverted_pendulum_balance")
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    runs: list[Run] = []

    def make(task: Task = TASK, **settings: object) -> Run:
        small = {"population": 2, "generations": 1, "timesteps": 256, "final_seeds": 1, "jobs": 2}
        runs.append(Run.create(tmp_path / f"run{len(runs)}", task, Settings.model_validate({**small, **settings})))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


class Playing(ScriptedSandbox):
    """Scores of random and of zero actions are given: mean fitness, and the share of successes."""

    def __init__(self, random: tuple[float, float] = (0.0, 0.0), zero: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.levels = {False: random, True: zero}

    def run(self, job: Job, *arguments: object) -> Outcome:
        outcome = super().run(job, *arguments)  # type: ignore[arg-type]
        spec = job.spec
        if isinstance(spec, ScoreSpec) and isinstance(outcome, Finished) and "policy.safetensors" not in job.files:
            fitness, successes = self.levels[spec.idle]
            assert isinstance(outcome.result, ScoreResult)
            episodes = len(spec.seeds)
            numbers = {
                "fitness": [fitness] * episodes,
                "success": [i < successes * episodes for i in range(episodes)],
            }
            return Finished(outcome.result.model_copy(update=numbers), outcome.blobs, outcome.seconds)
        return outcome


def anchored(human: float, random: float) -> Task:
    def anchor(mean: float) -> Anchor:
        return Anchor(mean=mean, low=mean - 0.5, high=mean + 0.5, per_seed=[mean], success_rate=0.0)

    anchors = Anchors(
        random=anchor(random),
        human=anchor(human),
        seeds=[0],
        episodes=30,
        timesteps=1,
        learner="sb3",
        measured="2026-01-01",
        versions={},
    )
    return task_from_files(TASK.name, TASK.folder, TASK.files, anchors)


def test_random_and_zero_actions_are_scored_once_per_run(make_run: MakeRun) -> None:
    run, sandbox = make_run(), Playing(random=(0.25, 0.0), zero=(0.75, 0.1))
    assert run.floor() is None
    floor = Lab(sandbox, run).floor()
    assert (floor.random.mean, floor.random.success_rate) == (0.25, 0.0)
    assert (floor.zero.mean, floor.zero.success_rate) == (0.75, 0.1)
    assert floor.warnings == ()
    assert Lab(sandbox, run).floor() == floor == run.floor()
    assert [job.spec.idle for job in sandbox.started if isinstance(job.spec, ScoreSpec)] in ([0, 1], [1, 0])
    scores = [run.score(key) for key in (RANDOM, ZERO)]
    assert all(score is not None and not isinstance(score, Failure) for score in scores)


def test_a_metric_that_random_actions_satisfy_stops_the_search(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(TaskError, match=r"random actions succeed in 53 % of 30 episodes.*make `success` in task.py"):
        Lab(Playing(random=(0.0, 0.53)), run).floor()
    assert run.floor() is None


def test_a_metric_that_pays_random_actions_far_more_than_the_human_reward_stops_the_search(make_run: MakeRun) -> None:
    task = anchored(human=10.0, random=1.0)
    with pytest.raises(TaskError, match=r"random actions reach 25.0 s, the human reward of anchors.yaml 10.0 s; corr"):
        Lab(Playing(random=(25.0, 0.0)), make_run(task)).floor()
    with pytest.raises(TaskError, match=r"doing nothing reaches 25.0 s"):
        Lab(Playing(zero=(25.0, 0.0)), make_run(task)).floor()


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"zero": (0.0, 0.6)}, "doing nothing succeeds in 60 % of 30 episodes"),
        ({"zero": (15.0, 0.0)}, "doing nothing reaches 15.0 s, the human reward of anchors.yaml 10.0 s"),
        ({"random": (15.0, 0.0)}, "random actions reach 15.0 s, the human reward of anchors.yaml 10.0 s"),
    ],
)
def test_what_only_looks_wrong_is_a_warning(make_run: MakeRun, levels: dict, words: str) -> None:
    floor = Lab(Playing(**levels), make_run(anchored(human=10.0, random=1.0))).floor()
    assert floor.warnings == (words,)


def test_a_metric_that_fails_on_play_without_learning_is_the_tasks_fault(make_run: MakeRun) -> None:
    class Failing(ScriptedSandbox):
        def run(self, *_: object) -> Outcome:
            return Failed(Failure(verdict=Verdict.RUNTIME_ERROR, message="no", file="task.py", line=9), 0.0)

    with pytest.raises(TaskError, match=r"inverted_pendulum_balance/task.py:9: scoring random actions failed: no"):
        Lab(Failing(), make_run()).floor()


def test_the_bank_grows_by_the_incumbents_episodes_and_keeps_its_beginning(make_run: MakeRun) -> None:
    class Proposals:
        def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
            return Proposal(code=f"# {brief.id}")

    class Recording(ScriptedSandbox):
        """Trained policies are recorded as well."""

        def run(self, job: Job, *arguments: object) -> Outcome:
            outcome = super().run(job, *arguments)  # type: ignore[arg-type]
            if isinstance(job.spec, ScoreSpec) and isinstance(outcome, Finished) and not outcome.blobs:
                files = {name: data for name, data in job.files.items() if not name.startswith("policy")}
                play = super().run(Job(job.spec, files), *arguments)  # type: ignore[arg-type]
                assert isinstance(play, Finished)
                return Finished(outcome.result, play.blobs, 0.0)
            return outcome

    run = make_run()
    lab, shapes = Lab(Recording(), run), variable_shapes(TASK.environment)
    before = lab.bank()
    assert lab.bank() == before
    evolve(run, Proposals(), Incumbent(), lab)
    first, second = read_bank(before, shapes), read_bank(lab.bank(run.population().best), shapes)
    assert first.transitions == first.lasting == second.lasting < second.transitions
    for name, rows in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name][: first.transitions], rows)


def recording(steps: int, seed: int, environment: EnvironmentSpec) -> bytes:
    rng = np.random.default_rng(seed)
    shapes = variable_shapes(environment)
    state = {name: rng.standard_normal((steps + 1, *shape)).astype(np.float32) for name, shape in shapes.items()}
    still = np.zeros((steps + 1, 1))
    return save_episodes({0: Episode(still, still, state["actions"][1:], state, terminated=False, dt=0.01)})


def test_a_bank_holds_at_most_4096_transitions_and_none_of_a_reset() -> None:
    environment = TASK.environment
    long, short = recording(3000, 1, environment), recording(5, 2, environment)
    shapes = variable_shapes(environment)
    data, count = bank_bytes(long, long, environment)
    bank = read_bank(data, shapes)
    assert count == bank.transitions == MAX_TRANSITIONS
    assert bank.lasting == RANDOM_TRANSITIONS
    whole = read_bank(bank_bytes(short, None, environment)[0], shapes)
    assert whole.transitions == 5
    assert bank_bytes(long, short, environment)[1] == RANDOM_TRANSITIONS + 5


def test_on_real_mujoco_the_floor_gives_ranges_and_a_bank_on_which_a_reward_can_be_tried(make_run: MakeRun) -> None:
    run = make_run()
    lab = Lab(make_sandbox("embedded"), run)
    floor = lab.floor()
    assert 0.0 < floor.random.mean < 1.0 < floor.zero.mean + 1.0
    (angle,) = floor.range_of("pole_angle")
    assert -0.4 < angle.low < angle.mean < angle.high < 0.4
    (push,) = floor.range_of("actions")
    assert push.name == "actions[0]"
    assert push.high > 2.0
    still, played = run.score(ZERO), run.score(RANDOM)
    assert not isinstance(still, Failure | None)
    assert not isinstance(played, Failure | None)
    for score, moves in ((still, False), (played, True)):
        episodes = load_episodes(run.blob(score.episodes or "")).values()
        assert episodes
        assert all(episode.actions.any() == moves for episode in episodes)
    result = lab.smoke(TASK.human_reward)
    assert isinstance(result, SmokeResult)
    recorded = sum(length for i, length in enumerate(played.lengths) if i in played.recorded)
    assert result.transitions == min(recorded, RANDOM_TRANSITIONS)
    assert result.deterministic
    failure = lab.smoke("def compute_reward(pole_angle):\n    return pole_angle\n")
    assert isinstance(failure, Failure)
    assert (failure.verdict, failure.line) == (Verdict.CODE_ERROR, 1)
