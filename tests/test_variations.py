"""Held-out variations: what box B does differently, what a task may ask for, and what a search makes of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from llm_cases import Log
from safetensors.numpy import save

from eureka_agent.contract.task import Task, builtin_tasks, load_task, task_from_files
from eureka_agent.errors import TaskError
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.variations import EPISODES, in_words, told, usual_variations, variations_of
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import load_episodes
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec, PolicyMeta, ScoreSpec, Variation
from eureka_sandbox.worker import scoring
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.policy import NumpyPolicy
from eureka_sandbox.worker.scoring import score
from eureka_sandbox.worker.variation import vary

TASK_PY = "def fitness(episode):\n    return float(abs(episode.qpos).sum())\n\ndef success(episode):\n    return True\n"


def policy_of(folder: Path, body: str) -> NumpyPolicy:
    """A linear policy with small random weights, so that actions stay within their bounds."""
    catalogue, rng = BODIES[body], np.random.default_rng(5)
    shape = (catalogue.action_size, catalogue.observation_size)
    arrays = {
        "action_net.weight": rng.normal(scale=0.02, size=shape).astype(np.float32),
        "action_net.bias": rng.normal(scale=0.1, size=shape[0]).astype(np.float32),
    }
    meta = PolicyMeta(
        algorithm="ppo",
        observation_size=shape[1],
        action_low=[-1.0] * shape[0],
        action_high=[1.0] * shape[0],
        net_arch={"pi": [], "vf": []},
        activation="tanh",
        normalise=False,
        body=body,
        timesteps=0,
    )
    (folder / "policy.safetensors").write_bytes(save(arrays))
    (folder / "policy.json").write_text(meta.model_dump_json())
    return NumpyPolicy(arrays, meta)


@pytest.fixture
def play(tmp_path: Path) -> Any:
    def run(
        variation: Variation | None, body: str = "hopper", seeds: tuple[int, ...] = (3, 4), steps: int = 12
    ) -> list[Episode]:
        (tmp_path / "task.py").write_text(TASK_PY)
        policy_of(tmp_path, body)
        environment = EnvironmentSpec(body=body, max_episode_steps=steps)
        spec = ScoreSpec(environment=environment, seeds=seeds, record_episodes=len(seeds), variation=variation)
        _, blobs = score(spec, tmp_path, Emitter(io.BytesIO()))
        return list(load_episodes(blobs["episodes.npz"]).values())

    return run


def seen(episode: Episode) -> np.ndarray:
    """What the hopper's policy sees, row by row."""
    return np.concatenate([episode.qpos[:, 1:], np.clip(episode.qvel, -10, 10)], axis=1)


def test_a_variation_that_changes_nothing_changes_nothing(play: Any) -> None:
    for same, plain in zip(play(Variation()), play(None), strict=True):
        np.testing.assert_array_equal(same.qpos, plain.qpos)
        np.testing.assert_array_equal(same.qvel, plain.qvel)


@pytest.mark.parametrize("body", BODIES)
def test_every_usual_variation_of_every_body_changes_what_happens(play: Any, body: str) -> None:
    variations = usual_variations(BODIES[body])
    steps = 40 if body == "half_cheetah" else 25  # until something slides
    plain = play(None, body, steps=steps)
    assert len(variations) >= 8
    for name, variation in variations.items():
        varied = play(variation, body, steps=steps)
        assert not np.array_equal(varied[0].qpos, plain[0].qpos), name
        assert np.isfinite(varied[0].qpos).all(), name


def test_the_model_is_as_if_it_had_been_compiled_so() -> None:
    plain, varied = Simulation("hopper", 1, 10), Simulation("hopper", 1, 10)
    vary(varied, Variation(mass=2.0, friction=0.5, damping=3.0, gravity=0.5, strength=0.25))
    was, now = plain.model, varied.model
    np.testing.assert_allclose(now.body_subtreemass, 2 * was.body_subtreemass)
    np.testing.assert_allclose(now.dof_M0 - now.dof_armature, 2 * (was.dof_M0 - was.dof_armature), rtol=1e-6)
    np.testing.assert_allclose(now.geom_friction, was.geom_friction / 2)
    np.testing.assert_allclose(now.dof_damping, 3 * was.dof_damping)
    np.testing.assert_allclose(now.opt.gravity, was.opt.gravity / 2)
    varied.reset([0], [np.random.default_rng(0)])
    varied.data[0].ctrl[:] = 1.0
    mujoco.mj_forward(now, varied.data[0])
    np.testing.assert_allclose(varied.data[0].qfrc_actuator[3:], 0.25 * was.actuator_gear[:, 0])


def test_late_actions_are_the_policys_own_of_so_many_steps_before(play: Any, tmp_path: Path) -> None:
    (episode, _) = play(Variation(delay=2))
    policy = policy_of(tmp_path, "hopper")
    assert not episode.actions[:2].any()
    np.testing.assert_allclose(episode.actions[2:], policy.act(seen(episode))[: episode.length - 2], atol=1e-6)


def test_noise_on_actions_has_the_declared_size(play: Any, tmp_path: Path) -> None:
    episodes = play(Variation(action_noise=0.1), seeds=tuple(range(16)), steps=40)
    policy = policy_of(tmp_path, "hopper")
    off = np.concatenate([e.actions - policy.act(seen(e))[:-1] for e in episodes])
    assert off.std() == pytest.approx(0.1, rel=0.1)
    assert abs(off.mean()) < 0.02


def test_noise_on_observations_reaches_the_policy_and_nothing_else(play: Any, tmp_path: Path) -> None:
    episodes = play(Variation(observation_noise=0.5), seeds=tuple(range(16)), steps=40)
    policy = policy_of(tmp_path, "hopper")
    off = np.concatenate([e.actions - policy.act(seen(e))[:-1] for e in episodes])
    weights = np.random.default_rng(5).normal(scale=0.02, size=(3, 11))
    np.testing.assert_allclose(off.std(axis=0), 0.5 * np.linalg.norm(weights, axis=1), rtol=0.15)
    np.testing.assert_allclose(episodes[0].state["torso_x"], episodes[0].qpos[:, 0].astype(np.float32))


def test_a_noisy_episode_is_the_same_whatever_is_played_beside_it(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    variation = Variation(observation_noise=0.1, action_noise=0.2, delay=1)
    together = play(variation, seeds=tuple(range(6)), steps=30)
    monkeypatch.setattr(scoring, "MAX_SIMULATORS", 2)
    in_turns = play(variation, seeds=tuple(range(6)), steps=30)
    (alone,) = play(variation, seeds=(4,), steps=30)
    for one, other in zip(together, in_turns, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(alone.qpos, together[4].qpos)
    assert not np.array_equal(together[0].actions[1], together[1].actions[1])


def test_start_states_spread_and_a_target_stays_where_it_was_drawn(play: Any) -> None:
    plain, varied = play(None, "reacher")[0], play(Variation(start=4.0), "reacher")[0]
    np.testing.assert_allclose(varied.qpos[0, :2], 4 * plain.qpos[0, :2])
    np.testing.assert_allclose(varied.qvel[0], 4 * plain.qvel[0])
    np.testing.assert_array_equal(varied.qpos[0, 2:], plain.qpos[0, 2:])


def edited(text: str) -> Task:
    task = load_task("inverted_pendulum_balance")
    yaml = task.files["task.yaml"] + text.encode()
    return task_from_files(task.name, task.folder, {**task.files, "task.yaml": yaml}, task.anchors)


def test_a_task_may_name_its_own_variations_or_none() -> None:
    own = edited("variations:\n  late: {delay: 3}\n  heavy_and_weak: {mass: 1.5, strength: 0.7}\n")
    assert variations_of(own) == {"late": Variation(delay=3), "heavy_and_weak": Variation(mass=1.5, strength=0.7)}
    assert [in_words(v) for v in variations_of(own).values()] == ["actions 3 steps late", "mass × 1.5, motors × 0.7"]
    assert variations_of(edited("variations: {}\n")) == {}
    assert all(len(variations_of(load_task(name))) >= 8 for name in builtin_tasks())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("  odd: {gravitation: 2}\n", "variations.odd.gravitation: unknown field; did you mean 'gravity'? known: mass"),
        ("  odd: {mass: 0}\n", "variations.odd.mass: Input should be greater than or equal to 0.1 (given: '0')"),
        ("  odd: {delay: soon}\n", "variations.odd.delay: Input should be a valid integer"),
        ("  Odd one: {mass: 2}\n", "variations.Odd one.[key]: String should match pattern"),
        ("  odd: {}\n", "variations: 'odd' changes nothing; give one of mass, friction"),
    ],
)
def test_a_wrong_variation_is_named_with_file_line_and_field(text: str, complaint: str) -> None:
    lines = load_task("inverted_pendulum_balance").files["task.yaml"].count(b"\n")
    with pytest.raises(TaskError) as raised:
        edited("variations:\n" + text)
    where = lines + (1 if "changes nothing" in complaint else 2)
    assert f"task.yaml:{where}: {complaint}" in str(raised.value)


class Proposals:
    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        return Proposal(code=f"# {brief.id}\n# scripted: fitness={3 + brief.slot}\n")


def search(folder: Path, sandbox: ScriptedSandbox, log: Log | None = None) -> Any:
    settings = Settings(population=2, generations=1, timesteps=128, final_seeds=1, contest_seeds=1)
    make = Run.open if folder.exists() else lambda path: Run.create(path, edited(""), settings)
    with make(folder) as run:
        lab = Lab(sandbox, run, watcher=log or Log())
        lab.floor()
        return evolve(run, Proposals(), Incumbent(), lab)


def varied_jobs(sandbox: ScriptedSandbox) -> list[ScoreSpec]:
    return [job.spec for job in sandbox.started if isinstance(job.spec, ScoreSpec) and job.spec.variation]


def test_a_search_ends_with_both_policies_in_every_variation(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(episode_spread=1.0)
    comparison = search(tmp_path / "run", sandbox)
    robustness, names = comparison.robustness, set(variations_of(edited("")))
    assert len(robustness.seeds) == EPISODES
    assert {spec.seeds for spec in varied_jobs(sandbox)} == {robustness.seeds}
    assert len(varied_jobs(sandbox)) == 2 * len(names)
    for arm in ("candidate", "human"):
        held = robustness.arm(arm)
        assert held.policy == comparison.arm(arm).policy
        assert {outcome.name for outcome in held.outcomes} == names
        assert 0 < held.drop < 1, "the scripted sandbox takes off up to 1"
        assert held.worst.mean == min(outcome.mean for outcome in held.outcomes)
        assert held.mean == pytest.approx(np.mean([outcome.mean for outcome in held.outcomes]))
    first, second = told(robustness, "s", "g0c1")
    assert first.startswith("g0c1 in 10 held-out variations: ")
    assert f"worst {robustness.arm('human').worst.mean:.2f} s" in second
    again = ScriptedSandbox()
    assert search(tmp_path / "run", again) == comparison
    assert again.started == []


def test_progress_is_told_while_the_variations_are_scored(tmp_path: Path) -> None:
    log = Log()
    search(tmp_path / "run", ScriptedSandbox(), log)
    told = [text for text in log.said if text.endswith(" of 22 scored")]
    assert sorted(told) == [f"held-out variations: {done} of 22 scored" for done in (10, 15, 20, 5)]


def test_no_variations_no_record(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox()
    with Run.create(tmp_path / "run", edited("variations: {}\n"), Settings(population=1, generations=1)) as run:
        lab = Lab(sandbox, run)
        lab.floor()
        comparison = evolve(run, Proposals(), Incumbent(), lab)
    assert comparison.robustness is None
    assert varied_jobs(sandbox) == []


@pytest.mark.parametrize("what", ["the copy", "the world"])
def test_a_changed_figure_of_a_variation_is_found(tmp_path: Path, what: str) -> None:
    import sqlite3

    search(tmp_path / "run", ScriptedSandbox(episode_spread=1.0))
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        if what == "the copy":
            database.execute(
                "UPDATE decisions SET value = json_set(value, '$.robustness.arms[0].outcomes[2].fitness[0]', 99.0) "
                "WHERE key = 'comparison/1'"
            )
        else:
            database.execute(
                "UPDATE scores SET record = json_set(record, '$.variation.mass', 1.1) WHERE key LIKE '%/heavy'"
            )
    database.close()
    with Run.open(tmp_path / "run", read_only=True) as run:
        found = [str(mismatch) for mismatch in Records(run).mismatches]
    if what == "the copy":
        (line,) = found
        assert line.startswith("comparison/1, candidate: its copy of the score in 'loose': mean ")
    else:
        assert sum("what binds it" in line for line in found) == 2
