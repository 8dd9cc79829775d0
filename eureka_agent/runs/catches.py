"""What the gates before training caught in a run, and the training time that was not spent because of it."""

from __future__ import annotations

from statistics import fmean

from eureka_agent.population import Population, Record
from eureka_agent.text import duration, plural

GATES = ("extraction", "static", "smoke", "critic", "prescreen")
"""From the cheapest to the dearest."""


class Caught(Record):
    """One gate's tally."""

    gate: str
    stopped: int
    """Answers that it stopped or objected to."""
    mended: int
    """Of these, those after which the model's next answer was good."""
    seconds_saved: float
    """Training time not spent: a whole training for code that would have run to the end for nothing, a start for code
    that would have failed at once. Nothing is claimed for answers without code, and for a critic's objections."""


def caught(population: Population) -> tuple[Caught, ...]:
    """Each gate that stopped something."""
    trained = [c.training for c in population.candidates if c.training]
    whole = fmean(t.seconds for t in trained) if trained else 0.0
    start = fmean(t.startup_seconds for t in trained) if trained else 0.0
    catches = [catch for c in population.candidates for catch in c.catches]
    tallies = []
    for gate in GATES:
        ours = [catch for catch in catches if catch.gate == gate]
        saved = 0.0
        if gate in ("static", "smoke", "prescreen"):
            saved = sum(start + whole if catch.pointless else start for catch in ours if catch.fatal)
        if ours:
            mended = sum(catch.mended for catch in ours)
            tallies.append(Caught(gate=gate, stopped=len(ours), mended=mended, seconds_saved=saved))
    return tuple(tallies)


def in_words(tallies: tuple[Caught, ...]) -> str:
    """One line for a person; empty if nothing was stopped."""
    if not tallies:
        return ""
    by_gate = ", ".join(f"{tally.stopped} {tally.gate}" for tally in tallies)
    total, mended = sum(t.stopped for t in tallies), sum(t.mended for t in tallies)
    saved = sum(t.seconds_saved for t in tallies)
    time = f"; about {duration(saved)} of training saved" if saved >= 1 else ""
    return f"{plural(total, 'answer')} caught before training ({by_gate}), {mended} mended at the second try{time}"
