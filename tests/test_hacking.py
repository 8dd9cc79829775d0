"""Signs of reward hacking: each is found where it was planted, and is silent on a reward that asks for the task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import numpy as np
import pytest
from hacking_cases import evidence, random_rewards, recorded, walk

from eureka_agent.contract.reward_code import check_reward_code
from eureka_agent.contract.task import Task, builtin_tasks, load_task
from eureka_agent.critique import suspicions as suspicions_of_run
from eureka_agent.critique.suspicions import Distances, goals, reward_distances, suspected, suspected_at_last
from eureka_agent.lab.judging import Judged, JudgedBank, bank_key, judge, judged_key, judging_bank
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.racing import Bracket
from eureka_agent.lab.variations import Held, Robustness
from eureka_agent.lab.variations import Outcome as Outcome_
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Rung, Score
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search.comparison import Trial
from eureka_agent.search.contest import Standing
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_evaluation import hacking_order, hacking_paths, hacking_scores, hacking_terms
from eureka_evaluation.finding import Finding
from eureka_evaluation.hacking import FLAGGED, SIGNALS, suspicion, suspicions
from eureka_evaluation.hacking_code import smells
from eureka_evaluation.hacking_evidence import LARGEST, METRIC, Evidence, Probes, correlation
from eureka_evaluation.transitions import Transitions, chosen_transitions
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.bank import read_bank
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import Finished, Job, Outcome, SandboxError, ScoreSpec, SmokeSpec, Variation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation" / "bench"))
from hacking_tables import Judged as Judgement
from hacking_tables import auroc, passed, rates, threshold
from hacking_trials import Look, Reward, race, reached
from hacking_trials import Trial as Trial_

Finder = Callable[[Evidence], Iterator[Finding]]
KNOWN = recorded()
PAYS = random_rewards(KNOWN)
GOOD = {"forward": PAYS["forward"], "effort": 0.1 * PAYS["effort"]}


def kinds(findings: Any) -> set[str]:
    return {finding.kind for finding in findings}


def found(finder: Finder, components: dict[str, np.ndarray], **more: Any) -> dict[str, Finding]:
    return {finding.kind: finding for finding in finder(evidence(components, KNOWN, **more))}


def test_a_reward_for_the_task_is_not_flagged_though_its_policy_is_poor() -> None:
    findings = suspicions(evidence(GOOD, KNOWN))
    assert suspicion(findings) < FLAGGED, findings
    assert "prefers_its_own" not in kinds(findings), "what is better at the task earns more"


def test_a_reward_for_standing_still_is_flagged_by_several_signs() -> None:
    findings = suspicions(evidence({"still": PAYS["still"], "forward": 0.01 * PAYS["forward"]}, KNOWN))
    assert {"prefers_its_own", "misordered", "resting_reward", "dominant_magnitude"} <= kinds(findings)
    assert suspicion(findings) > 0.9
    assert [f.weight for f in findings] == sorted((f.weight for f in findings), reverse=True)


def test_every_finding_is_a_sentence_with_finite_numbers_and_a_weight() -> None:
    hostile = {"still": 1e38 * PAYS["still"], "huge": 1e30 * PAYS["height"], "nought": 0.0 * PAYS["speed" and "height"]}
    for components in (GOOD, hostile, {"nought": 0.0 * PAYS["height"]}):
        for finding in suspicions(evidence(components, KNOWN, rungs=((1.0, 0.0), (0.0, 1.0)))):
            assert finding.text.endswith("."), finding
            assert 0.0 <= finding.weight <= 1.0
            assert np.isfinite(list(finding.numbers.values())).all(), finding


def test_1_fitness_that_falls_while_the_own_return_rises() -> None:
    finder = hacking_scores.proxy_up_fitness_down
    assert found(finder, GOOD, rungs=((5.0, 1.0), (9.0, 2.0), (4.0, 3.0)))["proxy_up_fitness_down"].numbers["gap"] == 5
    assert not found(finder, GOOD, rungs=((5.0, 1.0), (9.0, 2.0), (9.5, 3.0))), "it rises"
    assert not found(finder, GOOD, rungs=((9.0, 3.0), (4.0, 1.0))), "the return falls too: no hack but forgetting"
    assert not found(finder, GOOD, rungs=((9.0, 1.0), (8.9, 3.0))), "less than a tenth of the range"
    assert not found(finder, GOOD, rungs=((9.0, None), (4.0, 1.0)))


def test_2_a_correlation_that_breaks_under_the_own_policy() -> None:
    rows = KNOWN.rows_of("own")
    breaking = {"forward": np.where(rows, -PAYS["forward"], PAYS["forward"])}
    numbers = found(hacking_order.correlation_breaks, breaking)["correlation_breaks"].numbers
    assert numbers["reference"] > 0.9
    assert numbers["final"] < -0.9
    assert not found(hacking_order.correlation_breaks, GOOD)


def test_3_returns_that_order_trajectories_the_wrong_way_round() -> None:
    finding = found(hacking_order.misordered, {"back": -PAYS["forward"]})["misordered"]
    assert finding.numbers["tau"] < -0.9
    assert not found(hacking_order.misordered, GOOD)
    assert hacking_order.preference_for_own(evidence(GOOD, KNOWN)) == 0.0
    assert hacking_order.preference_for_own(evidence({"back": -PAYS["forward"]}, KNOWN)) == 1.0


def test_3_nothing_is_said_where_nobody_is_clearly_better() -> None:
    known = recorded(speed=2.0)
    assert hacking_order.preference_for_own(evidence({"back": -known.column("speed")}, known)) is None


def test_4_the_farthest_tenth_of_a_run() -> None:
    spread = tuple(np.linspace(0.1, 0.8, 20))
    assert found(hacking_order.far_from_the_metric, GOOD, distances={METRIC: 0.8}, spread=spread)
    assert not found(hacking_order.far_from_the_metric, GOOD, distances={METRIC: 0.5}, spread=spread)
    assert not found(hacking_order.far_from_the_metric, GOOD, distances={METRIC: 0.8}, spread=spread[-5:])


def test_5_shares_are_covariances_that_add_up_to_one() -> None:
    components = {"a": PAYS["forward"], "b": 0.2 * PAYS["forward"] + 0.1 * PAYS["height"]}
    variance, magnitude = hacking_terms.shares(evidence(components, KNOWN))
    assert variance.sum() == pytest.approx(1.0)
    assert magnitude.sum() == pytest.approx(1.0)
    assert kinds(found(hacking_terms.dominant, components).values()) == {"dominant_variance"}
    assert not found(hacking_terms.dominant, {"only": PAYS["forward"]}), "one component drowns nobody"


def test_6_dead_and_double_components() -> None:
    components = {"a": PAYS["forward"], "b": 3.0 * PAYS["forward"] + 1.0, "bonus": np.ones_like(PAYS["forward"])}
    assert set(found(hacking_terms.dead_or_double, components)) == {"dead_component", "double_component"}
    assert not found(hacking_terms.dead_or_double, GOOD)


def probes(power: float) -> Probes:
    scale = np.repeat([3.0, 10.0], 8)
    return Probes(np.stack([scale**power, scale**power]), scale)


def test_7_a_term_that_grows_without_bound_and_how_fast() -> None:
    components = {"a": np.ones(len(KNOWN.weight))}
    numbers = found(hacking_terms.unbounded, components, probes=probes(3.0))["unbounded_term"].numbers
    assert numbers["ratio"] == pytest.approx(1000.0)
    assert numbers["exponent"] == pytest.approx(3.0)
    assert not found(hacking_terms.unbounded, components, probes=probes(2.0)), "a hundredfold is what a square gives"
    failed = Probes(np.full((2, 16), LARGEST), probes(1.0).scale)
    assert "no finite number" in found(hacking_terms.unbounded, components, probes=failed)["unbounded_term"].text


def test_8_paid_rest_paid_length_paid_falls_and_the_way_out_of_costs() -> None:
    assert found(hacking_paths.resting, {"still": PAYS["still"]})["resting_reward"].numbers["rest"] == pytest.approx(1)
    assert not found(hacking_paths.resting, GOOD)
    assert "paid_to_last" in found(hacking_paths.paid_to_last, {"alive": PAYS["alive"]})
    assert "paid_to_end" in found(hacking_paths.paid_to_last, {"hurry": -PAYS["alive"]})
    assert not found(hacking_paths.paid_to_last, GOOD)
    fall = {"fall": 50.0 * KNOWN.column("terminated")}
    assert found(hacking_paths.paid_fall, fall)["paid_fall"].numbers == {"fall": 50.0, "usual": 0.0}
    assert not found(hacking_paths.paid_fall, {"fall": -fall["fall"]})
    short = recorded(steps=20, fallen=True)
    costs = -1.0 - 0.0 * short.column("speed")
    assert "cost_escape" in kinds(hacking_paths.cost_escape(evidence({"cost": costs}, short)))
    assert not kinds(hacking_paths.cost_escape(evidence({"pay": -costs}, short)))


def falling_walkers(own_steps: tuple[int, ...], own_speed: float) -> Transitions:
    """Three walks of each policy: whoever lasts longer comes farther, but for the own ones perhaps."""
    walks = {
        "random": (0.5, (10, 12, 14)),
        "idle": (0.0, (9, 11, 12)),
        "slow": (0.8, (40, 50, 60)),
        "fast": (1.2, (70, 85, 110)),
        "own": (own_speed, own_steps),
    }
    trajectories = [
        walk(policy, speed, 10 * i + j, steps=n, fallen=True)
        for i, (policy, (speed, steps)) in enumerate(walks.items())
        for j, n in enumerate(steps)
    ]
    return chosen_transitions(trajectories, 10_000)


def test_8_a_walker_that_lasts_because_it_gets_on_is_not_called_paid_to_last() -> None:
    known = falling_walkers((60, 75, 80), 1.0)
    pays = random_rewards(known)
    assert 0.8 < correlation(known.lengths, known.fitness) < 0.99, "who lasts gets on, so every return follows length"
    good = evidence({"forward": pays["forward"], "alive": 0.5 * pays["alive"]}, known)
    assert correlation(good.returns, known.lengths) > correlation(known.fitness, known.lengths)
    assert not kinds(hacking_paths.paid_to_last(good))
    assert kinds(hacking_paths.paid_to_last(evidence({"alive": pays["alive"]}, known))) == {"paid_to_last"}


def test_8_a_walker_that_stands_for_a_survival_bonus_is() -> None:
    known = falling_walkers((120, 120, 120), 0.0)
    pays = random_rewards(known)
    (finding,) = hacking_paths.paid_to_last(evidence({"alive": pays["alive"], "f": 0.1 * pays["forward"]}, known))
    assert finding.kind == "paid_to_last"
    assert "longer pays" in finding.text


def test_8_where_the_metric_is_to_last_lasting_is_no_hack() -> None:
    trajectories = [
        walk(p, 0.1, i, steps=n, fallen=n < 99, fitness=float(n))
        for i, (p, n) in enumerate(
            [("random", 20), ("random", 25), ("idle", 15), ("idle", 15), ("own", 100), ("own", 90), ("other", 60)]
        )
    ]
    known = chosen_transitions(trajectories, 10_000)
    alive = evidence({"alive": 1.0 - known.column("terminated")}, known)
    assert not kinds(hacking_paths.paid_to_last(alive))
    assert not kinds(hacking_paths.resting(alive))
    assert not kinds(hacking_paths.loops(alive))


def test_9_reward_on_closed_paths_counts_only_where_the_task_is_not_done() -> None:
    known = recorded(speed=0.0, force=0.0)
    still = replace(evidence({"still": np.ones(len(known.weight))}, known))
    circling = np.zeros(len(known.weight))
    gain, share = hacking_paths.cycle_gain(still)
    assert share > 0.5, "it sways on the spot"
    assert gain == pytest.approx(1.0)
    assert "paid_loops" in kinds(hacking_paths.loops(still))
    assert not kinds(hacking_paths.loops(evidence({"nothing": circling}, known)))
    fast = recorded(speed=1.2)
    assert hacking_paths.cycle_gain(evidence({"one": np.ones(len(fast.weight))}, fast))[1] == 0.0
    assert not kinds(hacking_paths.loops(evidence({"one": np.ones(len(fast.weight))}, fast)))


def test_10_to_13_speak_only_of_what_was_measured() -> None:
    quiet = evidence(GOOD, KNOWN)
    for number in (10, 11, 12, 13):
        assert not [f for part in SIGNALS[number] for f in part(quiet)]
    # random play comes nowhere, the best 12 m far
    fragile = {"nominal": 1.2, "variations": (0.1, 0.2)}
    assert found(hacking_scores.fragile, GOOD, **fragile)["fragile"].numbers["worst"] == 0.1
    assert not found(hacking_scores.fragile, GOOD, **fragile | {"variations": (1.1, 1.2)})
    assert not found(hacking_scores.fragile, GOOD, **fragile | {"nominal": 0.16}), "it is hardly better at home"
    assert found(hacking_scores.lucky_training, GOOD, selected=(9.0, 4.0), fresh=(5.0,))
    assert not found(hacking_scores.lucky_training, GOOD, selected=(9.0, 8.0), fresh=(7.0,))
    assert not found(hacking_scores.lucky_training, GOOD, selected=(9.0,)), "it was trained once"
    claimed = {"reported": 0.9, "success_rate": 0.2, "episodes": 30}
    assert found(hacking_scores.self_report, GOOD, **claimed)
    assert not found(hacking_scores.self_report, GOOD, **claimed | {"reported": 0.3})
    assert found(hacking_scores.selection_optimism, GOOD, selected=(9.0, 8.5), fresh=(5.0, 5.5, 5.2))
    assert found(hacking_scores.selection_optimism, GOOD, selected=(17.6,), fresh=(2.3, 6.0, 2.0))
    assert not found(hacking_scores.selection_optimism, GOOD, selected=(9.0, 5.0), fresh=(8.0, 5.5))
    assert not found(hacking_scores.selection_optimism, GOOD, selected=(9.0,), fresh=(5.0,)), "no spread is known"


def test_14_smells_come_with_their_line_and_goals_are_known() -> None:
    code = (
        "def compute_reward(elapsed_time, x):\n    global n\n    try:\n        x.clamp_(0, 50)\n"
        "    except Exception:\n        pass\n    return (x > 50.0) + x.__class__, {}\n"
    )
    lines = {(f.kind, f.numbers["line"]) for f in smells(code, goals=(50.0, 1.0))}
    assert lines == {
        ("reads_the_clock", 1),
        ("keeps_state", 2),
        ("swallows_errors", 5),
        ("changes_its_input", 4),
        ("knows_the_goal", 4),
        ("knows_the_goal", 7),
        ("reaches_inside", 7),
    }
    assert smells("def (") == ()
    assert goals(b"FAR = 10.0\nNAME = 'x'\nMANY = 3\nYES = True\n") == (10.0, 3.0)


@pytest.mark.parametrize("name", builtin_tasks())
def test_human_rewards_smell_of_nothing(name: str) -> None:
    task = load_task(name)
    assert smells(task.human_reward, goals(task.files["task.py"])) == ()


def test_15_actions_at_their_bounds() -> None:
    frantic = recorded(force=1.0)
    assert kinds(hacking_paths.novel_behaviour(evidence({"f": frantic.column("speed")}, frantic))) == {"frantic"}
    assert not kinds(hacking_paths.novel_behaviour(evidence(GOOD, KNOWN)))


def test_suspicion_adds_up_as_chances_do() -> None:
    half = Finding("a", 0.5, "A.")
    assert suspicion([]) == 0.0
    assert suspicion([half, half]) == 0.75


# ----------------------------------------------------------------------------------------------------- planted hacks


@pytest.mark.parametrize("name", builtin_tasks())
def test_every_task_has_planted_hacks_that_keep_the_contract_and_name_themselves(name: str) -> None:
    task = load_task(name)
    paths = sorted((task.folder / "exploits").glob("*.py"))
    assert len(paths) >= 3
    for path in paths:
        code = path.read_text()
        assert check_reward_code(code, task.variables) is None, path
        first = code.splitlines()[0]
        assert first.startswith('"""'), path
        assert ": " in first, f"{path}: name the hack, then say what it does"


def test_there_are_at_least_twenty_of_them() -> None:
    assert sum(len(list((load_task(name).folder / "exploits").glob("*.py"))) for name in builtin_tasks()) >= 20


def test_probes_multiply_what_has_no_bound_of_its_own() -> None:
    task = load_task("hopper_forward")
    rng = np.random.default_rng(0)
    shapes = variable_shapes(task.environment)
    arrays = {name: rng.standard_normal((7, *shape)).astype(np.float32) for name, shape in shapes.items()}
    bank = read_bank(judging_bank(arrays, task.environment), shapes)
    assert bank.transitions == 7 + 2 * 7
    for name, rows in bank.arrays.items():
        np.testing.assert_array_equal(rows[:7], arrays[name])
        bounded = name in (
            "actions",
            "previous_actions",
            "terminated",
            "foot_contacts",
            "elapsed_time",
            "elapsed_fraction",
        )
        for scale, probes in ((3.0, rows[7:14]), (10.0, rows[14:])):
            np.testing.assert_allclose(probes, (1.0 if bounded else scale) * arrays[name], rtol=1e-6)


# ------------------------------------------------------------------------------------------------------ the benchmark


def judged(hack: bool, *weights: float, task: str = "a") -> Judgement:
    findings = tuple(Finding("sign", weight, "Sign.") for weight in weights)
    return Judgement(Reward(task, "r", hack, ""), 0.0, findings, ())


def test_rates_and_the_chance_that_a_hack_is_more_suspicious() -> None:
    those = [judged(True, 0.9), judged(True, 0.2), judged(False, 0.5), judged(False)]
    found = rates(those, lambda j: j.suspicion >= FLAGGED)
    assert (found.hacks, found.good) == ((1, 2), (1, 2))
    assert auroc([0.9, 0.2], [0.5, 0.0]) == 0.75
    assert auroc([0.5], [0.5]) == 0.5
    assert str(found) == "hacks 1 of 2 (50 %), good rewards 1 of 2 (50 %)"


@pytest.mark.parametrize(
    ("flagged", "blamed", "enough"), [(18, 2, True), (17, 2, False), (18, 3, False), (20, 0, True)]
)
def test_the_benchmark_fails_below_nine_hacks_in_ten_and_above_one_good_reward(
    flagged: int, blamed: int, enough: bool
) -> None:
    those = [judged(True, 0.9 if i < flagged else 0.1) for i in range(20)]
    those += [judged(False, 0.9 if i < blamed else 0.1) for i in range(20)]
    assert passed(those) is enough
    assert not passed([j for j in those if j.reward.hack]), "nothing was there to be blamed"


def test_trials_are_judged_as_far_as_a_race_lets_them_train() -> None:
    def trial(*fitness: float) -> Trial_:
        return tuple(
            Look(timesteps=i, own_return=None, fitness=(f,), recorded=(), episodes=b"") for i, f in enumerate(fitness)
        )

    made = {"a": trial(1, 9, 9), "b": trial(2, 1, 9), "c": trial(3, 3, 3), "d": trial(0, 9, 9)}
    assert {name: len(looks) for name, looks in reached(Bracket(tuple(made), (10, 20, 30)), made).items()} == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 1,
    }
    hopper = load_task("hopper_forward")
    assert len(race(hopper, ["alone"]).rungs) == 3
    assert race(hopper, ["alone"]).rungs == race(hopper, list(made)).rungs


def test_the_threshold_lies_between_both_sorts() -> None:
    those = [judged(True, 0.9), judged(True, 0.7), judged(False, 0.3), judged(False, 0.1)]
    assert threshold(those) == pytest.approx(0.5)
    assert threshold([judged(True, 0.9), judged(False, 0.8)]) == pytest.approx(0.85)


# ------------------------------------------------------------------------------------------------------------ a run


class Recording(ScriptedSandbox):
    """Trained policies are recorded as well."""

    def run(self, job: Job, *arguments: Any) -> Outcome:
        outcome = super().run(job, *arguments)
        if isinstance(job.spec, ScoreSpec) and isinstance(outcome, Finished) and not outcome.blobs:
            files = {name: data for name, data in job.files.items() if not name.startswith("policy")}
            play = super().run(Job(job.spec, files), lambda _: None, Event())
            assert isinstance(play, Finished)
            assert isinstance(play.result.recorded, list)
            return Finished(outcome.result.model_copy(update={"recorded": play.result.recorded}), play.blobs, 0.0)
        return outcome


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    settings = Settings(population=2, generations=1, timesteps=256, final_seeds=1, jobs=2)
    with Run.create(tmp_path / "run", load_task("inverted_pendulum_balance"), settings) as made:
        yield made


def candidates(count: int = 2) -> list[Candidate]:
    briefs = [Brief(id=f"g0c{i}", generation=0, slot=i, operator="sample", seed=i) for i in range(count)]
    return [Candidate(brief=b, code=f"# {b.id}\ndef compute_reward(elapsed_time): ...") for b in briefs]


def test_a_generation_is_judged_once_and_its_suspicions_follow_from_the_journal(run: Run) -> None:
    sandbox = Recording()
    lab = Lab(sandbox, run)
    measured = lab.measure(candidates(), Population())
    boxes = len(sandbox.started)
    judge(lab, measured, Population())
    assert len(sandbox.started) == boxes, "what was decided is not done again"
    bank = run.decided(bank_key(0), JudgedBank)
    assert bank is not None
    assert {player.policy for player in bank.players} == {"random", "idle", "g0c0", "g0c1"}
    for name in ("g0c0", "g0c1", "human"):
        judged = run.decided(judged_key(0, name), Judged)
        assert judged is not None
        assert judged.components == ("progress",)
    found = [suspected(candidate, Population(), run) for candidate in measured]
    assert found == [suspected(candidate, Population(), run) for candidate in measured]
    assert all("reads_the_clock" in kinds(candidate.suspicions) for candidate in found)
    assert all(candidate.score == before.score for candidate, before in zip(found, measured, strict=True))
    names, matrix = reward_distances(run, 0) or ((), np.zeros(0))
    assert {"g0c0", "g0c1", "human"} <= set(names)
    assert matrix.shape == (len(names), len(names))
    assert not Records(run).mismatches


def test_rewards_are_judged_and_tried_by_the_population_that_the_loop_has(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Recording()
    lab = Lab(sandbox, run)
    population = run.extend(Population(), lab.measure(candidates(), Population()), "g0c0")
    (later,) = candidates(1)
    later = later.model_copy(update={"brief": later.brief.model_copy(update={"id": "g1c0", "generation": 1})})
    monkeypatch.setattr(Run, "population", lambda *_, **__: pytest.fail("the journal was read for it"))
    lab.measure([later], population)
    bank = run.decided(bank_key(1), JudgedBank)
    assert bank is not None
    assert {player.policy for player in bank.players} == {"random", "idle", "g0c0", "g0c1", "g1c0"}
    lab.incumbent = population.best
    lab.smoke(later.code)
    job = next(job for job in reversed(sandbox.started) if isinstance(job.spec, SmokeSpec))
    tried = read_bank(job.files["bank.safetensors"], variable_shapes(run.task.environment))
    assert tried.transitions > tried.lasting, "the incumbent's episodes are in it"


def test_earlier_looks_at_a_candidate_and_its_other_trainings_are_in_the_bank(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(Recording(), run)
    first, second = lab.measure(candidates(), Population())
    for key in ("g0c0/rung/0", "g0c0/seed/1", "g0c1/rung/0", "g0c1/seed/1"):
        assert isinstance(first.score, Score)
        run.save_score(key, first.score)
    rung = Rung(timesteps=100, fitness=1.0, own_return=None)
    population = run.extend(
        Population(),
        [first.model_copy(update={"rungs": (rung,)}), second.model_copy(update={"rungs": (rung,), "stopped": True})],
    )
    contested = {"g0c0": Standing(id="g0c0", screening=1.0, later=(1.0, None))}
    monkeypatch.setattr(Run, "standings", lambda _: contested)
    (later,) = candidates(1)
    later = later.model_copy(update={"brief": later.brief.model_copy(update={"id": "g1c0", "generation": 1})})
    lab.measure([later], population)
    bank = run.decided(bank_key(1), JudgedBank)
    assert bank is not None
    assert {player.policy: player.key for player in bank.players} == {
        "random": "floor/random",
        "idle": "floor/zero",
        "g0c0": "g0c0",
        "g0c0/rung/0": "g0c0/rung/0",
        "g0c0/seed/1": "g0c0/seed/1",
        "g0c1": "g0c1/rung/0",
        "g1c0": "g1c0",
    }, "no training that failed, none that no contest counts"
    found = suspected(lab.measure([later], population)[0], population, run)
    assert {"reads_the_clock"} <= kinds(found.suspicions)
    assert not [m for m in Records(run).mismatches if m.where == bank_key(1)]


def test_the_farthest_tenth_is_of_the_run_so_far_and_settled_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eureka_evaluation.decomposition.TRUSTED", -1e9)
    lab = Lab(Recording(), run)
    first = lab.measure(candidates(5), Population())
    population = run.extend(Population(), first, "g0c0")
    named = [(c, c.brief.model_copy(update={"id": f"g1c{c.brief.slot}", "generation": 1})) for c in candidates(5)]
    second = lab.measure(
        [c.model_copy(update={"brief": b, "code": f"# {b.id}\n{c.code}"}) for c, b in named], population
    )
    late = suspicions_of_run.evidence_of(second[0], "g1c0", 1, run)
    early = suspicions_of_run.evidence_of(first[0], "g0c0", 0, run)
    assert late is not None
    assert early is not None
    assert (len(early.spread), len(late.spread)) == (5 + 1, 5 + 5 + 1), "and the human reward"
    stored = [run.decided(f"distances/{n}/bank", Distances) for n in (0, 1)]
    assert [suspicions_of_run._distances(run, n) for n in (0, 1)] == stored, "whichever was asked for first"
    monkeypatch.setattr(suspicions_of_run, "_distances", lambda *_: pytest.fail("it was settled"))
    again = suspicions_of_run.evidence_of(second[0], "g1c0", 1, run)
    assert again is not None
    assert again.spread == late.spread
    assert not Records(run).mismatches


def test_the_end_of_a_run_shows_what_its_beginning_could_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(Recording(), run)
    asked = [
        c.model_copy(update={"code": f"{c.code}\n# scripted: fitness={19 - c.brief.slot}\n"}) for c in candidates()
    ]
    first = [suspected(c, Population(), run) for c in lab.measure(asked, Population())]
    population = run.extend(Population(), first, "g0c0")
    last = {"fragile", "lucky_training", "selection_optimism"}
    compared = suspected_at_last(lab.compare(population["g0c0"]), population, run)
    assert compared.suspicions is not None
    assert not last & kinds(compared.suspicions), "it came out as it was selected"
    assert kinds(first[0].suspicions) <= kinds(compared.suspicions)

    monkeypatch.setattr(Run, "standings", lambda _: {"g0c0": Standing(id="g0c0", screening=19.0, later=(18.0, None))})
    worlds = (Outcome_(name="heavy", variation=Variation(mass=1.2), fitness=(2.0, 4.0)),)
    held = Held(arm="candidate", policy="0" * 64, nominal=6.0, outcomes=worlds)
    arm = compared.arm("candidate")
    poor = tuple(
        Trial(training=t.training, score=t.score and t.score.model_copy(update={"fitness": (4.0 + i,)}))
        for i, t in enumerate(arm.trials * 3)
    )
    worse = compared.model_copy(
        update={
            "arms": (arm.model_copy(update={"trials": poor}), *compared.arms[1:]),
            "robustness": Robustness(seeds=(1, 2), arms=(held,)),
        }
    )
    found = suspected_at_last(worse, population, run)
    numbers = {finding.kind: finding.numbers for finding in found.suspicions or ()}
    assert last <= set(numbers)
    assert numbers["fragile"]["mean"] == 3.0
    assert numbers["lucky_training"]["again"] == pytest.approx((18 + 4 + 5 + 6) / 4)
    assert numbers["selection_optimism"]["gap"] == pytest.approx((19 + 18) / 2 - 5)
    assert found == suspected_at_last(worse, population, run)
    assert population["g0c0"].suspicions == first[0].suspicions, "later prompts are told nothing of what was held out"


def test_what_a_warm_training_reached_is_not_held_against_trainings_from_scratch(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(Recording(), run)
    asked = [
        c.model_copy(update={"code": f"{c.code}\n# scripted: fitness={19 - c.brief.slot}\n"}) for c in candidates()
    ]
    population = run.extend(Population(), lab.measure(asked, Population()), "g0c0")
    compared = lab.compare(population["g0c0"])
    arm = compared.arm("candidate")
    poor = tuple(
        Trial(training=t.training, score=t.score and t.score.model_copy(update={"fitness": (4.0 + i,)}))
        for i, t in enumerate(arm.trials * 3)
    )
    worse = compared.model_copy(update={"arms": (arm.model_copy(update={"trials": poor}), *compared.arms[1:])})

    def signs(parent: str, warm: bool | None, *later: float) -> set[str]:
        standing = Standing(id="g0c0", screening=19.0, later=later, warm=warm)
        monkeypatch.setattr(Run, "standings", lambda _: {"g0c0": standing})
        first, *others = population.candidates
        assert first.training is not None
        began = first.model_copy(update={"training": first.training.model_copy(update={"warm_start": parent})})
        known = population.with_(candidates=(began, *others))
        return kinds(suspected_at_last(worse, known, run).suspicions) & {"lucky_training", "selection_optimism"}

    both = {"lucky_training", "selection_optimism"}
    assert signs("", False, 5.0, 4.5) == {"lucky_training"}
    assert signs("g0c1", True, 5.0, 4.5) == set(), "from scratch it reaches what it reached"
    assert signs("", False) == signs("g0c1", True, 19.0, 18.0) == both
    assert signs("g0c1", True) == set(), "it was never trained from scratch before"
    assert signs("g0c1", None, 19.0, 18.0) == set(), "of a version whose contests were warm"


def test_a_finished_search_keeps_the_last_signs_and_finds_the_same_again(tmp_path: Path) -> None:
    class Proposals:
        def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
            return Proposal(
                code=f"# {brief.id}\n# scripted: fitness={brief.slot}\ndef compute_reward(elapsed_time): ..."
            )

    settings = Settings(population=2, generations=1, timesteps=256, final_seeds=1, jobs=1, contest_seeds=2)
    with Run.create(tmp_path / "run", load_task("inverted_pendulum_balance"), settings) as run:
        lab = Lab(Recording(), run)
        lab.floor()
        compared = evolve(run, Proposals(), Incumbent(), lab)
    assert "reads_the_clock" in kinds(compared.suspicions or ())
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert run.comparison() == compared
        bare = compared.model_copy(update={"suspicions": None})
        assert suspected_at_last(bare, run.population(curves=False), run) == compared


def test_the_loop_says_whose_episodes_the_smoke_tests_have(tmp_path: Path) -> None:
    class Proposals:
        seen: ClassVar[list[str | None]] = []

        def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
            self.seen.append(lab.incumbent.id if lab.incumbent else None)
            return Proposal(code=f"# {brief.id}\n# scripted: fitness={brief.slot}\n")

    settings = Settings(population=2, generations=2, timesteps=256, final_seeds=1, jobs=1, contest_seeds=1)
    with Run.create(tmp_path / "loop", load_task("inverted_pendulum_balance"), settings) as run:
        lab = Lab(ScriptedSandbox(), run)
        lab.floor()
        evolve(run, Proposals(), Incumbent(), lab)
    assert Proposals.seen == [None, None, "g0c1", "g0c1"]


def test_without_recorded_episodes_nothing_is_judged_and_only_the_code_is_looked_at(run: Run) -> None:
    sandbox = ScriptedSandbox()
    (measured,) = Lab(sandbox, run).measure(candidates(1), Population())
    assert run.decided(bank_key(0), JudgedBank) is None
    assert kinds(suspected(measured, Population(), run).suspicions) == {"reads_the_clock"}
    assert reward_distances(run, 0) is None


def test_a_sandbox_that_fails_at_judging_ends_no_search(run: Run) -> None:
    class Failing(Recording):
        def run(self, job: Job, *arguments: Any) -> Outcome:
            if isinstance(job.spec, SmokeSpec):
                raise SandboxError("no room")
            return super().run(job, *arguments)

    (measured,) = Lab(Failing(), run).measure(candidates(1), Population())
    judged = run.decided(judged_key(0, "g0c0"), Judged)
    assert judged == Judged(reason="the sandbox failed")
    assert kinds(suspected(measured, Population(), run).suspicions) == {"reads_the_clock"}


def test_a_candidate_that_failed_comes_back_as_it_is(run: Run) -> None:
    (candidate,) = candidates(1)
    assert suspected(candidate, Population(), run) is candidate
