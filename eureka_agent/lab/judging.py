"""Every reward of a generation on common trajectories: play without learning, good policies, and each other's policies.

One short box per reward, without a simulator, after the generation was scored. What they give is journaled with the
trajectories, so that signs of hacking, distances and orders of trajectories follow from the run alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from eureka_agent.errors import EnvironmentMissing
from eureka_agent.lab.floor import RANDOM, ZERO
from eureka_agent.lab.jobs import judging_job
from eureka_agent.population import Candidate, Population, Record, Score, rung_key
from eureka_agent.runs.run import Run
from eureka_agent.search.contest import training_key
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec, Failed, SmokeResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eureka_agent.lab.lab import Lab
    from eureka_evaluation.transitions import Trajectory, Transitions

JUDGING_SECONDS = 180
"""A box starts in 1 to 10 s on a busy machine and needs less than one."""
ROOM = 24_576
"""Transitions in a generation's bank, about: some 4 MB."""
MOST_CANDIDATES = 40
"""Earlier candidates whose trajectories are in it: half of them the best so far, half the newest."""
PROBED, SCALES = 64, (3.0, 10.0)
"""So many recorded states are multiplied by each of these."""
UNSCALED = ("action", "contact", "flag", "time")
"""Kinds of state variables that have bounds of their own."""
HUMAN = "human"


class Player(Record):
    """Whose trajectories are in the bank."""

    policy: str
    """`random`, `idle`, or a candidate's id; of another training of it, or an earlier look at it, the score's key."""
    key: str
    """Of the score that recorded them."""


class JudgedBank(Record):
    """The trajectories on which a generation is judged."""

    blob: str
    """The bank: T chosen transitions, then the probes."""
    transitions: int
    players: tuple[Player, ...]


class Judged(Record):
    """What one reward gave on a generation's bank."""

    values: str | None = None
    """Blob: values.safetensors; None if the reward failed there."""
    components: tuple[str, ...] = ()
    reason: str = ""
    """Why there are no values."""


def judge(lab: Lab, measured: Sequence[Candidate], population: Population) -> None:
    """Evaluate the human reward, the incumbent's and the measured ones on the generation's bank, each decided once.

    `population` is that of the generations before. Nothing is done for a generation of whose policies nothing was
    recorded.
    """
    run, generation = lab.run, measured[0].brief.generation
    judged = [c for c in measured if c.duplicate_of is None and c.score and c.score.episodes]
    if not judged:
        return
    lab.floor()
    bank = run.decide(bank_key(generation), JudgedBank, lambda: _bank(run, population, judged))
    codes = {c.id: c.code for c in judged} | {HUMAN: run.task.human_reward}
    if population.best:
        codes |= {population.best.id: population.best.code}

    def evaluate(name: str) -> Judged:
        key = judged_key(generation, name)
        return run.decide(key, Judged, lambda: _judged(lab, codes[name], bank, key))

    lab.watcher.stage("judging the rewards on common trajectories")
    lab.boxes.side_by_side(evaluate, list(codes))


def bank_key(generation: int) -> str:
    """Of the decision which trajectories a generation is judged on."""
    return f"judged/{generation}/bank"


def judged_key(generation: int, name: str) -> str:
    """Of what a reward gave on them."""
    return f"judged/{generation}/{name}/bank"


def _judged(lab: Lab, code: str, bank: JudgedBank, key: str) -> Judged:
    limits = lab.boxes.limits(JUDGING_SECONDS)
    job = judging_job(lab.run.task, code, lab.run.blob(bank.blob), probes_in(bank), limits)
    try:
        outcome = lab.boxes.run(key, "judging", job, shown=False)
    except EnvironmentMissing as error:  # no search ends for want of a suspicion
        lab.watcher.stage(f"{key}: not judged: {error}")
        return Judged(reason="the sandbox failed")
    if isinstance(outcome, Failed):
        return Judged(reason=str(outcome.failure.verdict))
    assert isinstance(outcome.result, SmokeResult)
    (values,) = outcome.blobs.values()
    return Judged(values=lab.run.put_blob(values), components=tuple(outcome.result.components))


def _bank(run: Run, population: Population, judged: Sequence[Candidate]) -> JudgedBank:
    players = tuple(_players(run, population, judged))
    known = transitions_of(run, players)
    data = judging_bank(known.arrays, run.task.environment)
    return JudgedBank(blob=run.put_blob(data), transitions=len(known.trajectory), players=players)


def _players(run: Run, population: Population, judged: Sequence[Candidate]) -> Iterator[Player]:
    yield Player(policy="random", key=RANDOM)
    yield Player(policy="idle", key=ZERO)
    half, contested = MOST_CANDIDATES // 2, run.standings()
    ranked = population.ranked
    newest = sorted(ranked[half:], key=lambda c: (c.brief.generation, c.brief.slot))
    for candidate in (*ranked[:half], *newest[-half:], *judged):
        if candidate.score and candidate.score.episodes:
            *looks, last = _looks(candidate)
            yield Player(policy=candidate.id, key=last)
            later = contested[candidate.id].later if candidate.id in contested else ()
            ended = [number for number, mean in enumerate(later, 1) if mean is not None]
            trained_again = [training_key((candidate.id, number)) for number in ended]
            yield from (Player(policy=key, key=key) for key in (*looks, *trained_again))


def _looks(candidate: Candidate) -> list[str]:
    """Keys of the scores of its training, the one that counts last."""
    rungs = [rung_key(candidate.id, rung) for rung in range(len(candidate.rungs))]
    return rungs if rungs and candidate.stopped else [*rungs, candidate.id]


def transitions_of(run: Run, players: Sequence[Player]) -> Transitions:
    """The chosen transitions of the players' recorded episodes, the same whenever it is called.

    Raises:
        RunError: a recording is missing or damaged.
    """
    from eureka_evaluation.transitions import chosen_transitions

    return chosen_transitions([t for player in players for t in _trajectories(run, player)], ROOM)


def _trajectories(run: Run, player: Player) -> Iterator[Trajectory]:
    from eureka_evaluation.recording import load_episodes
    from eureka_evaluation.transitions import Trajectory
    from eureka_sandbox.bodies import variable_shapes

    score = run.score(player.key)
    if isinstance(score, Score) and score.episodes:
        episodes = load_episodes(run.blob(score.episodes), variable_shapes(run.task.environment))
        for position, episode in episodes.items():
            yield Trajectory(player.policy, score.fitness[position], episode)


def judging_bank(arrays: Mapping[str, NDArray[np.float32]], environment: EnvironmentSpec) -> bytes:
    """The bank of chosen transitions, with the probes at its end."""
    import numpy as np

    from eureka_sandbox.bank import Bank, write_bank

    count = len(next(iter(arrays.values())))
    chosen = np.linspace(0, count - 1, min(count, PROBED)).round().astype(int)
    kinds = {variable.name: variable.kind for variable in BODIES[environment.body].variables}
    with_probes = {}
    for name, rows in arrays.items():
        scales = [1.0 if kinds.get(name) in UNSCALED else scale for scale in SCALES]
        probes = [np.float32(scale) * rows[chosen] for scale in scales]
        with_probes[name] = np.concatenate([rows, *probes])
    return write_bank(Bank(with_probes, count))


def probes_in(bank: JudgedBank) -> int:
    """How many made-up transitions stand at the bank's end."""
    return len(SCALES) * min(bank.transitions, PROBED)
