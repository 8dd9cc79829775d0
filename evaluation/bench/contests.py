"""What contests are worth: simulated searches, whose true qualities are known, with and without them.

    .venv/bin/python evaluation/bench/contests.py [--searches N]

A search has five generations of eight. Three quarters of each are mutations of the incumbent (true quality times 1 + a
normal number of mean -0.25 and deviation 0.35), the others are fresh. A training shows the true quality with relative
noise; a quarter finish their race, chosen by a mixture of two noisy looks. The decisions are those of
`eureka_agent.search.contest`. Without contests their trainings buy half as many candidates again: the equal budget.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np

from eureka_agent.search import contest
from eureka_agent.search.contest import Spread, decision, wanted
from eureka_agent.standing import Standing

GENERATIONS, SIZE, SEEDS = 5, 8, 3
EQUAL = 12
"""So many raced candidates cost what eight and their contest do: 7 trainings, against 4.7 and about 2.6."""


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    quality: float
    """True quality of its winner."""
    optimism: float
    """What the training that selected it promised above that."""
    trainings: float
    """Of contests, per generation."""


def search(rng: np.random.Generator, noise: float, contested: bool, size: int = SIZE) -> Found:
    """One search; without contests the best score leads."""
    true: dict[str, float] = {}
    leader, spread, extra = None, Spread(), 0

    def train(name: str) -> float:
        return true[name] + noise * max(true[name], 0.2) * float(rng.standard_normal())

    for generation in range(GENERATIONS):
        looks = {}
        for slot in range(size):
            name = f"g{generation}c{slot}"
            if leader is None or slot >= size - size // 4:
                true[name] = abs(float(rng.standard_normal())) * float(rng.uniform())
            else:
                true[name] = max(0.0, true[leader.id] * (0.75 + 0.35 * float(rng.standard_normal())))
            looks[name] = train(name)
        raced = sorted(looks, key=lambda name: -(0.7 * looks[name] + 0.3 * train(name)))[: size // 4]
        best = sorted((Standing(id=name, screening=looks[name]) for name in raced), key=lambda s: -s.screening)
        if not contested:
            leader = best[0] if leader is None or best[0].screening > leader.screening else leader
            continue
        width = spread.including([leader]) if leader else spread
        least = leader.mean - contest.CLOSE * width.deviation if leader and leader.finished else -np.inf
        close, known = (
            [s for s in best if s.screening >= least][: contest.CONTENDERS],
            len(leader.later) if leader else 0,
        )
        while keys := wanted(close, leader, spread, SEEDS):
            for name, _ in [key for key in keys if key[1] == keys[0][1]]:
                extra += 1
                close, leader = _with(close, leader, name, train(name))
        settled = decision(close, leader, spread, SEEDS, known=known)
        leader, spread = settled.leader, settled.spread
    assert leader is not None
    return Found(true[leader.id], leader.screening - true[leader.id], extra / GENERATIONS)


def _with(
    close: list[Standing], leader: Standing | None, name: str, value: float
) -> tuple[list[Standing], Standing | None]:
    """The same with one more training of `name`."""

    def more(s: Standing) -> Standing:
        return s.model_copy(update={"later": (*s.later, value)}) if s.id == name else s

    return [more(s) for s in close], more(leader) if leader else None


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=300)
    count = parser.parse_args().searches
    print("| noise | rule | quality | against the best score | optimism | trainings per generation |")
    print("|---|---|---|---|---|---|")
    for noise in (0.2, 0.35, 0.6):
        alone = [search(np.random.default_rng(i), noise, contested=False) for i in range(count)]
        more = [search(np.random.default_rng(i), noise, contested=False, size=EQUAL) for i in range(count)]
        print(_row(noise, "the best score leads", alone, alone), flush=True)
        print(_row(noise, f"the best score of {EQUAL} leads", more, alone), flush=True)
        for better in (0.5, 0.6, 0.7, 0.8, 0.9):
            with patch.object(contest, "BETTER", better):
                found = [search(np.random.default_rng(i), noise, contested=True) for i in range(count)]
            print(_row(noise, f"contest, replaced at {better:.0%}", found, alone), flush=True)


def _row(noise: float, rule: str, found: list[Found], alone: list[Found]) -> str:
    gain = np.array([f.quality - a.quality for f, a in zip(found, alone, strict=True)])
    error = gain.std() / np.sqrt(len(gain))
    means = [np.mean([getattr(f, name) for f in found]) for name in ("quality", "optimism", "trainings")]
    against = f"{gain.mean():+.2f} ± {error:.2f}" if found is not alone else "–"
    return f"| {noise:g} | {rule} | {means[0]:.2f} | {against} | {means[1]:.2f} | {means[2]:.1f} |"


if __name__ == "__main__":
    main()
