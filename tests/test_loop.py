"""The loop with a scripted sandbox: who is asked for, what is measured, what stops it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eureka_agent.contract.task import Task, load_task
from eureka_agent.errors import BudgetExhausted, EnvironmentMissing, EurekaError
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.machine import available_memory_mb, cores
from eureka_agent.lab.scores import EvaluationSeeds
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score, Training
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison, Trial
from eureka_agent.settings import Recipe, Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import (
    Failure,
    Job,
    JobStopped,
    Outcome,
    Progress,
    SandboxError,
    ScoreSpec,
    TrainSpec,
    Verdict,
)

TASK = load_task("hopper_forward")


class Proposals:
    """Writes one line of script per candidate."""

    def __init__(self, script: Callable[[Brief], str] = lambda brief: "") -> None:
        self.script = script
        self.asked: list[str] = []

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        self.asked.append(brief.id)
        return Proposal(code=f"# {brief.id}\n{self.script(brief)}\n")


class Log(Silent):
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def generation(self, number: int, candidates: object) -> None:
        self.said.append(f"generation {number}")

    def started(self, key: str, stage: str) -> None:
        self.said.append(f"{key} {stage} begins")

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        self.said.append(f"{key} {stage} {progress.timesteps}")

    def finished(self, candidate: Candidate) -> None:
        self.said.append(f"{candidate.id} finished")

    def concluded(self, key: str, trial: Trial) -> None:
        self.said.append(f"{key} concluded")

    def stage(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def make(**settings: object) -> Run:
        small = {"population": 4, "generations": 2, "timesteps": 1000, "final_seeds": 2, "jobs": 2, "contest_seeds": 1}
        runs.append(Run.create(tmp_path / f"run{len(runs)}", TASK, Settings.model_validate({**small, **settings})))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def search(run: Run, proposals: Proposals | None = None, sandbox: ScriptedSandbox | None = None) -> Comparison:
    return evolve(run, proposals or Proposals(), Incumbent(), Lab(sandbox or ScriptedSandbox(), run))


def test_a_run_that_was_given_more_generations_has_no_comparison_until_it_ends_again(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(generations=1)
    first = search(run)
    assert run.comparison() == first
    run.amend({"generations": 2})
    assert run.comparison() is None
    second = search(run)
    assert run.comparison() == second
    assert run.population().generations == 2


def test_a_box_may_take_no_more_than_its_share_of_the_memory(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eureka_agent.lab.boxes.available_memory_mb", lambda: 2000.0)
    sandbox = ScriptedSandbox()
    search(make_run(generations=1, jobs=2), sandbox=sandbox)
    assert {job.limits.memory_mb for job in sandbox.started} == {1000}


def test_a_training_may_not_be_silent_for_long_while_a_scoring_says_nothing_until_its_end(
    make_run: Callable[..., Run],
) -> None:
    sandbox = ScriptedSandbox()
    search(make_run(generations=1), sandbox=sandbox)
    limits = {job.spec.kind: job.limits.silence_seconds for job in sandbox.started}
    assert limits.keys() == {"train", "score"}
    assert limits["score"] is None
    assert 120 < (limits["train"] or 0) < 200  # two minutes and one update at the slowest supported speed


def test_a_search_ends_with_the_best_candidate_beside_human_and_random(make_run: Callable[..., Run]) -> None:
    run = make_run()
    comparison = search(run, Proposals(lambda brief: f"# scripted: fitness={12 + 3 * (brief.id == 'g1c2')}"))
    assert comparison.candidate == "g1c2"
    assert [arm.name for arm in comparison.arms] == ["candidate", "human", "random"]
    candidate, human, random = comparison.arms
    assert len(candidate.fitness) == len(human.fitness) == 2
    assert len(random.fitness) == 1
    assert {len(row) for arm in comparison.arms for row in arm.fitness} == {TASK.spec.evaluation_episodes}
    assert 14.9 < candidate.iqm.value < 15.1
    assert candidate.iqm.low < candidate.iqm.value < candidate.iqm.high
    assert random.iqm.value == -1.0
    assert comparison.over_human.value == comparison.over_random.value == 1.0
    assert "2 trainings each cannot settle it" in comparison.note
    assert run.comparison() == comparison
    assert run.blob(candidate.policy or "") != run.blob(human.policy or "")
    assert candidate.video_note == "a scripted sandbox films nothing"


def test_a_finished_search_runs_nothing_again(make_run: Callable[..., Run]) -> None:
    run = make_run()
    first = search(run)
    proposals, sandbox = Proposals(), ScriptedSandbox()
    assert search(run, proposals, sandbox) == first
    assert proposals.asked == sandbox.started == []


def test_the_incumbent_stays_until_a_fitter_candidate_comes_and_is_always_a_parent(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(population=8, generations=4)
    best = {"g0c5": 9.0, "g2c1": 9.5}
    search(run, Proposals(lambda brief: f"# scripted: fitness={best.get(brief.id, 1.0)}"))
    population = run.population()
    incumbents = {1: "g0c5", 2: "g0c5", 3: "g2c1"}
    for generation, incumbent in incumbents.items():
        members = [c for c in population.candidates if c.brief.generation == generation]
        assert sorted(c.brief.operator for c in members) == ["cross"] * 2 + ["mutate"] * 4 + ["sample"] * 2
        for candidate in members:
            known = {c.id for c in population.candidates if c.brief.generation < generation}
            assert set(candidate.brief.parents) <= known
            assert len(set(candidate.brief.parents)) == {"sample": 0, "mutate": 1, "cross": 2}[candidate.brief.operator]
            if candidate.brief.operator == "cross":
                assert incumbent in candidate.brief.parents
        mutated = [c.brief.parents for c in members if c.brief.operator == "mutate"]
        assert mutated[::2] == [(incumbent,)] * 2
    assert population.best is not None
    assert population.best.id == "g2c1"


def test_the_strategy_is_a_pure_function_of_population_and_settings() -> None:
    settings = Settings(population=6)
    scored = [_scored(f"g0c{i}", float(i)) for i in range(6)]
    population = Population().extended(scored)
    first, second = Incumbent().select(population, settings), Incumbent().select(population, settings)
    assert first == second
    assert first != Incumbent().select(population, settings.model_copy(update={"seed": 1}))
    assert len({brief.id for brief in first} | {c.id for c in scored}) == 12
    assert len({brief.seed for brief in first}) == 6


@pytest.mark.parametrize("trained", [0, 1])
def test_with_fewer_than_two_trained_candidates_nothing_is_crossed(trained: int) -> None:
    failure = Failure(verdict=Verdict.TIME, message="too slow")
    members = [_scored("g0c0", 1.0)] if trained else []
    members.append(Candidate(brief=_brief("g0c1"), code="", failure=failure))
    briefs = Incumbent().select(Population().extended(members), Settings(population=8))
    assert {b.operator for b in briefs} == ({"mutate", "sample"} if trained else {"sample"})


def test_failures_are_states_and_the_search_goes_on(make_run: Callable[..., Run]) -> None:
    run = make_run()
    verdicts = {"g0c0": "time", "g0c1": "code_error"}
    comparison = search(run, Proposals(lambda b: f"# scripted: verdict={verdicts[b.id]}" if b.id in verdicts else ""))
    failed = {c.id: c.failure.verdict for c in run.population().candidates if c.failure}
    assert failed == {"g0c0": Verdict.TIME, "g0c1": Verdict.CODE_ERROR}
    assert run.population()["g0c0"].fitness is None
    assert "g0c0 (a fresh sample) failed and has no fitness. time: scripted" in run.population()["g0c0"].reflection
    assert comparison.candidate not in failed


def test_a_proposal_without_code_is_a_failed_candidate_and_not_trained(make_run: Callable[..., Run]) -> None:
    class Mute(Proposals):
        def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
            if brief.slot:
                return super().propose(brief, task, population)
            return Proposal(failure=Failure(verdict=Verdict.CODE_ERROR, message="no code block"))

    run, sandbox = make_run(generations=1), ScriptedSandbox()
    search(run, Mute(), sandbox)
    assert run.population()["g0c0"].failure == Failure(verdict=Verdict.CODE_ERROR, message="no code block")
    assert sum(isinstance(job.spec, TrainSpec) for job in sandbox.started) == 3 + 2 * 2


def test_a_search_in_which_nothing_trains_says_why(make_run: Callable[..., Run]) -> None:
    run = make_run()
    with pytest.raises(EurekaError, match=r"no candidate trained: 8 × memory: scripted \(reward.py:1\)"):
        search(run, Proposals(lambda brief: "# scripted: verdict=memory"))
    assert len(run.population().candidates) == 8


def test_a_lost_box_is_tried_again_and_never_charged_to_the_candidate(make_run: Callable[..., Run]) -> None:
    run, log = make_run(generations=1), Log()
    proposals = Proposals(lambda brief: "# scripted: lost=2 fitness=3")
    evolve(run, proposals, Incumbent(), Lab(ScriptedSandbox(), run, watcher=log))
    assert [c.failure for c in run.population().candidates] == [None] * 4
    assert "g0c1: the sandbox failed at training (attempt 2): scripted loss" in log.said
    with pytest.raises(EnvironmentMissing, match="the sandbox failed 3 times at training, last with: scripted loss"):
        search(make_run(), Proposals(lambda brief: "# scripted: lost=3"))


def test_the_watcher_hears_generations_progress_and_ends(make_run: Callable[..., Run]) -> None:
    run, log = make_run(generations=1, population=2, jobs=1, final_seeds=1), Log()
    evolve(run, Proposals(), Incumbent(), Lab(ScriptedSandbox(), run, watcher=log))
    trial = ["{} training begins", "{} training 1000", "{} scoring begins"]
    best = run.population().best
    assert best is not None
    heard = ["generation 0", *trial, "{} finished"]
    assert log.said[:5] == [text.format("g0c0") for text in heard]
    compared = [text.format(f"final/{name}/0") for name in (best.id, "human") for text in (*trial, "{} concluded")]
    comparing = f"comparing {best.id} with the human reward and a random policy: 1 training each"
    begin = log.said.index(comparing)
    assert log.said[begin : begin + 11] == [
        comparing,
        "final/random scoring begins",
        "final/random concluded",
        *compared,
    ]


def test_both_arms_train_with_the_same_fresh_seeds_and_every_policy_meets_other_episodes(
    make_run: Callable[..., Run],
) -> None:
    run, sandbox = make_run(final_seeds=3), ScriptedSandbox()
    comparison = search(run, sandbox=sandbox)
    seeds = {a.name: [t.training.seed for t in a.trials if t.training] for a in comparison.arms}
    assert seeds["candidate"] == seeds["human"]
    assert len(set(seeds["human"])) == 3
    trained = [job.spec.seed for job in sandbox.started if isinstance(job.spec, TrainSpec)]
    assert not set(seeds["human"]) & set(trained[:8])
    measured = [job for job in sandbox.started if "/variation/" not in job.origin]
    scored = [job.spec.seeds for job in measured if isinstance(job.spec, ScoreSpec) and not job.spec.video]
    episodes = [seed for group in scored for seed in group]
    assert len(scored) == 8 + 3 + 3 + 1
    assert len(set(episodes)) == len(episodes)


def test_evaluation_seeds_are_drawn_after_training(make_run: Callable[..., Run]) -> None:
    class Spy(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            if isinstance(job.spec, TrainSpec) and b"g0c0" in job.files["reward.py"]:
                assert run.decided("g0c0/evaluation-seeds", EvaluationSeeds) is None
                self.checked = True
            return super().run(job, on_progress, stop)

    run, spy = make_run(generations=1), Spy()
    search(run, sandbox=spy)
    score = run.population()["g0c0"].score
    assert spy.checked
    assert score is not None
    assert run.decided("g0c0/evaluation-seeds", EvaluationSeeds) == EvaluationSeeds(seeds=score.seeds)
    other = make_run(generations=1)
    search(other)
    assert score.seeds != getattr(other.population()["g0c0"].score, "seeds", None)


def test_box_b_gets_no_reward_code_and_box_a_no_policy(make_run: Callable[..., Run]) -> None:
    sandbox = ScriptedSandbox()
    search(make_run(generations=1), sandbox=sandbox)
    for job in sandbox.started:
        wanted = {"task.py", "reward.py"} if isinstance(job.spec, TrainSpec) else {"task.py"}
        assert set(job.files) - {"policy.safetensors", "policy.json"} == wanted
        assert ("policy.json" in job.files) <= isinstance(job.spec, ScoreSpec)


def test_as_many_boxes_as_jobs_run_side_by_side(make_run: Callable[..., Run]) -> None:
    class Counting(ScriptedSandbox):
        running = most = 0

        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                return super().run(job, on_progress, stop)
            finally:
                self.running -= 1

    sandbox = Counting()
    search(make_run(jobs=3, generations=1), Proposals(lambda b: "# scripted: seconds=0.2"), sandbox)
    assert sandbox.most == 3


def test_the_time_limit_stops_the_boxes_saves_the_best_and_more_time_continues(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def when_three_have_finished(run: Run) -> float:  # however long that takes here
        return 2.0 if sum(c.score is not None for c in run.population(partial=True).candidates) == 3 else 0.0

    run = make_run(max_seconds=1.0)
    slow = Proposals(lambda brief: f"# scripted: seconds={300 if brief.slot == 3 else 0.01}")
    started = time.monotonic()
    told = r"time limit of 1 s is reached \(saved; best so far: g0c\d with .* m\);"
    with monkeypatch.context() as clock:
        clock.setattr(Run, "elapsed_seconds", property(when_three_have_finished))
        with pytest.raises(BudgetExhausted, match=told):
            search(run, slow)
    assert time.monotonic() - started < 150, "the box is not waited for"
    finished = {c.id for c in run.population(partial=True).candidates if c.score}
    assert finished == {"g0c0", "g0c1", "g0c2"}
    with pytest.raises(BudgetExhausted, match=r"is reached \(nothing has trained to its end yet\); `eureka evolve"):
        search(make_run(max_seconds=0.05), Proposals(lambda brief: "# scripted: seconds=30"))
    run.amend({"max_seconds": 1000.0})
    sandbox = ScriptedSandbox()
    evolve(run, slow, Incumbent(), Lab(_Hurrying(sandbox), run))
    seeds = [job.spec.seed for job in sandbox.started if isinstance(job.spec, TrainSpec)]
    again = {name for name in finished if run.settings.derived_seed("train", name) in seeds}
    assert again == set()
    assert run.comparison() is not None


def test_whoever_leads_is_filmed_before_the_next_generation_and_more_on_request(make_run: Callable[..., Run]) -> None:
    run, sandbox = make_run(films=1), ScriptedSandbox()

    def films() -> list[str]:
        policies = [(c.id, c.training.policy) for c in run.population().candidates if c.training]
        return [name for name, policy in policies if run.score(f"film/{policy}")]

    search(run, sandbox=sandbox)
    first = next(at for at, job in enumerate(sandbox.started) if getattr(job.spec, "video", None))
    rewards = [job.files.get("reward.py", b"") for job in sandbox.started]
    assert not any(b"# g1c" in code for code in rewards[:first])
    assert any(b"# g1c" in code for code in rewards[first:]), "the second generation came after the first film"
    assert len(films()) < len(run.population().candidates)
    run.amend({"films": 100})
    search(run, sandbox=sandbox)
    assert len(films()) == sum(c.score is not None for c in run.population().candidates)
    before = len(sandbox.started)
    search(run, sandbox=sandbox)
    assert len(sandbox.started) == before, "each once"
    none = make_run(films=0)
    search(none, sandbox=(other := ScriptedSandbox()))
    assert sum(bool(getattr(job.spec, "video", None)) for job in other.started) == 2, "of the comparison alone"


def test_a_search_of_which_only_the_figures_count_films_maps_and_varies_nothing(
    make_run: Callable[..., Run],
) -> None:
    def jobs(**settings: Any) -> tuple[Run, list[Job]]:
        run, sandbox = make_run(**settings), ScriptedSandbox()
        search(run, sandbox=sandbox)
        return run, sandbox.started

    shown, plain = jobs(), jobs(exhibits=False)
    for name in ("video", "variation"):
        assert any(getattr(job.spec, name, None) for job in shown[1])
        assert not any(getattr(job.spec, name, None) for job in plain[1])
    compared, expected = plain[0].comparison(), shown[0].comparison()
    assert compared is not None
    assert expected is not None
    assert compared.robustness is None
    assert [arm.fitness for arm in compared.arms] == [arm.fitness for arm in expected.arms]


def test_time_that_runs_out_while_filming_costs_the_films_and_not_the_comparison(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowFilms(ScriptedSandbox):
        films = 0

        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            self.films += isinstance(job.spec, ScoreSpec) and job.spec.video is not None
            if self.films > 1 and stop.wait(60):  # the first is of who leads the search, before the comparison
                raise JobStopped("stopped")
            return super().run(job, on_progress, stop)

    run = make_run(generations=1, max_seconds=3.0)
    comparison = search(run, sandbox=SlowFilms())
    assert run.comparison() == comparison
    assert comparison.arm("candidate").video is None
    assert comparison.arm("candidate").video_note == "no time was left to film"


class _Hurrying:
    """The same answers without the waiting."""

    name = "hurrying"

    def __init__(self, sandbox: ScriptedSandbox) -> None:
        self.sandbox = sandbox

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
        files = {name: data.replace(b"seconds=300", b"seconds=0") for name, data in job.files.items()}
        return self.sandbox.run(Job(job.spec, files, job.limits), on_progress, stop)


def test_ctrl_c_stops_every_box_within_five_seconds_and_keeps_what_had_finished(make_run: Callable[..., Run]) -> None:
    run, stopped = make_run(), []

    class Noting(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            try:
                return super().run(job, on_progress, stop)
            except JobStopped:
                stopped.append(job)
                raise

    slow = Proposals(lambda brief: f"# scripted: seconds={60 if brief.slot > 1 else 0}")
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    started = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        search(run, slow, Noting())
    assert time.monotonic() - started < 30
    assert len(stopped) == 2
    assert {c.id for c in run.population(partial=True).candidates} == {"g0c0", "g0c1"}


def test_an_arm_whose_every_training_fails_is_an_error_with_its_verdict(make_run: Callable[..., Run]) -> None:
    run = make_run(generations=1)
    human = TASK.human_reward.encode()

    class NoHuman(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            if job.files.get("reward.py") == human:
                job = Job(job.spec, {**job.files, "reward.py": b"# scripted: verdict=memory"}, job.limits)
            return super().run(job, on_progress, stop)

    with pytest.raises(EurekaError, match=r"every final training of human failed: memory"):
        search(run, sandbox=NoHuman())


def test_an_error_in_the_sandbox_backend_reaches_the_caller(make_run: Callable[..., Run]) -> None:
    class Broken(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            raise SandboxError("cannot spawn: no such file")

    with pytest.raises(EnvironmentMissing, match=r"g0c\d: the sandbox failed 3 times .* cannot spawn"):
        search(make_run(), sandbox=Broken())


def test_too_little_memory_is_said_before_anything_starts(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eureka_agent.lab.boxes.available_memory_mb", lambda: 500.0)
    with pytest.raises(EnvironmentMissing, match=r"--jobs 2 needs about \d+ MB of memory, 500 MB are free"):
        Lab(ScriptedSandbox(), make_run(jobs=2))
    monkeypatch.setattr("eureka_agent.lab.boxes.available_memory_mb", lambda: 1000.0)
    assert Lab(ScriptedSandbox(), make_run(jobs=None)).boxes.jobs == 1


def test_a_containers_limits_bound_memory_and_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eureka_agent.lab.machine.CGROUP", tmp_path)
    whole = available_memory_mb()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("60000000\n")
    assert available_memory_mb() == pytest.approx(whole, rel=0.2)
    (tmp_path / "memory.max").write_text("100000000\n")
    assert available_memory_mb() == 40.0
    (tmp_path / "memory.stat").write_text("anon 10000000\ninactive_file 50000000\n")
    assert available_memory_mb() == 90.0
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert cores() == 1


def test_another_algorithm_leaves_the_tasks_own_hyperparameters_behind() -> None:
    own, other = Recipe.of(TASK, Settings()), Recipe.of(TASK, Settings(algorithm="sac", timesteps=7))
    assert own.hyperparameters == TASK.spec.training.hyperparameters
    assert (own.algorithm, own.timesteps) == ("ppo", TASK.spec.training.timesteps)
    assert (other.algorithm, other.learner, other.timesteps, other.hyperparameters) == ("sac", "sb3", 7, {})


def _brief(name: str) -> Brief:
    return Brief(id=name, generation=0, slot=0, operator="sample", seed=0)


def _scored(name: str, fitness: float) -> Candidate:
    training = Training(
        seed=0,
        timesteps=1,
        seconds=1.0,
        startup_seconds=0.0,
        peak_timesteps=1,
        peak_return=None,
        curves={},
        policy="",
        policy_meta="",
        versions={},
    )
    score = Score(seeds=(0,), fitness=(fitness,), success=(True,), lengths=(1,), seconds=0.0)
    return Candidate(brief=_brief(name), code="", training=training, score=score)
