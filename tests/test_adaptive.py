"""Rewards that know how far the training has come, and trainings that begin with a parent's policy."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import SMALL, files_of, train_in, train_spec
from safetensors.numpy import load, save

from eureka_agent.contract.reward_code import check_reward_code, is_scheduled
from eureka_agent.contract.task import Task, load_task, task_from_files
from eureka_agent.critique.analysis import OWN_RETURN, _component_findings, _own_return
from eureka_agent.critique.suspicions import _rungs
from eureka_agent.errors import TaskError
from eureka_agent.lab import warm as warm_module
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.prompting import Prompts
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Rung, Training
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search.contest import Incumbency, Spread, decision
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies.incumbent import Incumbent
from eureka_evaluation.components import LENGTH
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.bodies import TRAINING_PROGRESS, reward_shapes, variable_shapes
from eureka_sandbox.protocol import TrainSpec
from eureka_sandbox.worker.emit import JobFailed

TASK = load_task("hopper_forward")
FADING = """
import torch

SEEN = []

def compute_reward(pole_angle, training_progress):
    SEEN.append((training_progress.dtype, tuple(training_progress.shape), training_progress.tolist()))
    upright = 1.0 - pole_angle**2
    shaping = (1.0 - training_progress) * torch.cos(pole_angle)
    return upright + shaping, {"upright": upright, "shaping": shaping}
"""


# ----------------------------------------------------------------------------------------------- training_progress


def test_returns_of_a_reward_that_changes_over_training_are_held_against_nothing() -> None:
    curves = {"reward/shaping": [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], OWN_RETURN: [100.0, 80.0, 60.0, 40.0, 20.0, 10.0]}
    curves |= {"reward/upright": [0.9, 1.1, 1.0, 1.2, 0.8, 1.0], LENGTH: [1.0] * 6}
    brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=1)
    empty = {"seconds": 1.0, "startup_seconds": 0.0, "policy": "", "policy_meta": "", "versions": {}}
    training = Training(seed=0, timesteps=6, peak_return=100.0, peak_timesteps=1, curves=curves, **empty)
    rung = Rung(timesteps=3, fitness=1.0, own_return=100.0)
    fading = Candidate(brief=brief, code=FADING, training=training, rungs=(rung,))
    steady = fading.model_copy(update={"code": FADING.replace("training_progress", "torso_pitch")})
    assert (is_scheduled(fading.code), is_scheduled(steady.code), is_scheduled("no code")) == (True, False, False)
    assert [f.kind for f in _component_findings(steady)] == ["component_given_up"]
    assert _component_findings(fading) == ()
    assert (list(_own_return(steady)), list(_own_return(fading))) == (curves[OWN_RETURN], [])
    assert (_rungs(steady), _rungs(fading)) == (((1.0, 100.0),), ())


@pytest.mark.parametrize("learner", ["fused", "sb3"])
def test_progress_is_the_part_of_the_steps_taken_when_the_vector_step_begins(tmp_path: Path, learner: str) -> None:
    import torch

    train_in(tmp_path, train_spec("inverted_pendulum", learner=learner, total_timesteps=512), reward=FADING)
    dtypes, shapes, values = zip(*sys.modules["eureka_reward"].SEEN, strict=True)
    assert set(dtypes) == {torch.float32}
    assert set(shapes[1:]) == {(4 * 32,) if learner == "fused" else (4,)}, "a rollout or a vector step in one call"
    first_batch, *later = values
    assert first_batch == [0.0] * 4
    assert np.array_equal(np.concatenate(later), np.repeat(np.arange(128, dtype=np.float32) * 4 / 512, 4))


def test_a_fading_reward_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    spec = train_spec("inverted_pendulum", learner="sb3", total_timesteps=768)
    _, policy, sent = train_in(tmp_path / "whole", spec, reward=FADING)
    _, again, _ = train_in(tmp_path / "again", spec, files_of(sent[2]), reward=FADING)
    assert again == policy
    assert sys.modules["eureka_reward"].SEEN[1][2] == [0.5] * 4, "after the first batch it is where it was"
    constant = FADING.replace("(1.0 - training_progress)", "(1.0 - 0.0 * training_progress)")
    assert train_in(tmp_path / "other", spec, reward=constant)[1] != policy


def test_a_rung_of_a_race_sees_the_progress_of_the_whole_training(tmp_path: Path) -> None:
    spec = train_spec("inverted_pendulum", learner="sb3", total_timesteps=768, stop_at=256)
    result, _, _ = train_in(tmp_path, spec, reward=FADING)
    assert result.timesteps == 256
    assert max(values[0] for *_, values in sys.modules["eureka_reward"].SEEN) == pytest.approx(252 / 768)


def test_the_best_policy_of_a_changing_reward_is_looked_for_at_the_end(tmp_path: Path) -> None:
    falling = FADING.replace("upright + shaping,", "0.01 * upright - 50.0 * training_progress,")
    spec = train_spec("inverted_pendulum", learner="sb3", total_timesteps=1280, checkpoint_seconds=None)
    assert train_in(tmp_path, spec, reward=falling)[0].peak_timesteps >= 1024


def test_a_reward_may_name_it_and_neither_recordings_nor_fitness_have_it() -> None:
    code = "def compute_reward(torso_x_velocity, training_progress):\n    return torso_x_velocity, {}\n"
    assert check_reward_code(code, TASK.variables) is None
    assert TRAINING_PROGRESS.name not in variable_shapes(TASK.environment)
    assert reward_shapes(TASK.environment).keys() == {v.name for v in TASK.variables}
    brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=0)
    text = Prompts().compose(brief, TASK, Population()).messages[1].content
    assert f"| `training_progress` | (N,) | 1 | - | {TRAINING_PROGRESS.meaning} |" in text


def test_a_task_that_lists_its_variables_offers_it_only_if_it_says_so() -> None:
    def variables(chosen: str) -> set[str]:
        yaml = TASK.files["task.yaml"] + f"state_variables: [{chosen}]\n".encode()
        return {v.name for v in task_from_files("t", Path("t"), {**TASK.files, "task.yaml": yaml}, None).variables}

    assert variables("torso_x, actions") == {"torso_x", "actions"}
    assert variables("torso_x, training_progress") == {"torso_x", "training_progress"}


def test_a_task_cannot_derive_a_variable_of_that_name() -> None:
    derived = b"derived:\n  - {name: training_progress, unit: m, frame: world, meaning: Mine.}\n"
    files = {**TASK.files, "task.yaml": TASK.files["task.yaml"] + derived}
    with pytest.raises(TaskError, match="'training_progress' is already a state variable"):
        task_from_files("t", Path("t"), files, None)


# ------------------------------------------------------------------------------------------------------ warm start


def parent_of(folder: Path, **changes: object) -> tuple[TrainSpec, dict[str, bytes]]:
    spec = train_spec("inverted_pendulum", learner="sb3", total_timesteps=512, checkpoint_seconds=None, **changes)
    blobs = train_in(folder, spec)[1]
    return spec, {"warm.safetensors": blobs["policy.safetensors"], "warm.json": blobs["policy.json"]}


@pytest.mark.parametrize("learner", ["fused", "sb3"])
def test_a_warm_training_begins_with_the_parents_weights_and_statistics(tmp_path: Path, learner: str) -> None:
    still = SMALL | {"learning_rate": 1e-12, "normalize": True}
    spec, warm = parent_of(tmp_path / "parent", hyperparameters=SMALL | {"normalize": True})
    child = spec.model_copy(update={"hyperparameters": still, "learner": learner, "total_timesteps": 128, "seed": 9})
    _, blobs, _ = train_in(tmp_path / "child", child, warm)
    _, cold, _ = train_in(tmp_path / "cold", child)
    was, now, without = (
        load(b) for b in (warm["warm.safetensors"], blobs["policy.safetensors"], cold["policy.safetensors"])
    )
    assert was.keys() == now.keys()
    for name in was.keys() - {"normalizer.mean", "normalizer.var"}:
        np.testing.assert_allclose(now[name], was[name], rtol=1e-4, atol=1e-6)
    seen = [np.linalg.norm(policy["normalizer.var"] - was["normalizer.var"]) for policy in (now, without)]
    assert seen[0] < 0.5 * seen[1], "what the parent saw counts for more than a rollout"
    assert any(not np.allclose(without[name], was[name], rtol=0.1, atol=0.01) for name in was)


def test_a_warm_training_goes_on_from_its_checkpoint_and_never_from_a_cold_ones(tmp_path: Path) -> None:
    _, warm = parent_of(tmp_path / "parent")
    spec = train_spec("inverted_pendulum", learner="sb3", total_timesteps=512)
    _, policy, sent = train_in(tmp_path / "whole", spec, warm)
    result, again, _ = train_in(tmp_path / "again", spec, {**warm, **files_of(sent[1])})
    assert again == policy
    assert result.resumed_at == 256
    result, cold, _ = train_in(tmp_path / "cold", spec, files_of(sent[1]))
    assert result.checkpoint_note.endswith("it belongs to another reward, task, recipe or seed")
    assert cold != policy


@pytest.mark.parametrize("damage", ["another shape", "not finite", "no arrays"])
def test_a_policy_that_does_not_fit_is_named_and_not_begun_with(tmp_path: Path, damage: str) -> None:
    spec, warm = parent_of(tmp_path / "parent")
    if damage == "another shape":
        spec = spec.model_copy(update={"hyperparameters": SMALL | {"policy_kwargs": {"net_arch": [9]}}})
    elif damage == "not finite":
        arrays = load(warm["warm.safetensors"])
        warm["warm.safetensors"] = save({name: array * np.float32(np.nan) for name, array in arrays.items()})
    else:
        warm["warm.safetensors"] = b"nothing"
    with pytest.raises(JobFailed) as raised:
        train_in(tmp_path / "child", spec, warm)
    assert raised.value.failure.message.startswith("warm start: the policy to begin with does not fit: ")


class Numbered:
    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        return Proposal(code=f"# {brief.id}\n# scripted: fitness={3 * brief.generation - brief.slot}\n")


def searched(
    folder: Path, make: Callable[[], ScriptedSandbox] = ScriptedSandbox, **changes: object
) -> dict[str, set[bytes]]:
    """Which policies the trainings of each reward began with, by the reward's first line."""
    settings = Settings.model_validate({"population": 3, "generations": 2, "final_seeds": 1, "jobs": 1, **changes})
    sandbox = make()
    with Run.create(folder, TASK, settings) as run:
        lab = Lab(sandbox, run)
        lab.floor()
        evolve(run, Numbered(), Incumbent(), lab)
        began: dict[str, set[bytes]] = {}
        for job in sandbox.started:
            if isinstance(job.spec, TrainSpec):
                name = job.files["reward.py"].decode().split("\n")[0][2:]
                began.setdefault(name, set()).add(job.files.get("warm.safetensors", b""))
        for candidate in run.population().candidates:
            parents, training = candidate.brief.parents, candidate.training
            assert training is not None
            warm = parents[0] if parents and settings.warm_start else ""
            assert training.warm_start == warm
            if warm:
                parent = run.population()[warm].training
                assert parent is not None
                assert run.blob(parent.policy) in began[candidate.id]
    return began


def test_children_begin_with_their_parents_policy_and_the_comparison_from_scratch(tmp_path: Path) -> None:
    began = searched(tmp_path / "run", warm_start=True, racing="none", contest_seeds=1)
    assert all(began[name] == {b""} for name in ("g0c0", "g0c1", "g0c2"))
    (champion,) = [name for name, policies in began.items() if policies > {b""}]
    assert champion.startswith("g1"), "the winner is trained again from random weights"
    assert sum(policies != {b""} for policies in began.values()) >= 2


@pytest.mark.parametrize("key", ["g1c0", "final/human/0"])
def test_a_lineage_that_was_changed_is_found(tmp_path: Path, key: str) -> None:
    searched(tmp_path / "run", warm_start=True, racing="none", contest_seeds=1)
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert Records(run).mismatches == []
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        changed = "UPDATE trainings SET record = json_set(record, '$.warm_start', 'g0c2') WHERE key = ?"
        database.execute(changed, (key,))
    database.close()
    with Run.open(tmp_path / "run", read_only=True) as run:
        found = [str(mismatch) for mismatch in Records(run).mismatches]
    assert [line for line in found if line.startswith(f"{key}: what it began with: g0c2 is stored")]


def test_without_the_flag_every_training_begins_from_scratch(tmp_path: Path) -> None:
    assert set().union(*searched(tmp_path / "run", racing="none", contest_seeds=1).values()) == {b""}


def test_contests_train_from_scratch_whatever_the_screening_began_with(tmp_path: Path) -> None:
    kept: list[ScriptedSandbox] = []

    def make() -> ScriptedSandbox:
        kept.append(ScriptedSandbox())
        return kept[-1]

    began = searched(tmp_path / "run", make, warm_start=True, contest_seeds=2, population=4)
    assert any(name.startswith("g1") and policies > {b""} for name, policies in began.items())
    contests = [job for job in kept[0].started if isinstance(job.spec, TrainSpec) and "/seed/" in job.origin]
    assert {job.files["reward.py"].decode()[:4] for job in contests} >= {"# g0", "# g1"}
    assert all("warm.safetensors" not in job.files for job in contests)
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert Records(run).mismatches == []
        stood = run.standings()
        assert {name[:2]: standing.warm for name, standing in stood.items()} == {"g0": False, "g1": True}
        child = next(standing for standing in stood.values() if standing.warm)
        assert run.population().mean(run.candidate(child.id)) == child.mean == child.fresh


def test_a_warm_start_whose_loser_was_contested_is_verified(tmp_path: Path) -> None:
    searched(tmp_path / "run", warm_start=True, contest_seeds=3, population=4, racing="none")
    with Run.open(tmp_path / "run", read_only=True) as run:
        last = run.incumbency()
        assert last is not None
        assert any(s.warm and s.finished for s in last.standings if s.id != last.id), "its spread is over two trainings"
        assert Records(run).mismatches == []


def test_what_a_contest_says_a_screening_began_with_is_verified(tmp_path: Path) -> None:
    searched(tmp_path / "run", warm_start=True, contest_seeds=2, population=4, generations=3, racing="none")
    with Run.open(tmp_path / "run", read_only=True) as run:
        held = [run.decided(f"g{n}/incumbent", Incumbency) for n in range(3)]
    for generation, warm in ((1, True), (0, False)):
        incumbency = held[generation]
        assert incumbency is not None
        leader = incumbency.standings[0]
        assert leader.warm is warm
        key = f"g{generation}/incumbent"
        with sqlite3.connect(tmp_path / "run" / "run.db") as database:
            flip = "UPDATE decisions SET value = json_set(value, '$.standings[0].warm', json(?)) WHERE key = ?"
            database.execute(flip, (json.dumps(not warm), key))
        database.close()
        with Run.open(tmp_path / "run", read_only=True) as run:
            found = [str(mismatch) for mismatch in Records(run).mismatches]
        what = f"{key}: whether {leader.id}'s training began with its parent's policy"
        assert f"{what}: {not warm} is stored, {warm} was found" in found


def test_a_warm_start_of_a_version_whose_contests_were_warm_is_verified_by_its_own_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alike(candidate: Candidate) -> Standing:
        return Standing(id=candidate.id, screening=candidate.fitness or 0.0)

    with monkeypatch.context() as earlier:
        earlier.setattr(warm_module, "_OF_A_CANDIDATE", re.compile("(g([0-9]+)c[0-9]+)(/.*)?"))
        earlier.setattr(Standing, "screened", alike)
        searched(tmp_path / "run", warm_start=True, contest_seeds=3, population=4, racing="none")
    change = "UPDATE decisions SET value = replace(value, ',\"warm\":null', '') WHERE key LIKE 'g%/incumbent'"
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        assert database.execute(change).rowcount == 2
    database.close()
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert any(s.finished and len(s.counted) == 1 + len(s.finished) for s in run.standings().values())
        child = next(name for name in run.standings() if name.startswith("g1"))
        contested = run.training(f"{child}/seed/1")
        assert isinstance(contested, Training)
        assert contested.warm_start
        assert Records(run).mismatches == []


def test_what_a_warm_screening_promised_counts_no_more_once_there_is_a_training_from_scratch() -> None:
    warm = Standing(id="g1c0", screening=12.0, warm=True)
    assert warm.mean == 12.0
    again = warm.model_copy(update={"later": (5.0, None, 7.0)})
    assert (again.mean, again.counted, again.optimism) == (6.0, (5.0, 7.0), 6.0)
    old = Standing(id="g0c0", screening=8.0, later=(8.0, 8.0))
    kept = warm.model_copy(update={"later": (7.5, 8.0)})
    spread = Spread(squares=1.0, freedom=9)
    assert decision([kept], old, spread, 3).id == "g0c0"
    assert decision([kept.model_copy(update={"warm": False})], old, spread, 3).id == "g1c0"


def test_the_prompts_say_what_a_training_begins_with(tmp_path: Path) -> None:
    brief = Brief(id="g1c0", generation=1, slot=0, operator="sample", seed=0)
    for warm in (False, True):
        prompts = Prompts(settings=Settings(warm_start=warm))
        text = prompts.compose(brief, TASK, Population()).messages[1].content
        critic = prompts.criticise(prompts.compose(brief, TASK, Population()), "x = 1", TASK, 1).messages[0].content
        assert ("with its parent's trained policy" in text) == warm
        assert ("the policy network from scratch" in text) != warm
        assert ("from the policy of the reward it was made from" in critic) == warm
    searched(tmp_path / "run", warm_start=True, racing="none", contest_seeds=1)
    with Run.open(tmp_path / "run", read_only=True) as run:
        child = next(c for c in run.population().candidates if c.training and c.training.warm_start)
        told = Prompts().comment(child, TASK).messages[0].content
        assert f"from the policy of its parent {child.brief.parents[0]}, " in told
        assert "PPO from scratch, " in Prompts().comment(run.candidate("g0c0"), TASK).messages[0].content
