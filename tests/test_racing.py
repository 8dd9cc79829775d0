"""Racing: who goes on and who is stopped follows from scores alone, as early as it is certain, also after a resume."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import arrays_of, meta_of
from safetensors.numpy import save

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.racing import Bracket, Fate, brackets, fates, most_steps, racing_note, saved
from eureka_agent.population import Brief, Candidate, Population, rung_key
from eureka_agent.runs.crashpoints import heard_by
from eureka_agent.runs.journal import Journal
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search.estimate import planned
from eureka_agent.settings import Recipe, Settings
from eureka_agent.terminal.board import Board
from eureka_agent.terminal.display import _halted
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import (
    CheckpointMeta,
    Failed,
    Failure,
    Job,
    Outcome,
    Progress,
    ScoreSpec,
    TrainingCheckpoint,
    TrainSpec,
    Verdict,
)

TASK = load_task("hopper_forward")
STEPS = 90_000
EIGHT = Bracket(tuple("abcdefgh"), (100, 200, 300))


def recipe(**changes: object) -> Recipe:
    return Recipe.of(TASK, Settings()).model_copy(update={"timesteps": STEPS, **changes})


def synchronous(bracket: Bracket, curves: dict[str, list[float | None]]) -> dict[str, int]:
    """Successive halving as the paper has it: how many rungs each candidate trains."""
    here, reached = list(bracket.members), dict.fromkeys(bracket.members, 0)
    for rung in range(len(bracket.rungs)):
        for name in here:
            reached[name] += 1
        scored = [name for name in here if curves[name][rung] is not None]
        keep = bracket.keep[rung] if rung < len(bracket.keep) else 0
        best = sorted(scored, key=lambda name: -(curves[name][rung] or 0.0))[:keep]
        here = [name for name in bracket.members if name in best]
    return reached


def raced(bracket: Bracket, curves: dict[str, list[float | None]], rng: random.Random, boxes: int) -> dict[str, int]:
    """As the lab does it: a few boxes, trainings that end in any order, decisions as soon as they are certain."""
    seen: dict[str, list[float | None]] = {name: [] for name in bracket.members}
    running: set[str] = set()
    settled: dict[str, Fate] = {}
    while True:
        now = fates(bracket, seen)
        for name, fate in settled.items():
            assert now[name] is fate  # what was certain stays so
        final = (Fate.STOPPED, Fate.FAILED, Fate.FINISHED)
        settled |= {name: fate for name, fate in now.items() if fate in final}
        ready = [name for name, fate in now.items() if fate is Fate.GOES_ON and name not in running]
        running |= set(ready[: boxes - len(running)])
        if not running:
            break
        done = rng.choice(sorted(running))
        running.discard(done)
        seen[done].append(curves[done][len(seen[done])])
    assert settled.keys() == set(bracket.members)  # nobody waits for ever
    return {name: len(at) for name, at in seen.items()}


@pytest.mark.parametrize("boxes", [1, 2, 8])
def test_whatever_ends_first_the_same_go_on_as_if_all_had_waited_for_all(boxes: int) -> None:
    rng = random.Random(boxes)
    for _ in range(150):
        size = rng.randint(3, 9)
        bracket = Bracket(tuple("abcdefghi"[:size]), (100, 200, 300)[rng.randint(0, 1) :])
        curves = {
            name: [None if rng.random() < 0.15 else float(rng.randint(0, 4)) for _ in bracket.rungs]
            for name in bracket.members
        }
        assert raced(bracket, curves, rng, boxes) == synchronous(bracket, curves)


def test_half_go_on_and_42_percent_of_the_steps_are_saved_with_eight() -> None:
    assert EIGHT.keep == (4, 2)
    seen = {name: [float(i)] * (1 if i < 4 else 2 if i < 6 else 3) for i, name in enumerate(EIGHT.members)}
    assert [fates(EIGHT, seen)[name] for name in "adeg"] == [Fate.STOPPED, Fate.STOPPED, Fate.STOPPED, Fate.FINISHED]
    assert saved(EIGHT, seen) == (1000, 2400)
    assert EIGHT.steps == 1400


def test_a_straggler_holds_nobody_up_who_is_certain_to_go_on_or_out() -> None:
    """Of seven of eight the three best are among the best four, whatever the eighth comes to."""
    seen = {name: [float(i)] for i, name in enumerate("abcdefg")} | {"h": []}
    known = fates(EIGHT, seen)
    assert [name for name in "abcdefg" if known[name] is Fate.GOES_ON] == ["e", "f", "g"]
    assert [name for name in "abcdefg" if known[name] is Fate.STOPPED] == ["a", "b", "c"]
    assert known["d"] is Fate.WAITS
    assert fates(EIGHT, seen | {"h": [None]})["d"] is Fate.GOES_ON  # the straggler failed
    assert fates(EIGHT, seen | {"h": [9.0]})["d"] is Fate.STOPPED


def test_failures_make_room_and_equals_go_on_in_their_order() -> None:
    seen = {name: [None] for name in "abcde"} | {name: [0.0] for name in "fgh"}
    assert {name for name, fate in fates(EIGHT, seen).items() if fate is Fate.GOES_ON} == set("fgh")
    level = fates(EIGHT, {name: [1.0] for name in EIGHT.members})
    assert [level[name] for name in EIGHT.members] == [Fate.GOES_ON] * 4 + [Fate.STOPPED] * 4


@pytest.mark.parametrize(
    ("settings", "changes", "members"),
    [
        ({"racing": "none"}, {}, 8),
        (
            {},
            {"algorithm": "sac", "hyperparameters": {}, "timesteps": 30_000},
            8,
        ),  # two thirds are ten rollouts of PPO's
        ({}, {"timesteps": 30_000}, 8),  # two thirds are nine updates
        ({}, {}, 2),
    ],
)
def test_nothing_is_raced_where_it_says_too_little_or_costs_too_much(
    settings: dict[str, str], changes: dict[str, object], members: int
) -> None:
    (only,) = brackets(Settings.model_validate(settings), recipe(**changes), [str(i) for i in range(members)])
    assert only.rungs == (recipe(**changes).timesteps,)
    assert only.keep == ()


def test_a_rung_of_few_updates_is_left_out() -> None:
    (only,) = brackets(Settings(), recipe(timesteps=45_000), "abcdefgh")
    assert only.rungs == (30_000, 45_000)  # a third is seven updates


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_an_algorithm_that_updates_at_every_step_races_as_well(algorithm: str) -> None:
    """Its rungs are not shorter than PPO's usual ones, whatever its updates are called."""
    for timesteps, rungs in ((90_000, (30_000, 60_000, 90_000)), (45_000, (30_000, 45_000)), (30_000, (30_000,))):
        changed = recipe(algorithm=algorithm, hyperparameters={}, timesteps=timesteps)
        (only,) = brackets(Settings(), changed, "abcdefgh")
        assert only.rungs == rungs


def test_hyperband_deals_its_brackets_so_that_some_are_never_stopped_early() -> None:
    races = brackets(Settings(racing="hyperband"), recipe(), "abcdefgh")
    assert [race.rungs for race in races] == [(30_000, 60_000, 90_000), (60_000, 90_000), (90_000,)]
    assert sorted("".join("".join(race.members) for race in races)) == list("abcdefgh")
    assert [len(race.members) for race in races] == [4, 2, 2]
    halving = most_steps(Settings(), recipe(), 8)
    assert halving < most_steps(Settings(racing="hyperband"), recipe(), 8) < 8 * STEPS


def test_what_is_planned_is_what_is_trained() -> None:
    settings = Settings(generations=2, final_seeds=3, contest_seeds=1)
    race = (4 * 15 + 2 * 30 + 2 * 44) * 2048  # in whole rollouts
    assert most_steps(settings, recipe(), 8) == race
    assert planned(settings, recipe(), 2).steps == 2 * race + 6 * 44 * 2048
    assert planned(settings.model_copy(update={"contest_seeds": 3}), recipe(), 2).trainings == 16 + 6 + 5


# ------------------------------------------------------------------------------------------------------- in the lab


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs, names = [], itertools.count()

    def make(**settings: object) -> Run:
        small = {"population": 8, "timesteps": STEPS, "jobs": 2, "contest_seeds": 1}
        runs.append(Run.create(tmp_path / f"run{next(names)}", TASK, Settings.model_validate(small | settings)))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def candidates(scripts: list[str]) -> list[Candidate]:
    return [
        Candidate(
            brief=Brief(id=f"g0c{i}", generation=0, slot=i, operator="sample", seed=0),
            code=f"# {i}\n# scripted: {script}\n",
        )
        for i, script in enumerate(scripts)
    ]


GENERATION = [f"fitness={i}" for i in range(1, 9)]


def reached(measured: list[Candidate]) -> dict[str, int]:
    return {c.id: c.training.timesteps for c in measured if c.training}


def test_a_generation_is_halved_twice_and_what_was_stopped_keeps_its_last_rung(make_run: Callable[..., Run]) -> None:
    run, sandbox = make_run(), ScriptedSandbox(training_spread=0.0)
    measured = Lab(sandbox, run).measure(candidates(GENERATION), Population())
    assert reached(measured) == {
        **{f"g0c{i}": 30_000 for i in range(4)},
        **{f"g0c{i}": 60_000 for i in (4, 5)},
        **{f"g0c{i}": 90_000 for i in (6, 7)},
    }
    assert [c.stopped for c in measured] == [True] * 6 + [False] * 2
    assert [len(c.rungs) for c in measured] == [1] * 4 + [2] * 4
    assert [len(c.score.seeds) for c in measured if c.score] == [10] * 6 + [TASK.spec.evaluation_episodes] * 2
    assert run.population(partial=True).candidates == tuple(measured)
    assert run.trained_steps == run.searched_steps == 4 * 30_000 + 2 * 60_000 + 2 * STEPS
    started = [job.spec for job in sandbox.started if isinstance(job.spec, TrainSpec)]
    assert [spec.stop_at for spec in started].count(None) == 2
    assert {spec.total_timesteps for spec in started} == {STEPS}  # schedules span the whole
    best = run.extend(run.population(), measured).best
    assert best is not None
    assert best.id == "g0c7"


class Straggler(ScriptedSandbox):
    """Holds back the first training until so many others are scored."""

    def __init__(self, others: int) -> None:
        super().__init__(training_spread=0.0)
        self.others, self.released, self.in_time = others, threading.Event(), False
        self.scored: list[str] = []

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
        name = job.origin.partition("/")[2]
        if name == "g0c0" and isinstance(job.spec, TrainSpec) and not self.released.is_set():
            self.in_time = self.released.wait(30)
        outcome = super().run(job, on_progress, stop)
        if isinstance(job.spec, ScoreSpec) and not self.released.is_set():
            self.scored.append(name)
            if len(self.scored) == self.others:
                self.released.set()
        return outcome


def test_while_one_straggles_the_other_core_does_all_that_is_certain(make_run: Callable[..., Run]) -> None:
    # seven first rungs, the three of them who are sure to be among four, and the one of those who is sure to be of two
    certain = [*range(1, 8), 5, 6, 7, 7]
    sandbox = Straggler(others=len(certain))
    measured = Lab(sandbox, make_run()).measure(candidates(GENERATION), Population())
    assert sandbox.in_time, f"a core waited after {sandbox.scored}"
    assert sorted(sandbox.scored) == sorted(f"g0c{i}" for i in certain)
    assert reached(measured)["g0c7"] == 90_000


def test_one_that_was_stopped_never_leads_one_that_was_not(make_run: Callable[..., Run]) -> None:
    """A late bloomer is stopped: that is the price."""
    run = make_run(population=4)
    scripts = ["fitness=9 late=9", "fitness=1", "fitness=2", "fitness=3"]
    measured = Lab(ScriptedSandbox(training_spread=0.0), run).measure(candidates(scripts), Population())
    assert [c.id for c in measured if not c.stopped] == ["g0c3"]
    population = run.extend(run.population(), measured)
    assert [c.id for c in population.ranked] == ["g0c3", "g0c2", "g0c1", "g0c0"]


def test_failures_on_the_way_are_states_and_a_duplicate_is_stopped_with_its_original(
    make_run: Callable[..., Run],
) -> None:
    run = make_run()
    scripts = ["verdict=time", *GENERATION[1:6]]
    same = candidates([*scripts, "", ""])[6].model_copy(update={"duplicate_of": "g0c1"})
    stillborn = candidates([*scripts, "", ""])[7].model_copy(
        update={"failure": Failure(verdict=Verdict.CODE_ERROR, message="no code block")}
    )
    measured = Lab(ScriptedSandbox(), run).measure([*candidates(scripts), same, stillborn], Population())
    assert [str(c.failure.verdict) if c.failure else "" for c in measured] == ["time", *[""] * 6, "code error"]
    assert measured[0].training is None
    assert (measured[6].stopped, measured[6].rungs, measured[6].score) == (
        True,
        measured[1].rungs,
        measured[1].score,
    )
    assert run.population(partial=True).candidates == tuple(measured)


class Halting(ScriptedSandbox):
    """Stops the search when a given number of boxes have begun."""

    def __init__(self, after: int) -> None:
        super().__init__(training_spread=0.0)
        self.after = after

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
        if len(self.started) >= self.after:
            raise KeyboardInterrupt
        return super().run(job, on_progress, stop)


@pytest.mark.parametrize("after", [3, 12, 17, 22, 27])
def test_a_race_that_was_interrupted_goes_on_to_the_same_end_and_repeats_nothing(
    after: int, make_run: Callable[..., Run]
) -> None:
    run, first, second = make_run(jobs=1), Halting(after), ScriptedSandbox(training_spread=0.0)
    with pytest.raises(KeyboardInterrupt):
        Lab(first, run).measure(candidates(GENERATION), Population())
    measured = Lab(second, run).measure(candidates(GENERATION), Population())
    whole = Lab(ScriptedSandbox(training_spread=0.0), make_run()).measure(candidates(GENERATION), Population())
    assert [(c.stopped, c.fitness, reached([c])) for c in measured] == [
        (c.stopped, c.fitness, reached([c])) for c in whole
    ]
    assert len(first.started) + len(second.started) == 2 * (8 + 4 + 2)


class Told(Silent):
    """Remembers what a person was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)


def test_rungs_of_one_training_share_one_checkpoint_which_goes_when_it_ends(make_run: Callable[..., Run]) -> None:
    """Each box but the first of a candidate goes on from what the box before it left under the candidate's id."""

    class Resting(ScriptedSandbox):
        def __init__(self) -> None:
            super().__init__(training_spread=0.0)
            self.began: list[tuple[str, int]] = []

        def run(self, job: Job, on_progress: Callable[..., None], stop: threading.Event) -> Outcome:
            if isinstance(job.spec, TrainSpec):
                meta = job.files.get("checkpoint.json")
                self.began.append((job.origin, CheckpointMeta.model_validate_json(meta).timesteps if meta else 0))
                if job.spec.stop_at:
                    left = CheckpointMeta.model_validate(meta_of(timesteps=job.spec.stop_at))
                    own = np.full(50, hash(job.origin) % 1000, np.float32)
                    on_progress(TrainingCheckpoint(left, save(arrays_of(**{"policy.parameters": own}))))
            return super().run(job, on_progress, stop)

    run, sandbox = make_run(population=4), Resting()
    watcher = Told()
    Lab(sandbox, run, watcher=watcher).measure(candidates(GENERATION[:4]), Population())
    place = f"{run.folder.name}/g0c3"
    assert [steps for origin, steps in sandbox.began if origin == place] == [0, 30_000, 60_000]
    assert watcher.told == ["racing stopped 3 of 4 trainings early and saved 150k of 360k environment steps (42%)"]
    assert list((run.folder / "checkpoints").iterdir()) == []
    assert [run.checkpoint(f"g0c{i}") for i in range(4)] == [None] * 4


def test_a_killed_race_tells_from_where_a_training_goes_on(make_run: Callable[..., Run]) -> None:
    passed: list[str] = []
    run = make_run(population=4)
    with heard_by(passed.append):
        Lab(ScriptedSandbox(), run).measure(candidates(GENERATION[:4]), Population())
    assert passed.count("training.inside") == 4 + 2 + 1
    assert passed.count("evaluation-seeds.inside") == 4 + 2 + 1
    assert passed.count("candidate.inside") == 4


def test_what_racing_left_is_verified_and_a_rung_that_was_changed_is_found(make_run: Callable[..., Run]) -> None:
    run = make_run(population=4)
    lab = Lab(ScriptedSandbox(), run)
    lab.floor()
    run.extend(run.population(), lab.measure(candidates(GENERATION[:4]), Population()))
    records = Records(run)
    assert records.mismatches == []
    assert {stored.key for stored in records.scores} >= {"g0c0/rung/0", "g0c2/rung/1", "g0c3"}
    journal = Journal(run.folder, read_only=True)
    journal.close()
    run._open.write(
        [
            (
                "UPDATE trainings SET record = replace(record, '\"seed\":', '\"seed\":1') WHERE key = ?",
                (rung_key("g0c0", 0),),
            )
        ],
        "training",
    )
    assert any("seed of its training" in str(wrong) for wrong in Records(run).mismatches)


def test_the_leaderboard_shows_a_stopped_candidate_with_its_last_rung(make_run: Callable[..., Run]) -> None:
    run = make_run(population=4)
    Lab(ScriptedSandbox(training_spread=0.0), run).measure(candidates(GENERATION[:4]), Population())
    rows = run._open.rows("SELECT id, fitness, timesteps FROM leaderboard")
    assert rows == [("g0c3", 4.0, 90_000), ("g0c2", 3.0, 60_000), ("g0c1", 2.0, 30_000), ("g0c0", 1.0, 30_000)]


def test_a_score_that_fails_at_a_rung_is_the_candidates_failure(make_run: Callable[..., Run]) -> None:
    class NoScore(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
            if isinstance(job.spec, ScoreSpec) and job.origin.endswith("g0c1"):
                return Failed(Failure(verdict=Verdict.BAD_RESULT, message="scripted"), 0.0)
            return super().run(job, on_progress, stop)

    run = make_run(population=4)
    measured = Lab(NoScore(), run).measure(candidates(GENERATION[:4]), Population())
    assert (str(measured[1].failure), measured[1].training) == ("bad result: scripted", None)
    assert run.population(partial=True).candidates == tuple(measured)


def test_the_board_counts_what_a_stopped_training_came_to(make_run: Callable[..., Run]) -> None:
    measured = Lab(ScriptedSandbox(training_spread=0.0), make_run()).measure(candidates(GENERATION), Population())
    board = Board(task="", unit="m", generations=1, trainings=8, timesteps=STEPS)
    board.generation_begins(0, measured)
    for candidate in measured:
        board.begun(candidate.id, "training")
    board.raced(measured[7].model_copy(update={"rungs": measured[7].rungs[:1]}))
    assert (board.rows["g0c7"].state, board.rows["g0c7"].share) == ("waiting", pytest.approx(1 / 3))
    for candidate in measured:
        board.ended(candidate)
    assert board.share == pytest.approx((4 / 3 + 2 * 2 / 3 + 2) / 8)
    assert board.best is not None
    assert board.best[0] == "g0c7"
    assert _halted(measured[0], STEPS) == ", stopped after 30k of 90k steps"


def test_it_is_said_why_trainings_do_not_race() -> None:
    sac = recipe(algorithm="sac", hyperparameters={}, timesteps=30_000)
    assert racing_note(Settings(), sac) == "no racing: trainings are too short for it"
    assert racing_note(Settings(racing="none"), sac) == racing_note(Settings(), recipe()) == ""
    assert racing_note(Settings(), recipe(algorithm="sac", hyperparameters={})) == ""
