"""Reward distances against numbers worked out by hand, and the changes of a reward that must not count."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hacking_cases import random_rewards, recorded, walk

from eureka_evaluation.decomposition import metric_per_step
from eureka_evaluation.distances import epic_matrix, features, starc_matrix
from eureka_evaluation.epic import canonically_shaped, epic_distance, pearson_distance
from eureka_evaluation.starc import sampled_canonical, standardised, starc_distance, val, val_potential, value
from eureka_evaluation.tac import alignment, kendall_tau_b
from eureka_evaluation.transitions import chosen_transitions

HALF = 0.5
# Two states, two actions: 0 stays, 1 changes to the other state. Staying in state 1 pays 1, everything else nothing.
STAY = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
PAYS = np.zeros((2, 2, 2))
PAYS[1, 0, 1] = 1.0
UNIFORM = np.full((2, 2), HALF)


def shaped(reward: np.ndarray, potential: np.ndarray, gamma: float) -> np.ndarray:
    return reward + gamma * potential[None, None, :] - potential[:, None, None]


def test_the_value_of_a_policy_is_the_one_worked_out_by_hand() -> None:
    # V1 = 1/2 + (V0 + V1)/4 and V0 = (V0 + V1)/4 give V0 = 1/4, V1 = 3/4 with discount 1/2
    np.testing.assert_allclose(value(PAYS, STAY, UNIFORM, HALF), [0.25, 0.75])


def test_valpotential_takes_away_the_value_and_adds_the_next() -> None:
    found = val_potential(PAYS, STAY, UNIFORM, HALF)
    by_hand = np.zeros((2, 2, 2))
    for s, a, z in np.ndindex(2, 2, 2):
        by_hand[s, a, z] = PAYS[s, a, z] - (0.25, 0.75)[s] + HALF * (0.25, 0.75)[z]
    np.testing.assert_allclose(found, by_hand)
    assert found[1, 0, 1] == pytest.approx(1 - 0.75 + 0.375)


def test_val_is_the_advantage_in_a_deterministic_world() -> None:
    found = val(PAYS, STAY, UNIFORM, HALF)
    # A(1, stay) = 1 - 3/4 + 3/8; A(1, change) = 0 - 3/4 + 1/8; A(0, stay) = -1/4 + 1/8; A(0, change) = -1/4 + 3/8
    np.testing.assert_allclose(found[:, :, 0], [[-0.125, 0.125], [0.625, -0.625]])
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 1])


def test_val_sees_only_what_a_reward_gives_on_average_over_next_states() -> None:
    even = np.full((2, 2, 2), HALF)
    gamble, sure = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    gamble[0, 0] = [2.0, 0.0]
    sure[0, 0] = [1.0, 1.0]
    canonical = [val(reward, even, UNIFORM, HALF) for reward in (gamble, sure)]
    np.testing.assert_allclose(canonical[0], canonical[1], atol=1e-12)
    potential = [val_potential(reward, even, UNIFORM, HALF) for reward in (gamble, sure)]
    assert starc_distance(potential[0], potential[1]) > 0.1


@pytest.mark.parametrize("canonical", [val, val_potential])
def test_starc_is_0_after_shaping_and_scaling_and_1_for_the_opposite(canonical) -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(4), size=(4, 3))
    policy = rng.dirichlet(np.ones(3), size=4)
    reward = rng.standard_normal((4, 3, 4))
    other = 3.0 * shaped(reward, rng.standard_normal(4), 0.9)
    a, b = canonical(reward, transition, policy, 0.9), canonical(other, transition, policy, 0.9)
    assert starc_distance(a, b) == pytest.approx(0.0, abs=1e-12)
    assert starc_distance(a, -b) == pytest.approx(1.0)
    assert starc_distance(reward, other) > 0.1, "without a canonical form they differ"
    assert starc_distance(a, canonical(rng.standard_normal((4, 3, 4)), transition, policy, 0.9)) > 0.1


def test_starc_of_two_orthogonal_rewards_is_a_half_of_the_root_of_two() -> None:
    assert starc_distance(np.array([1.0, 0.0]), np.array([0.0, 7.0])) == pytest.approx(np.sqrt(2) / 2)
    assert starc_distance(np.array([1.0, 0.0]), np.array([0.0, 7.0]), order=1.0) == pytest.approx(1.0)
    assert starc_distance(np.array([1.0, 0.0]), np.array([0.0, 7.0]), order=np.inf) == pytest.approx(0.5)
    np.testing.assert_array_equal(standardised(np.zeros(2)), np.zeros(2))
    assert starc_distance(np.zeros(2), np.array([1.0, 2.0])) == pytest.approx(0.5)
    assert starc_distance(np.zeros(2), np.zeros(2)) == 0.0


def test_epic_shapes_as_worked_out_by_hand() -> None:
    # mean reward on leaving: state 0 nothing, state 1 a quarter (stay to 1, of 2 actions × 2 next states)
    half = np.full(2, HALF)
    found = canonically_shaped(PAYS, half, half, HALF)
    by_hand = np.zeros((2, 2, 2))
    for s, a, z in np.ndindex(2, 2, 2):
        by_hand[s, a, z] = PAYS[s, a, z] + HALF * (0.0, 0.25)[z] - (0.0, 0.25)[s] - HALF * 0.125
    np.testing.assert_allclose(found, by_hand)


def test_epic_does_not_change_under_shaping_scaling_and_a_constant() -> None:
    rng = np.random.default_rng(1)
    states, actions = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(3))
    coverage = rng.random((4, 3, 4))
    reward = rng.standard_normal((4, 3, 4))
    other = 2.0 * shaped(reward, rng.standard_normal(4), 0.9) + 5.0
    assert epic_distance(reward, other, states, actions, 0.9, coverage) == pytest.approx(0.0, abs=1e-9)
    assert epic_distance(reward, -other, states, actions, 0.9, coverage) == pytest.approx(1.0)


def test_the_pearson_distance_is_that_of_the_correlation() -> None:
    a, b, w = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), np.array([2.0, 1.0, 1.0])
    rho = np.corrcoef(np.repeat(a, [2, 1, 1]), np.repeat(b, [2, 1, 1]))[0, 1]
    assert pearson_distance(a, b, w) == pytest.approx(np.sqrt((1 - rho) / 2))
    assert pearson_distance(a, np.full(3, 0.1)) == pytest.approx(np.sqrt(0.5))
    assert pearson_distance(np.full(3, 0.1), np.full(3, 7.0)) == 0.0


def test_tau_b_counts_pairs_and_ties() -> None:
    # pairs: (1,2) concordant, (1,3) concordant, (2,3) tied in y; 2 / sqrt(3 * 2)
    assert kendall_tau_b(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])) == pytest.approx(2 / np.sqrt(6))
    assert kendall_tau_b(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == -1.0
    assert kendall_tau_b(np.ones(3), np.arange(3.0)) == 0.0


def test_tau_b_is_that_of_scipy() -> None:
    from scipy.stats import kendalltau

    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 9, 40).astype(float), rng.integers(0, 9, 40).astype(float)
    assert kendall_tau_b(x, y) == pytest.approx(kendalltau(x, y).statistic)


def test_the_interval_of_an_alignment_covers_it_and_is_narrower_with_more_trajectories() -> None:
    rng = np.random.default_rng(3)
    fitness = rng.standard_normal(200)
    returns = fitness + rng.standard_normal(200)
    few, many = alignment(returns[:20], fitness[:20], seed=0), alignment(returns, fitness, seed=0)
    assert many.low < many.value < many.high
    assert many.high - many.low < few.high - few.low
    assert alignment(10 * returns + 3, fitness, seed=0) == many, "scale and constant do not count"
    with pytest.raises(ValueError, match="at least 2"):
        alignment(returns[:1], fitness[:1], seed=0)


# ------------------------------------------------------------------------------------------- on recorded transitions


def test_on_recorded_transitions_a_potential_is_taken_away_exactly() -> None:
    known = recorded()
    before, after = features(known)
    rng = np.random.default_rng(4)
    reward = rng.standard_normal(len(after))
    weights = rng.standard_normal(after.shape[1])
    potential = 0.99 * np.where(known.terminal, 0.0, after @ weights) - before @ weights
    a, b = sampled_canonical(np.stack([reward, 2 * (reward + potential)]), before, after, known.terminal, 0.99)
    assert starc_distance(a, b) < 1e-4
    assert starc_distance(reward, reward + potential) > 0.1


def test_a_distance_matrix_is_symmetric_and_knows_equal_and_opposite_rewards() -> None:
    known = recorded()
    rewards = random_rewards(known)
    values = np.stack([rewards["forward"], 5 * rewards["forward"], -rewards["forward"], rewards["still"]])
    for matrix in (starc_matrix(values, known, 0.99), epic_matrix(values, known)):
        np.testing.assert_array_equal(matrix, matrix.T)
        assert matrix[0, 1] < 1e-6
        assert matrix[0, 2] == pytest.approx(1.0, abs=1e-6)
        assert 0.1 < matrix[0, 3] < 0.99
        assert (np.diag(matrix) == 0).all()


def test_shaping_is_taken_away_with_the_discount_that_it_was_made_with() -> None:
    known = recorded()
    forward, (before, after) = random_rewards(known)["forward"], features(known)
    weights = np.random.default_rng(5).standard_normal(after.shape[1])
    for gamma in (0.9, 0.99, 0.9999):
        potential = gamma * np.where(known.terminal, 0.0, after @ weights) - before @ weights
        values = np.stack([forward, forward + potential])
        assert starc_matrix(values, known, gamma)[0, 1] < 1e-4
        assert starc_matrix(values, known, 0.5)[0, 1] > 0.1


def test_huge_values_give_finite_distances() -> None:
    known = recorded()
    huge = np.full((2, len(known.trajectory)), 1e38)
    huge[0, ::2] = -1e38
    assert np.isfinite(starc_matrix(huge, known, 0.99)).all()
    assert np.isfinite(epic_matrix(huge, known)).all()


def test_thinned_transitions_keep_sums_ends_and_every_trajectory() -> None:
    whole, thin = recorded(), recorded(room=400)
    assert len(thin.trajectory) < len(whole.trajectory)
    assert thin.policies == whole.policies
    np.testing.assert_allclose(thin.sums(np.ones((1, len(thin.weight))))[0], thin.lengths)
    last = thin.step == thin.lengths[thin.trajectory]
    assert last.sum() == len(thin.lengths)
    assert (thin.weight[last] == 1.0).all()
    assert thin.terminal.sum() == whole.terminal.sum() == 2
    speed = [known.sums(known.column("speed")[None])[0] for known in (whole, thin)]
    assert np.corrcoef(speed[0], speed[1])[0, 1] > 0.95


def test_the_state_before_a_step_is_the_one_after_the_step_before() -> None:
    known = recorded()
    for a, b in combinations(range(3), 2):
        if known.trajectory[a] == known.trajectory[b] and known.step[b] == known.step[a] + 1:
            np.testing.assert_array_equal(known.after[a], known.before[b])


def test_a_displacement_is_found_as_the_sum_of_its_changes() -> None:
    known = recorded()
    found = metric_per_step(known)
    assert found.terms[0] in ("change of x", "speed")
    assert found.explained > 0.99
    np.testing.assert_allclose(
        known.sums(found.values[None])[0],
        known.fitness - known.fitness.mean() + known.sums(found.values[None])[0].mean(),
        atol=0.05,
    )


def test_a_metric_that_no_variable_tells_is_said_to_be_unexplained() -> None:
    rng = np.random.default_rng(5)
    trajectories = [walk(f"p{i % 6}", 0.1 * i, seed=i, fitness=float(rng.standard_normal())) for i in range(18)]
    assert metric_per_step(chosen_transitions(trajectories, 10_000)).explained < 0.8
