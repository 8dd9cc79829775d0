"""Rewards that were written before, in the same words or in others: linked to the first one, told, and not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eureka_agent.contract.reward_code import HASHED
from eureka_agent.contract.task import Task, load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.gates import examine_code
from eureka_agent.llm.prompting import Prompts
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score
from eureka_agent.runs.run import Run
from eureka_agent.search.duplicates import TOLERANCE, linked, packed, program_of
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failure, TrainSpec, Verdict

TASK = load_task("hopper_forward")
CODE = """# scripted: fitness={fitness} behaves={behaves}
def compute_reward(torso_x_velocity):
    {name} = torso_x_velocity
    return {name}, {{"{name}": {name}}}
"""
PRINT = np.random.default_rng(0).normal(size=256)


def candidate(slot: int, fingerprint: object = None, **fields: object) -> Candidate:
    brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=slot)
    code = f"def compute_reward(torso_x):\n    return {slot}.0 * torso_x, {{}}\n"
    values = packed(fingerprint) if fingerprint is not None else ""  # type: ignore[arg-type]
    return Candidate.model_validate({"brief": brief, "code": code, "fingerprint": values, **fields})


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create(tmp_path / "run", TASK, Settings(population=3, generations=2, contest_seeds=1)) as opened:
        yield opened


def links(run: Run, *candidates: Candidate, before: tuple[Candidate, ...] = ()) -> list[str]:
    return [c.likeness for c in linked(run, candidates, Population(candidates=before))]


def test_another_text_that_pays_the_same_on_every_probe_is_linked(run: Run) -> None:
    noise = 0.5 * TOLERANCE * np.median(np.abs(PRINT[:128]))
    assert links(run, candidate(0, PRINT), candidate(1, PRINT + noise)) == ["", "behaves as g0c0"]
    assert links(run, candidate(1, PRINT), before=(candidate(0, PRINT),)) == ["behaves as g0c0"]


@pytest.mark.parametrize(
    "other",
    [PRINT + np.eye(256)[200] * 3 * TOLERANCE * np.abs(PRINT).max(), 2 * PRINT, PRINT[:40], None],
    ids=["differs on one probe", "a multiple", "other probes", "not tried"],
)
def test_what_pays_otherwise_anywhere_is_a_reward_of_its_own(run: Run, other: object) -> None:
    assert links(run, candidate(0, PRINT), candidate(1, other)) == ["", ""]


def test_what_far_states_pay_does_not_drown_what_recorded_ones_pay(run: Run) -> None:
    far = np.where(np.arange(256) < 128, 1.0, 1e12)
    other = PRINT + 0.1 * (np.arange(256) < 128)
    assert links(run, candidate(0, PRINT * far), candidate(1, other * far)) == ["", ""]


def test_what_a_terminal_state_pays_does_not_drown_what_the_others_pay(run: Run) -> None:
    end = np.where(np.arange(256) == 3, -1000.0, 0.0)
    usual, weight = np.linspace(0.5, 1.0, 256), np.linspace(1.0, 6.0, 256)
    assert links(run, candidate(0, usual - 1e-3 * weight + end), candidate(1, usual - 2e-3 * weight + end)) == ["", ""]


def test_a_failed_reward_or_one_that_is_linked_itself_is_nobodys_original(run: Run) -> None:
    failed = candidate(0, PRINT, failure=Failure(verdict=Verdict.TIME, message="too slow"))
    link = candidate(1, PRINT, duplicate_of="g0c0", behaves_alike=True)
    assert links(run, candidate(2, PRINT), before=(failed, link)) == [""]


def test_the_same_program_is_called_that_and_not_like_in_behaviour(run: Run) -> None:
    first = candidate(0, PRINT)
    copy = candidate(1, PRINT, code=first.code.replace(":\n", ":  # the same\n"))
    assert links(run, copy, before=(first,)) == ["is the same program as g0c0"]


def test_a_program_is_recognised_by_its_stored_hash_and_in_old_runs_by_its_code(run: Run) -> None:
    (fresh,) = linked(run, [candidate(0)], Population())
    assert fresh.program == program_of(candidate(0))
    assert program_of(candidate(0, program=f"{HASHED}known")) == f"{HASHED}known"


def test_a_repeat_is_found_in_a_run_whose_hashes_an_earlier_version_wrote(run: Run) -> None:
    code = "def compute_reward(torso_x):\n    {0} = 2.0 * torso_x\n    return {0}, {{}}\n"
    earlier = candidate(0, code=code.format("paid"), program="5" * 64)
    assert links(run, candidate(1, code=code.format("gait")), before=(earlier,)) == ["is the same program as g0c0"]


class Rewrites:
    """Every candidate is in words of its own, and all behave as `behaves` says."""

    def __init__(self, behaves: Callable[[Brief], float]) -> None:
        self.behaves = behaves
        self.lab: Lab | None = None

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        assert self.lab is not None
        code = CODE.format(fitness=3 + brief.slot, behaves=self.behaves(brief), name=f"term_{brief.id}")
        return examine_code(code, task, self.lab.smoke).proposal


def test_what_behaves_as_an_earlier_reward_is_not_trained_and_the_model_is_told(run: Run) -> None:
    proposer, sandbox = Rewrites(lambda brief: float(brief.slot > 0)), ScriptedSandbox()
    proposer.lab = Lab(sandbox, run)
    evolve(run, proposer, Incumbent(), proposer.lab)
    population = run.population()
    assert [c.likeness for c in population.candidates] == [
        "",
        "",
        "behaves as g0c1",
        "behaves as g0c0",
        "behaves as g0c1",
        "behaves as g0c1",
    ]
    trained = [job.files["reward.py"] for job in sandbox.started if isinstance(job.spec, TrainSpec)]
    assert not any(b"term_g1" in code or b"term_g0c2" in code for code in trained)
    assert [c.id for c in population.ranked] == ["g0c1", "g0c0"]
    twin = population["g1c0"]
    assert isinstance(twin.score, Score)
    assert twin.score == population["g0c0"].score
    assert "behaves as g0c0, and was not trained again" in twin.reflection
    brief = Brief(id="g2c0", generation=2, slot=0, operator="sample", seed=0)
    text = Prompts().compose(brief, TASK, population).messages[1].content
    assert "g1c0 (behaves as g0c0)" in text
    child = brief.model_copy(update={"operator": "mutate", "parents": ("g0c1",)})
    for strategy, asked, told in (("eureka", child, True), ("eureka", brief, False), ("zero_shot", brief, False)):
        prompts = Prompts(settings=Settings(strategy=strategy))
        said = prompts.compose(asked, TASK, population).messages[1].content
        assert ("g1c0 (behaves as g0c0)" in said) is told, "independent samples are told of nothing"
