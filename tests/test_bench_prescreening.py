"""The replay of prescreening, from recorded episodes to its rows: no reward sees its own policies, nor later ones."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hacking_cases import walk
from numpy.typing import NDArray
from test_prescreen import search

from eureka_agent.contract.task import Task
from eureka_evaluation.recording import save_episodes
from eureka_evaluation.transitions import Transitions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation" / "bench"))

import prescreening
from hacking_trials import Look, Reward, Trial, rewards

HOPPER = "hopper_forward"
NAMES = [r.name for r in rewards() if r.task == HOPPER]


class Recorded:
    """Every training has a look on its way and one at its end, two episodes each; later rewards come further."""

    def finished(self, reward: Reward) -> bool:
        return True

    def train(self, reward: Reward) -> Trial:
        speed = 0.1 * (1 + NAMES.index(reward.name))
        return self._look(0.5 * speed), self._look(speed)

    def play(self, task: Task, how: str) -> Trial:
        return (self._look(0.0),)

    def _look(self, speed: float) -> Look:
        episodes = {seed: walk("anybody", speed, seed).episode for seed in range(2)}
        return Look(1, None, (20 * speed, 22 * speed), (0, 1), save_episodes(episodes))


def values(task: Task, reward: Reward, known: Transitions, trials: Recorded) -> tuple[object, NDArray[np.float64]]:
    """Pays what the score pays, but nothing is so bad as the reward's own policies."""
    own = np.array([policy.startswith(reward.name) for policy in known.policies])
    paid = np.where(own, -1000 - known.fitness, known.fitness) / known.lengths
    return (), np.concatenate([paid[known.trajectory], np.zeros(2)])[None]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(prescreening, "_values", values)
    monkeypatch.setattr(prescreening, "Trials", Recorded)
    return Recorded()


def test_no_reward_is_held_against_its_own_policy_or_an_earlier_look_at_it(trials: Any) -> None:
    found = prescreening.of_trials(HOPPER, trials)
    assert [r.name for r in found] == NAMES
    assert [r.tau for r in found] == pytest.approx([1.0] * len(NAMES))
    assert [r.fitness for r in found] == pytest.approx([2.1 * (1 + place) for place in range(len(NAMES))])
    assert sum(r.hack for r in found) == sum(r.hack for r in rewards() if r.task == HOPPER) > 0


def test_rewards_of_the_pilot_are_known_by_the_names_of_their_recordings(trials: Any) -> None:
    found = prescreening.of_pilot(HOPPER, trials)
    assert {r.name for r in found} == {f"pilot g{generation}c{slot}" for generation in range(2) for slot in range(8)}
    assert {name for name in NAMES if name.startswith("pilot")} <= {r.name for r in found}
    assert [r.tau for r in found] == pytest.approx([1.0] * 16)


def test_every_group_gets_its_row(
    trials: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prescreening, "rewards", lambda: [r for r in rewards() if r.task == HOPPER])
    monkeypatch.setattr(prescreening, "pilot_tasks", lambda: [HOPPER])
    monkeypatch.setattr(sys, "argv", ["prescreening.py"])
    prescreening.main()
    rows = [line.rsplit(maxsplit=3)[0].split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[:3] == [["pilot", HOPPER, "16"], ["generation", "1", "8"], ["generation", "2", "8"]]
    assert [row[0] for row in rows[3:]] == ["trials", "good"]


def test_looks_at_policies_of_a_rewards_own_generation_did_not_come_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[str] = []
    used: list[str] = []

    def looked_at(run: object, players: Any, real: Any = prescreening.transitions_of) -> Transitions:
        found: Transitions = real(run, players)
        known.extend(found.policies)
        policies = (p if p in ("random", "idle") else f"{p}/rung/0" for p in found.policies)
        return replace(found, policies=tuple(policies))

    def noted(totals: object, transitions: Transitions, kept: NDArray[np.bool_]) -> float:
        used.extend(np.array(transitions.policies)[kept].tolist())
        return 0.0

    monkeypatch.setattr(prescreening, "transitions_of", looked_at)
    monkeypatch.setattr(prescreening, "_tau", noted)
    for run, _ in search(tmp_path / "run"):
        ((title, found),) = prescreening.of_run(run)
        assert title == "run, generation 2"
        assert len(found) == 8
        assert any(policy.startswith("g1") for policy in known)
        owners = {policy.partition("/")[0] for policy in used}
        assert {"random", "idle", "g0c7"} <= owners
        assert all(owner in ("random", "idle") or owner.startswith("g0") for owner in owners)
