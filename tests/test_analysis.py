"""The trajectory analysis finds what was planted in synthetic episodes, and stands any episode at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eureka_evaluation.analysis import Recorded, Subject, Variable, analyse, behaviour, subject_of, tracks_of
from eureka_evaluation.episode import Episode
from eureka_evaluation.finding import Finding
from eureka_evaluation.gait import period
from eureka_evaluation.phases import change_points
from eureka_evaluation.progress import carrier

DT = 0.02
VARIABLES = (
    Variable("torso_x", "m", "position", "world"),
    Variable("torso_pitch", "rad", "angle", "world"),
    Variable("torso_x_velocity", "m/s", "velocity", "world"),
    Variable("joint_angles", "rad", "angle", "joint"),
    Variable("foot_contacts", "1", "contact", "-"),
    Variable("target_distance", "m", "distance", "world"),
)
RNG = np.random.default_rng(0)
WHICH = re.compile(r"\b(worst|median|best|recorded|scored) episode|recorded terminal states|worst to best episode")


def episode(steps: int, actions: NDArray[np.float64] | None = None, terminated: bool = False, **state: Any) -> Episode:
    """State variables as given, `(…, steps + 1)`, with the rows first; a number stands for a constant."""
    given = {name: np.asarray(values, np.float32) for name, values in state.items()}
    arrays = {name: np.full(steps + 1, v) if v.ndim == 0 else np.moveaxis(v, -1, 0).copy() for name, v in given.items()}
    empty = np.zeros((steps + 1, 1))
    used = RNG.uniform(-0.5, 0.5, (steps, 2)) if actions is None else actions
    return Episode(empty, empty, used.astype(np.float32), arrays, terminated, DT)


def subject(
    *episodes: Episode,
    fitness: Sequence[float],
    success: Sequence[bool] | None = None,
    floor: Recorded | None = None,
    limit: int = 500,
    **more: object,
) -> Subject:
    made = subject_of(
        dict(enumerate(episodes)),
        fitness,
        success or [False] * len(fitness),
        [e.length for e in episodes] + [limit] * (len(fitness) - len(episodes)),
        limit,
        VARIABLES,
        floor,
        **more,  # type: ignore[arg-type]
    )
    assert made is not None
    return made


def floor_of(*episodes: Episode, fitness: Sequence[float]) -> Recorded:
    return Recorded.of(tracks_of(dict(enumerate(episodes)), fitness), fitness)


def wander(steps: int, columns: int = 1, size: float = 1.0) -> NDArray[np.float64]:
    walked: NDArray[np.float64] = size * RNG.standard_normal((steps + 1, columns)).cumsum(axis=0) / np.sqrt(steps)
    return walked.squeeze()


def random_play(count: int = 8, steps: int = 200) -> Recorded:
    """Aimless motion: the score is the way that was made by chance."""
    made = []
    for _ in range(count):
        x = wander(steps, size=0.3)
        made.append(
            episode(
                steps,
                RNG.uniform(-1, 1, (steps, 2)),
                torso_x=x,
                torso_pitch=wander(steps, size=0.2),
                torso_x_velocity=np.gradient(x, DT),
                joint_angles=wander(steps, 2).T,
            )
        )
    fitness = [float(e.state["torso_x"][-1] - e.state["torso_x"][0]) for e in made]
    return floor_of(*made, fitness=fitness)


def walk(steps: int = 500, speed: float = 1.0, stops_at: int | None = None, stride: float = 25.0) -> Episode:
    """A steady walk whose joints swing once per stride, up to a step after which nothing moves."""
    t = np.arange(steps + 1)
    t = t if stops_at is None else np.minimum(t, stops_at)
    swing = np.sin(2 * np.pi * t / stride)
    return episode(
        steps,
        0.3 * np.stack([swing[1:], -swing[1:]], axis=1),
        torso_x=speed * DT * t,
        torso_pitch=0.02 * swing,
        torso_x_velocity=speed * (np.arange(steps + 1) == t),
        joint_angles=np.stack([swing, -swing]),
    )


def way(e: Episode) -> float:
    return float(e.state["torso_x"][-1] - e.state["torso_x"][0])


def kinds(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Findings by kind; whichever test they are of, each says which episodes it is of."""
    assert [f.text for f in findings if not WHICH.search(f.text)] == []
    return {f.kind: f for f in findings}


# ------------------------------------------------------------------------------------------------------------- endings


def fallen(steps: int, at: float = 0.3) -> Episode:
    """Upright, then in the last 15 steps the pitch runs away, its rate 5 steps earlier."""
    pitch = np.concatenate([0.02 * np.sin(np.arange(steps + 1 - 15) / 5), np.linspace(0.03, at, 15)])
    rate = np.concatenate([0.1 * np.sin(np.arange(steps + 1 - 20) / 7), np.linspace(0.3, 2.0, 20)])
    x = np.arange(steps + 1) * DT
    return episode(steps, torso_x=x, torso_pitch=pitch, pitch_rate=rate, terminated=True)


def test_a_planted_fall_is_found_with_its_bound_its_time_and_what_went_before() -> None:
    found = kinds(analyse(subject(fallen(180), fallen(200), fallen(240), fitness=[3.6, 4.0, 4.8])))
    cause = found["terminal_cause"]
    assert "torso_pitch above 0.2" in cause.text
    assert cause.numbers["seconds"] == pytest.approx(180 * DT)
    assert cause.numbers["pitch_rate_lead_seconds"] == pytest.approx(20 * DT, abs=2 * DT)
    assert found["ends_early"].numbers["share"] == 1.0


def test_a_declared_terminal_rule_is_told_and_not_what_happened_to_be_extreme_as_well() -> None:
    episodes = [fallen(steps, at=0.3 + steps / 1000) for steps in (180, 200, 240)]
    for e in episodes:
        e.state["height"] = np.linspace(1.2, 0.69, e.length + 1, dtype=np.float32)
    healthy = {"height": (0.7, float("inf")), "torso_pitch": (-2.0, 2.0)}
    (cause,) = [
        f for f in analyse(subject(*episodes, fitness=[3.6, 4.0, 4.8], healthy=healthy)) if f.kind == "terminal_cause"
    ]
    assert cause.text.startswith("3 of 3 recorded terminal states came with height below 0.7: after 3.6 s in the worst")
    assert cause.numbers["value"] == pytest.approx(0.69)
    assert cause.numbers["torso_pitch_lead_seconds"] == pytest.approx(15 * DT, abs=3 * DT)


def test_terminal_states_by_different_rules_are_counted_apart_and_one_by_none_is_put_down_to_none() -> None:
    episodes = [fallen(180), fallen(200), fallen(240, at=-0.3), fallen(260, at=0.15)]
    healthy = {"torso_pitch": (-0.2, 0.2)}
    found = analyse(subject(*episodes, fitness=[3.6, 4.0, 4.8, 5.2], healthy=healthy))
    causes = [f for f in found if f.kind == "terminal_cause"]
    assert [f.numbers["episodes"] for f in causes] == [2, 1]
    assert [f.text.split(":")[0] for f in causes] == [
        "2 of 4 recorded terminal states came with torso_pitch above 0.2 rad",
        "1 of 4 recorded terminal states came with torso_pitch below -0.2 rad",
    ]
    assert "after 3.6 s in the worst of them" in causes[0].text
    assert "after 4.8 s in one episode" in causes[1].text, "neither the worst, nor the median, nor the best"
    (cause,) = [
        f for f in analyse(subject(fallen(260, at=0.15), fitness=[5.2], healthy=healthy)) if f.kind == "terminal_cause"
    ]
    assert "by no bound that is known" in cause.text


def test_a_way_that_ends_at_its_farthest_point_is_no_cause() -> None:
    for e in (cause := kinds(analyse(subject(fallen(180), fallen(200), fitness=[3.6, 4.0])))).values():
        assert "torso_x above" not in e.text
    assert "terminal_cause" in cause


def test_the_worst_episode_is_described_beside_the_median_one() -> None:
    worst, middle, best = fallen(60), walk(500), walk(500, 1.1)
    state = {name: middle.state[name] for name in ("torso_x", "torso_pitch")}
    middle = replace(middle, state=state | {"pitch_rate": np.zeros(501, np.float32)})
    best = replace(best, state={n: best.state[n] for n in state} | {"pitch_rate": np.zeros(501, np.float32)})
    fitness = [way(worst), way(middle), way(best)]
    text = kinds(analyse(subject(worst, middle, best, fitness=fitness)))["worst_episode"].text
    assert "ends in a terminal state after 1.2 s" in text
    assert "the median one runs to the time limit (10 s)" in text


def test_it_says_what_the_failures_have_in_common() -> None:
    many = subject(walk(), walk(100), fitness=[9.0, 9.5, 9.6, 8.0], success=[True, False, True, True])
    short = replace(many, lengths=np.array([500, 100, 500, 500]))
    text = kinds(analyse(short))["some_success"].text
    assert "75% of the scored episodes succeed" in text
    assert "100% of the failures have at least the fitness of a success (8)" in text
    assert "100% of them end early" in text


# ------------------------------------------------------------------------------------------------------------ progress


@pytest.mark.parametrize(
    ("label", "summary", "score"),
    [
        ("torso_x", "change", way),
        ("torso_pitch", "last", lambda e: -3.0 * float(e.state["torso_pitch"][-1])),
        ("torso_x_velocity", "mean", lambda e: float(e.state["torso_x_velocity"].mean())),
        ("torso_pitch", "highest", lambda e: float(e.state["torso_pitch"].max())),
    ],
)
def test_the_variable_that_the_score_is_made_of_is_recognised(label: str, summary: str, score: object) -> None:
    tracks = random_play(10).tracks
    assert callable(score)
    episodes = [
        episode(
            t.steps,
            torso_x=t.column("torso_x"),
            torso_pitch=t.column("torso_pitch"),
            torso_x_velocity=t.column("torso_x_velocity"),
        )
        for t in tracks
    ]
    found = carrier(subject(*episodes, fitness=[score(e) for e in episodes], limit=200))
    assert found is not None
    assert (found.label, found.summary, found.exact) == (label, summary, True)


def test_a_score_that_no_variable_carries_is_not_put_down_to_one() -> None:
    tracks = random_play(10).tracks
    episodes = [episode(t.steps, torso_x=t.column("torso_x")) for t in tracks]
    found = carrier(subject(*episodes, fitness=RNG.standard_normal(10).tolist(), limit=200))
    assert found is not None
    assert not found.exact


def test_a_rest_is_found_with_its_time_and_its_pose_and_the_time_that_it_costs() -> None:
    episodes = [walk(500, speed, stops_at=200) for speed in (0.9, 1.0, 1.1)]
    for e in episodes:
        e.state["torso_pitch"][150:] = 3.0
    found = kinds(analyse(subject(*episodes, fitness=[way(e) for e in episodes], floor=random_play())))
    rest = found["comes_to_rest"]
    assert rest.numbers["seconds"] == pytest.approx(200 * DT, abs=12 * DT)
    assert "torso_pitch stays near 3 rad (at the reset 0)" in rest.text
    assert rest.weight > 0.8
    assert found["progress"].numbers["time_lost"] == pytest.approx(0.6, abs=0.06)
    assert found["turned_away"].numbers["share"] == pytest.approx(0.7, abs=0.02)


def test_a_walk_to_the_end_neither_rests_nor_is_stuck() -> None:
    episodes = [walk(500, speed) for speed in (0.9, 1.0, 1.1)]
    found = kinds(analyse(subject(*episodes, fitness=[way(e) for e in episodes], floor=random_play())))
    assert not found.keys() & {
        "comes_to_rest",
        "stuck",
        "ends_early",
        "terminal_cause",
        "missing_exploration",
        "turned_away",
    }
    assert found["progress"].numbers["early_rate"] == pytest.approx(1.0, rel=0.05)


def test_a_target_that_is_reached_and_left_again_is_told() -> None:
    t = np.arange(101)
    leaving = (0.5, 0.9, 1.0, 1.1, 1.2, 1.7)
    distances = [0.02 + np.maximum(40 - t, rate * (t - 40)) / RNG.uniform(80, 120) for rate in leaving]
    episodes = [episode(100, target_distance=d) for d in distances]
    found = kinds(analyse(subject(*episodes, fitness=[-float(d[-1]) for d in distances], limit=100)))
    assert found["not_held"].numbers["best_at"] == pytest.approx(40 * DT)


@pytest.mark.parametrize(
    ("offset", "formula"), [(0.0, "minus the last"), (5.0, "minus the last target_distance plus 5")]
)
def test_the_score_is_told_with_its_sign_and_its_offset(offset: float, formula: str) -> None:
    distances = [np.linspace(1.0 + end**2, end, 101) for end in (0.1, 0.2, 0.35, 0.4, 0.5, 0.7)]
    episodes = [episode(100, target_distance=d) for d in distances]
    found = carrier(subject(*episodes, fitness=[offset - float(d[-1]) for d in distances], limit=100))
    assert found is not None
    assert found.formula.startswith(formula)


def test_levels_that_nobody_would_tell_apart_are_no_phases() -> None:
    speed = np.concatenate([np.full(30, 0.2), np.full(30, 0.82), np.full(340, 0.83), np.full(101, 0.84)])
    e = episode(500, torso_x_velocity=speed + 5e-3 * RNG.standard_normal(501))
    found = kinds(
        analyse(subject(e, fitness=[1.0], floor=floor_of(episode(500, torso_x_velocity=wander(500)), fitness=[0.0])))
    )
    assert found["phases"].text.startswith(
        "The median episode has 2 phases, by the means of torso_x_velocity: 0 to 0.6 s"
    )


def test_phases_are_cut_where_the_levels_jump() -> None:
    levels = np.concatenate([np.zeros(30), np.full(50, 4.0), np.full(20, -2.0)])[:, None]
    assert change_points(levels + 0.3 * RNG.standard_normal((100, 1))) == [30, 80]
    assert change_points(RNG.standard_normal((100, 3))) == []


# -------------------------------------------------------------------------------------------------------------- motion


@pytest.mark.parametrize("stride", [7.5, 25.0, 60.0])
def test_the_period_of_a_gait_is_found(stride: float) -> None:
    found = kinds(analyse(subject(walk(500, stride=stride), fitness=[10.0])))["rhythm"]
    assert found.numbers["period_seconds"] == pytest.approx(stride * DT, rel=0.03)
    assert found.numbers["regularity"] > 0.8


def test_noise_has_no_rhythm_and_a_flutter_is_called_vibration() -> None:
    noise = period(RNG.standard_normal((400, 3)))
    assert noise is None or noise[1] < 0.5
    assert "vibrates" in kinds(analyse(subject(walk(500, stride=3.0), fitness=[10.0])))


def test_contacts_are_counted() -> None:
    down = (np.arange(501) % 50) < 15
    e = episode(500, foot_contacts=np.stack([down, np.zeros(501)]))
    found = kinds(analyse(subject(e, fitness=[1.0])))
    assert found["contacts"].numbers["foot_contacts[0]_duty"] == pytest.approx(0.3, abs=0.02)
    assert "(1 touch-downs per second)" in found["contacts"].text
    pair = episode(500, foot_contacts=np.stack([down, np.roll(down, 25)]))
    assert "they touch in turn" in kinds(analyse(subject(pair, fitness=[1.0])))["contacts"].text
    assert "foot_contacts[1] hardly ever touches" in found["unused_feet"].text


def test_whole_turns_are_counted_with_their_sign() -> None:
    e = episode(400, torso_pitch=np.linspace(0.0, -7.0 * np.pi, 401))
    assert kinds(analyse(subject(e, fitness=[3.5])))["turns"].numbers["median"] == pytest.approx(-3.5)


def test_saturation_chatter_and_idle_actuators_are_seen() -> None:
    bang = np.where(RNG.random((300, 2)) < 0.5, -1.0, 1.0)
    found = kinds(analyse(subject(episode(300, bang, torso_x=0.0), fitness=[0.0])))
    assert found["saturated_actions"].numbers["at_bounds"] == 1.0
    assert "chatter" in found
    floor = random_play()
    half = np.stack([np.sin(np.arange(200) / 9), np.full(200, 0.25)], axis=1)
    e = replace(walk(200), actions=half.astype(np.float32))
    found = kinds(analyse(subject(e, fitness=[4.0], floor=floor, limit=200)))
    assert "actions[1] at 0.25" in found["idle_actuators"].text
    assert "saturated_actions" not in found


# --------------------------------------------------------------------------------------------------------- exploration


@pytest.mark.parametrize(
    ("own_return", "kind"),
    [
        (5.0 + 0.5 * RNG.standard_normal(30), "missing_exploration"),
        (np.linspace(0.0, 100.0, 30), "pays_for_something_else"),
        ([], "missing_exploration"),
    ],
)
def test_a_failure_says_whether_learning_never_began_or_aimed_elsewhere(own_return: object, kind: str) -> None:
    floor = random_play(8)
    again = random_play(3)
    episodes = [
        episode(
            t.steps,
            t.actions,
            False,
            **{name: t.of(name).squeeze().T for name in ("torso_x", "torso_pitch", "torso_x_velocity", "joint_angles")},
        )
        for t in again.tracks
    ]
    tame = [replace(e, state={n: 0.5 * v for n, v in e.state.items()}) for e in episodes]
    fitness = [way(e) for e in tame]
    found = analyse(subject(*tame, fitness=fitness, floor=floor, limit=200, own_return=own_return))
    assert found[0].kind == kind


def test_a_score_well_on_the_way_to_the_human_rewards_is_better_than_random_play_that_spreads_widely() -> None:
    floor = floor_of(
        *[episode(50, torso_x=wander(50)) for _ in range(6)], fitness=[-0.30, -0.2, -0.1, -0.05, -0.02, -0.01]
    )
    episodes = [episode(50, torso_x=wander(50)) for _ in range(3)]
    for human, told in ((0.0, False), (10.0, True)):
        made = subject(*episodes, fitness=[-0.15, -0.03, -0.02], floor=floor, limit=50, human=human)
        assert bool(kinds(analyse(made)).keys() & {"no_better_than_random", "missing_exploration"}) is told


def test_without_a_success_it_is_told_how_far_the_best_came_towards_the_human_reward() -> None:
    floor = floor_of(*[episode(50, torso_x=wander(50)) for _ in range(2)], fitness=[-1.0, 1.0])
    played = episode(50, torso_x=wander(50))
    goal = "what the human reward reached when the task was measured"
    for human, said in (
        (20.0, f"; the best came 25% of the way from random play to {goal}, 20."),
        (4.0, f"; the best is beyond {goal}, 4."),
        (-1.0, ", median 5."),  # a human reward below random play is no measure
        (None, ", median 5."),
    ):
        found = kinds(analyse(subject(played, fitness=[5.0], floor=floor, limit=50, human=human)))
        assert found["no_success"].text.endswith(said)


def test_a_score_far_above_random_play_is_no_failure_of_exploration() -> None:
    episodes = [walk(speed=s) for s in (0.9, 1.0, 1.1)]
    made = subject(*episodes, fitness=[way(e) for e in episodes], floor=random_play(), own_return=np.zeros(30))
    assert not kinds(analyse(made)).keys() & {"missing_exploration", "pays_for_something_else", "no_better_than_random"}


# ----------------------------------------------------------------------------------------------- comparison, behaviour


def test_the_incumbents_episode_is_set_beside_it() -> None:
    slow, fast = walk(speed=0.5, stride=50.0), walk(speed=2.0)
    best = tracks_of({0: fast}, [20.0])
    text = kinds(analyse(subject(slow, fitness=[5.0], incumbent=best)))["unlike_the_incumbent"].text
    assert "torso_x_velocity 0.5 against 2 m/s" in text
    assert "the joints' period is 1 against 0.501 s" in text
    assert "like_the_incumbent" in kinds(analyse(subject(fast, fitness=[20.0], incumbent=best)))


def test_behaviour_is_effort_speed_and_what_the_task_declares() -> None:
    full = np.ones((500, 2)) * np.where(np.arange(500) % 2, 1.0, -1.0)[:, None]
    e = replace(walk(speed=1.5), actions=full.astype(np.float32))
    found = behaviour(subject(e, fitness=[15.0]), ["torso_pitch", "joint_angles", "unknown"])
    assert found["effort"] == pytest.approx(1.0)
    assert found["speed"] == pytest.approx(1.5)
    assert found.keys() == {"effort", "speed", "torso_pitch", "joint_angles"}


# ------------------------------------------------------------------------------------------------------ any task at all


def odd_episodes() -> list[Episode]:
    def of(steps: int, terminated: bool, scale: float) -> Episode:
        grid = RNG.standard_normal((2, 3, steps + 1)) * scale
        return episode(steps, grid=grid, blob=scale, flag=RNG.integers(0, 2, steps + 1), terminated=terminated)

    return [of(1, True, 1.0), of(2, False, 1e30), of(7, True, 0.0), of(1000, False, 1e-30), of(64, True, 1e5)]


@pytest.mark.parametrize("with_floor", [False, True])
def test_a_task_of_unknown_variables_is_analysed_whatever_its_episodes_hold(with_floor: bool) -> None:
    episodes = odd_episodes()
    floor = floor_of(*episodes, fitness=[0.0, 1.0, 2.0, 1e12, -5.0]) if with_floor else None
    for some in ([0], [1], [2], [3, 4], [0, 1, 2, 3, 4]):
        chosen = [episodes[i] for i in some]
        for fitness in ([0.0] * len(chosen), [float(i) * 1e9 for i in some]):
            made = subject(*chosen, fitness=fitness, floor=floor, own_return=[None, 1.0])
            findings = analyse(made)
            assert findings
            assert findings == analyse(made)
            assert all(np.isfinite(value) for value in behaviour(made, ["grid", "flag"]).values())
            for finding in findings:
                assert 0.0 <= finding.weight <= 1.0
                assert finding.text.endswith(".")
                assert "\n" not in finding.text
                assert all(np.isfinite(value) for value in finding.numbers.values())
            assert [f.weight for f in findings] == sorted((f.weight for f in findings), reverse=True)


def test_an_episode_without_state_variables_or_none_recorded_is_no_error() -> None:
    assert analyse(subject(episode(50), fitness=[1.0]))
    assert subject_of({}, [1.0], [True], [10], 10) is None
