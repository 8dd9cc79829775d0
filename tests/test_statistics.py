"""Statistics against hand-computed cases and simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from eureka_evaluation.component_findings import component_findings
from eureka_evaluation.components import component_statistics
from eureka_evaluation.episode import Episode
from eureka_evaluation.statistics import (
    _counts,
    _draw,
    interquartile_mean,
    mean_of_trainings,
    probability_of_improvement,
    selection_optimism,
)
from eureka_evaluation.trajectories import episode_facts

STORED = [
    (0.0787954574229747, -1.8573749149401761, 2.0149658297861257),
    (0.5472222222222223, 0.18616460661299172, 0.9583333190386233),
]
"""Of method 2, as runs hold them: value, low and high."""


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    scores = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 1000.0]])
    assert interquartile_mean(scores, seed=0).value == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_probability_of_improvement_counts_pairs_and_half_of_the_ties() -> None:
    x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 0.0]])
    # pairs won: 1>0, 2>0, 3>2, 3>0; tied: 2=2; of six
    assert probability_of_improvement(x, y, seed=0).value == pytest.approx(4.5 / 6)


def test_trainings_with_fewer_episodes_than_others_count_with_all_they_have() -> None:
    scores = [np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([5.0, 6.0]), np.array([1000.0])]
    # eight scores: two are cut at either end
    assert interquartile_mean(scores, seed=0).value == pytest.approx((2 + 3 + 4 + 5) / 4)
    found = probability_of_improvement(scores, [np.array([2.0]), np.array([0.0, 5.0])], seed=0)
    # above 2: 3, 4, 5, 6, 1000, and 2 ties; above 0: seven, and 0 ties; above 5: 6, 1000, and 5 ties
    assert found.value == pytest.approx((5.5 + 7.5 + 2.5) / 24)


def test_of_uneven_trainings_each_is_drawn_whole() -> None:
    """By hand: of a row of three zeros and one of a single one, the mean is 0, 1/4 or 1 with chance 1/4, 1/2, 1/4."""
    scores = [np.zeros(3), np.ones(1)]
    found = probability_of_improvement(scores, [np.array([0.5])], seed=0, resamples=4000)
    assert found.value == pytest.approx(1 / 4)
    drawn = _draw(np.array([3, 1]), 4000, np.random.default_rng(0))
    padded = np.append(np.concatenate(scores), np.nan)[drawn]
    means, often = np.unique(np.nanmean(padded, axis=1), return_counts=True)
    np.testing.assert_allclose(means, [0.0, 0.25, 1.0])
    np.testing.assert_allclose(often / 4000, [0.25, 0.5, 0.25], atol=0.03)
    np.testing.assert_allclose(_counts(drawn, 4).sum(axis=1), (drawn >= 0).sum(axis=1))


def test_uneven_rows_of_one_length_are_an_array() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(3, 7)), rng.normal(size=(5, 4))
    assert interquartile_mean(list(x), seed=1) == interquartile_mean(x, seed=1)
    assert probability_of_improvement(list(x), list(y), seed=1) == probability_of_improvement(x, y, seed=1)


def test_the_intervals_of_even_trainings_are_those_that_runs_hold() -> None:
    """`eureka verify` computes them again."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(3, 5)), rng.normal(size=(4, 6))
    found = (interquartile_mean(x, seed=2), probability_of_improvement(x, y, seed=2))
    np.testing.assert_allclose([(f.value, f.low, f.high) for f in found], STORED, rtol=1e-12)


def test_equal_arms_are_one_half_and_separate_arms_are_certain() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 10))
    same = probability_of_improvement(x, x, seed=0)
    assert same.value == pytest.approx(0.5)
    assert same.low < 0.5 < same.high
    apart = probability_of_improvement(x + 100.0, x, seed=0)
    assert (apart.value, apart.low, apart.high) == (1.0, 1.0, 1.0)


def test_improvement_of_x_over_y_and_of_y_over_x_add_up_to_one() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(3, 7)).round(1), rng.normal(0.5, 1.0, size=(5, 4)).round(1)
    forth, back = probability_of_improvement(x, y, seed=0), probability_of_improvement(y, x, seed=0)
    assert forth.value + back.value == pytest.approx(1.0)


def test_intervals_are_the_same_for_the_same_seed_only() -> None:
    scores = np.random.default_rng(3).normal(size=(5, 6))
    assert interquartile_mean(scores, seed=7) == interquartile_mean(scores, seed=7)
    assert interquartile_mean(scores, seed=7) != interquartile_mean(scores, seed=8)


def test_trainings_that_differ_widen_the_interval_though_episodes_agree() -> None:
    rng = np.random.default_rng(4)
    within = interquartile_mean(rng.normal(0.0, 1.0, size=(5, 40)), seed=0)
    between = interquartile_mean(np.repeat(rng.normal(0.0, 1.0, size=(5, 1)), 40, axis=1), seed=0)
    assert between.high - between.low > 2.0 * (within.high - within.low)


def test_one_training_gives_an_interval_over_its_episodes() -> None:
    found = interquartile_mean(np.arange(8.0)[None], seed=0)
    assert found.low < found.value == 3.5 < found.high


@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((0, 3)), np.array([[np.nan]]), [np.zeros(2), np.zeros(0)], [np.array([np.inf])]]
)
def test_scores_that_are_not_finite_trainings_by_episodes_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        interquartile_mean(bad, seed=0)


@pytest.mark.parametrize(("trainings", "at_least"), [(2, (0.92, 0.60)), (3, (0.90, 0.75)), (10, (0.92, 0.90))])
def test_intervals_hold_the_truth_about_as_often_as_the_notes_say(
    trainings: int, at_least: tuple[float, float]
) -> None:
    """Normal trainings (spread 1) of normal episodes (spread 0.3): the true IQM is 0, the true probability one half."""
    rng = np.random.default_rng(trainings)
    held, repeats = np.zeros(2), 150
    for repeat in range(repeats):
        x, y = (rng.normal(size=(trainings, 1)) + rng.normal(0.0, 0.3, size=(trainings, 10)) for _ in range(2))
        iqm = interquartile_mean(x, seed=repeat, resamples=600)
        better = probability_of_improvement(x, y, seed=repeat, resamples=600)
        held += [iqm.low <= 0.0 <= iqm.high, better.low <= 0.5 <= better.high]
    assert (held / repeats >= at_least).all(), held / repeats


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 30, 90])
def test_the_interquartile_mean_is_scipys(size: int) -> None:
    rows = np.random.default_rng(size).normal(size=(3, size))
    assert [interquartile_mean(row[None], seed=0).value for row in rows] == trim_mean(rows, 0.25, axis=1).tolist()


def test_few_trainings_give_an_interval_of_student_s_t_beyond_their_range() -> None:
    means = np.array([4.0, 5.0, 9.0])
    found = mean_of_trainings(means, seed=0, resamples=20_000)
    width = 4.302653 * means.std(ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom at 97.5 %
    assert found.low == pytest.approx(6.0 - width, abs=0.1)
    assert found.high == pytest.approx(6.0 + width, abs=0.1)
    assert found.low < means.min()


def test_a_skewed_probability_has_the_longer_side_of_its_interval_towards_one_half() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(size=(8, 6))
    found = probability_of_improvement(y + 1.5, y, seed=0)
    assert 0.5 < found.value < 1.0
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.value - found.low > 1.2 * (found.high - found.value)


def test_selection_optimism_is_what_was_promised_above_what_was_kept() -> None:
    promised, kept = np.array([17.4, 16.9, 12.0]), np.array([9.2, 5.7, 12.0])
    found = selection_optimism(promised, kept, seed=0)
    assert found.value == pytest.approx((8.2 + 11.2 + 0.0) / 3)
    assert found.low < found.value < found.high
    with pytest.raises(ValueError, match="one promise per winner"):
        selection_optimism(promised, kept[:2], seed=0)


def test_the_best_of_many_equal_rewards_promises_too_much() -> None:
    rng = np.random.default_rng(6)
    promised = rng.normal(size=(400, 16)).max(axis=1)  # selected for the best of 16 noisy figures, all of mean 0
    kept = rng.normal(size=(400, 3)).mean(axis=1)
    found = selection_optimism(promised, kept, seed=0)
    assert found.low > 1.5
    assert found.value == pytest.approx(1.77, abs=0.15)  # expected maximum of 16 standard normals


def test_components_tell_the_dead_the_constant_and_the_dominant() -> None:
    curves = {
        "rollout/ep_len_mean": [10.0, 20.0, 40.0, 40.0],
        "reward/speed": [None, 100.0, 300.0, 900.0],
        "reward/alive": [10.0, 20.0, 40.0, 40.0],
        "reward/tiny": [1e-4, 0.0, -1e-4, 0.0],
    }
    speed, alive, tiny = component_statistics(curves)
    assert (speed.name, speed.dominant, speed.constant, speed.dead) == ("speed", True, False, False)
    assert speed.values == (100.0, 300.0, 900.0)
    assert speed.trend == pytest.approx((900 - 100) / 900)
    assert (alive.name, alive.dominant, alive.constant, alive.dead) == ("alive", False, True, False)
    assert (tiny.name, tiny.constant, tiny.dead) == ("tiny", False, True)
    sizes = np.array([1300 / 3, 110 / 4, 2e-4 / 4])
    np.testing.assert_allclose([speed.share, alive.share, tiny.share], sizes / sizes.sum())


def test_a_single_component_does_not_dominate_and_no_component_is_no_trouble() -> None:
    (only,) = component_statistics({"reward/speed": [1.0, 2.0]})
    assert only.share == 1.0
    assert not only.dominant
    assert component_statistics({"rollout/ep_len_mean": [1.0]}) == ()
    assert component_statistics({"reward/silent": [None, None]}) == ()


def test_components_of_opposite_sign_do_not_cancel_and_twins_and_caps_are_told() -> None:
    rise = np.sqrt(np.arange(12.0))
    wave = np.sin(np.arange(12.0))
    curves = {
        "reward/up": (3.0 + wave).tolist(),
        "reward/down": (-3.0 - wave).tolist(),
        "reward/cap": np.minimum(rise, 1.5).tolist(),
        "reward/rise": (rise / 4).tolist(),
    }
    found = {c.name: c for c in component_statistics({key: list(values) for key, values in curves.items()})}
    assert sum(c.share for c in found.values()) == pytest.approx(1.0)
    assert found["up"].variance_share == found["down"].variance_share == pytest.approx(0.4, abs=0.15)
    assert [c.name for c in found.values() if c.saturated] == ["cap"]
    assert {c.name: c.duplicate_of for c in found.values()} == {"up": None, "down": "up", "cap": None, "rise": None}
    told = {f.kind: f.text for f in component_findings(found.values())}
    assert "down went up and down with up all along" in told["component_duplicate"]
    assert "cap rose and stayed level" in told["component_saturated"]


def test_a_bonus_that_hardly_rose_is_not_saturated_and_a_cost_that_grew_and_stayed_is_only_called_costlier() -> None:
    curves = {
        "reward/alive": [0.47, 0.48, 0.49, 0.49, 0.495, 0.496, 0.4965, 0.4965, 0.4965],
        "reward/low": [0.0, -0.01, -0.05, -0.1, -0.13, -0.139, -0.14, -0.1402, -0.1401],
    }
    found = component_statistics({key: list(values) for key, values in curves.items()})
    assert [c.name for c in found if c.saturated] == ["low"]
    assert [f.kind for f in component_findings(found) if f.text.startswith("low")] == ["component_costlier"]
    by_design = [f.kind for f in component_findings(found, scheduled=True)]
    assert by_design == ["component_dominant"], "what falls by design was not given up by the policy"


def test_a_component_as_large_as_numbers_get_has_its_share() -> None:
    huge, usual = component_statistics({"reward/huge": [1e308, -1e308, 1e308], "reward/usual": [1.0, 2.0, 3.0]})
    assert (huge.name, huge.share, huge.variance_share) == ("huge", pytest.approx(1.0), pytest.approx(1.0))
    assert usual.dead


def test_episode_facts_tell_ranges_and_the_end() -> None:
    actions = np.zeros((4, 2), dtype=np.float32)
    state = {
        "torso_x": np.array([0.0, 1.0, 3.0, 2.0, 2.0], dtype=np.float32),
        "joint_angles": np.zeros((5, 2), dtype=np.float32),
    }
    empty = np.zeros((5, 1))
    facts = episode_facts(Episode(empty, empty, actions, state, terminated=True, dt=0.5))
    assert (facts.steps, facts.seconds, facts.terminated) == (4, 2.0, True)
    torso, *joints = facts.ranges
    assert (torso.name, torso.first, torso.last, torso.low, torso.high, torso.mean) == ("torso_x", 0, 2, 0, 3, 1.6)
    assert [r.name for r in joints] == ["joint_angles[0]", "joint_angles[1]"]


def test_the_mean_of_trainings_has_an_interval_beyond_the_range_of_a_plain_bootstrap() -> None:
    means = np.array([12.4, 6.1, 14.9, 18.7, 18.8])
    interval = mean_of_trainings(means, seed=0)
    plain = np.quantile(np.random.default_rng(0).choice(means, size=(5000, 5)).mean(axis=1), [0.025, 0.975])
    assert interval.value == pytest.approx(means.mean())
    assert interval.low < plain[0] < plain[1] < interval.high
    assert mean_of_trainings(means, seed=0) == interval
