"""A language model's commentary: asked for the best few, quoted, stored, and never a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from eureka_agent.contract.task import task_from_files
from eureka_agent.critique.analysis import analysed
from eureka_agent.critique.commenting import MOST, fittest
from eureka_agent.critique.reflection import reflect
from eureka_agent.errors import TaskError
from eureka_agent.lab.floor import RANDOM
from eureka_agent.llm.review import COMMENTARY_LENGTH, commentary_of
from eureka_agent.population import Brief, Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import save_episodes
from eureka_sandbox.bodies import variable_shapes
from tests.llm_cases import TASK, Log, code, search, small_run

WORDS = "It pays speed alone, so it dives.\nCharge for the fall first."


def answers(folder: Path) -> Path:
    """Rewards of rising fitness for two generations of three, and comments on some of them."""
    folder.mkdir()
    for generation in (0, 1):
        for slot in range(3):
            name = f"g{generation}c{slot}"
            own = code(name).replace(
                "return torso_x_velocity,", f"return {3 * generation + slot + 1}.0 * torso_x_velocity,"
            )
            text = f"# scripted: fitness={generation + slot}\n{own}"
            (folder / f"{name}.md").write_text(f"I pay speed.\n\n```python\n{text}```\n")
    (folder / "g0c2.comment.md").write_text(f"# Commentary\n{WORDS}\n```python\nprint(1)\n```\n")
    (folder / "g0c0.comment.md").write_text("Nobody asks for this one.")
    return folder


def test_the_best_of_a_generation_are_commented_on_once_and_the_next_prompt_quotes_it(tmp_path: Path) -> None:
    model = f"scripted:{answers(tmp_path / 'answers')}"
    with small_run(tmp_path / "run", model, population=3, analyst=True, racing="none", contest_seeds=1) as run:
        log = Log()
        search(run, log)
        population = run.population()
        assert f"g0c2: {population['g0c2'].findings[0].text}" in log.said
        assert population["g0c2"].commentary == "It pays speed alone, so it dives. Charge for the fall first."
        assert {c.id for c in population.candidates if c.commentary} == {"g0c2"}
        asked = {call.brief for call in run.calls() if call.purpose == "comment"}
        assert asked == {"g0c1", "g0c2", "g1c1", "g1c2"}
        prompt = (run.folder / "candidates" / "g1c0" / "prompt.md").read_text()
        assert "> It pays speed alone, so it dives. Charge for the fall first." in prompt
        calls = len(run.calls())
    with Run.open(tmp_path / "run") as run:
        search(run)
        assert len(run.calls()) == calls
        assert run.population() == population


def test_without_the_setting_or_without_words_nobody_is_asked(tmp_path: Path) -> None:
    model = f"scripted:{answers(tmp_path / 'answers')}"
    with small_run(tmp_path / "run", model, generations=1) as run:
        search(run)
        assert all(call.purpose == "propose" for call in run.calls())
    with small_run(tmp_path / "offline", "offline", generations=1, analyst=True) as run:
        search(run)
        assert run.calls() == ()
        assert not any(c.commentary for c in run.population().candidates)


def test_commentary_is_one_paragraph_without_code_that_hides_nothing() -> None:
    text = "# Title\nIt \u202edives.\n```python\nimport os\n```\n<!-- model: x -->\nThen it rests." + " more" * 1000
    found = commentary_of(text)
    assert found.startswith("It ⟨U+202E⟩dives. Then it rests. more")
    assert len(found) <= COMMENTARY_LENGTH
    assert "\n" not in found
    assert commentary_of("```python\nonly code\n```") == ""


def candidate(slot: int, fitness: float | None, **more: object) -> Candidate:
    brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=0)
    score = None
    if fitness is not None:
        score = Score(seeds=(0,), fitness=(fitness,), success=(False,), lengths=(9,), seconds=1.0)
    return Candidate(brief=brief, code="", score=score, **more)


def test_only_the_fittest_programs_that_trained_to_their_end_are_worth_a_call() -> None:
    born = [
        candidate(0, 1.0),
        candidate(1, None),
        candidate(2, 9.0, stopped=True),
        candidate(3, 8.0, duplicate_of="g0c0"),
    ]
    born += [candidate(4, 2.0), candidate(5, 3.0)]
    assert [c.id for c in fittest(born)] == ["g0c5", "g0c4"][:MOST]


# ------------------------------------------------------------------------------------------------------------ analysis


def recording(steps: int, speed: float) -> Episode:
    """Of the hopper's own variables, all at rest but the one that the score counts."""
    import numpy as np

    state = {
        name: np.zeros((steps + 1, *shape), np.float32) for name, shape in variable_shapes(TASK.environment).items()
    }
    state["torso_x"] = np.linspace(0.0, speed * steps * 0.008, steps + 1, dtype=np.float32)
    state["torso_x_velocity"][:] = speed
    actions = np.random.default_rng(steps).uniform(-1, 1, (steps, 3)).astype(np.float32)
    return Episode(np.zeros((steps + 1, 6)), np.zeros((steps + 1, 6)), actions, state, False, 0.008)


def scored(run: Run, *speeds: float, steps: int = 100) -> Score:
    episodes = {i: recording(steps + i, speed) for i, speed in enumerate(speeds)}
    fitness = tuple(float(e.state["torso_x"][-1]) for e in episodes.values())
    lengths = tuple(e.length for e in episodes.values())
    return Score(
        seeds=tuple(range(len(speeds))),
        fitness=fitness,
        success=(False,) * len(speeds),
        lengths=lengths,
        recorded=tuple(episodes),
        episodes=run.put_blob(save_episodes(episodes)),
        seconds=1.0,
    )


def test_a_candidate_gets_findings_against_the_floor_and_the_incumbent_and_its_behaviour(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", "offline") as run:
        run.save_score(RANDOM, scored(run, *(0.01 * i for i in range(8))))
        leader = candidate(0, None).model_copy(update={"score": scored(run, 3.0, 3.1, 3.2)})
        own = candidate(1, None).model_copy(update={"score": scored(run, 1.0, 1.1, 1.2)})
        found = analysed(own, Population(candidates=(leader,)), run)
        assert found.behaviour["speed"] == pytest.approx(1.1)
        assert found.behaviour["effort"] == pytest.approx(1 / 3, abs=0.1)
        told = {f.kind: f.text for f in found.findings}
        assert "The score is the change of torso_x" in told["progress"]
        assert "torso_x_velocity 1.1 against 3.1 m/s" in told["unlike_the_incumbent"]
        assert analysed(own, Population(candidates=(leader,)), run) == found
        assert "unlike_the_incumbent" not in {
            f.kind for f in analysed(leader, Population(candidates=(leader,)), run).findings
        }
        unscored = candidate(2, None)
        assert analysed(unscored, Population(), run) == unscored
        assert reflect(unscored, Population(), run).reflection.startswith("g0c2 (a fresh sample) failed")


def test_a_task_names_the_variables_that_tell_behaviours_apart_and_a_wrong_name_is_said_with_its_line(
    tmp_path: Path,
) -> None:
    text = TASK.files["task.yaml"].decode()
    declared = {**TASK.files, "task.yaml": f"{text}descriptors: [torso_z]\n".encode()}
    task = task_from_files("tall", tmp_path, declared, None)
    with Run.create(tmp_path / "run", task, Settings()) as run:
        own = candidate(0, None).model_copy(update={"score": scored(run, 1.0)})
        assert analysed(own, Population(), run).behaviour.keys() == {"effort", "speed", "torso_z"}
    wrong = {**TASK.files, "task.yaml": f"{text}descriptors:\n- torso_z\n- torso_zz\n".encode()}
    line = text.count("\n") + 3
    with pytest.raises(TaskError, match=rf"task.yaml:{line}: descriptors: unknown 'torso_zz'; did you mean 'torso_z'"):
        task_from_files("tall", tmp_path, wrong, None)
