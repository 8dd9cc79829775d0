"""What all that people have said so far comes to: who is out, what was liked, what to write next, what to tell whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from eureka_agent.population import Brief, Candidate
from eureka_agent.review.record import Opinion, edited_code
from eureka_agent.runs.inbox import Feedback, Reviewed, Taken

WRITTEN = frozenset({"sample", "mutate", "cross"})
"""Operators whose author can be told something."""
MOST_TOLD = 12
"""Remarks in one prompt, the latest ones."""
MOST_CHARACTERS = 8_000
"""Of all remarks in one prompt together."""


class Said(NamedTuple):
    """One remark of a person, for a prompt and for the page."""

    about: str
    """Id of the candidate that it is about; empty: about the search."""
    text: str


class Edit(NamedTuple):
    """A candidate as a person would have it."""

    generation: int
    """In which it is tried."""
    candidate: str
    code: str


class Strength(NamedTuple):
    """How much people prefer a candidate's film: log-odds around 0, with a 95 % interval."""

    value: float
    low: float
    high: float
    comparisons: int


@dataclass(frozen=True)
class Steering:
    """Everything that was said up to a generation, in order."""

    feedback: tuple[tuple[int, str], ...] = ()
    """(generation that is told, words)."""
    opinions: tuple[tuple[int, Opinion], ...] = ()
    """(generation that is the first to know, opinion)."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """(better, worse)."""
    edits: tuple[Edit, ...] = ()
    verdicts: dict[str, str] = field(default_factory=dict)
    """`approve` or `reject` by candidate's id: what was said last."""

    @property
    def rejected(self) -> frozenset[str]:
        """Who has left the gene pool."""
        return frozenset(name for name, verdict in self.verdicts.items() if verdict == "reject")

    @property
    def strengths(self) -> dict[str, Strength]:
        """Of everyone who was compared."""
        return strengths(self.comparisons)

    def told(self, brief: Brief, ancestors: Iterable[str]) -> tuple[Said, ...]:
        """What the author of a candidate is told, the latest remarks if there are many, each about whom it is.

        Words about the search go to the whole generation that comes next, and so do those about a candidate; later ones
        are told what was said of their own ancestors.
        """
        if brief.operator not in WRITTEN:
            return ()
        own = set(ancestors)
        remarks = [(at, Said("", words)) for at, words in self.feedback if at == brief.generation]
        for at, opinion in self.opinions:
            near = at == brief.generation or (at < brief.generation and opinion.candidate in own)
            if near and (text := _remark(opinion)):
                remarks.append((at, Said(opinion.candidate, text)))
        return _shortened([said for _, said in sorted(remarks, key=lambda remark: remark[0])])


def steering_of(takes: Sequence[Taken]) -> Steering:
    """Fold the letters that a search has taken up."""
    feedback, opinions, comparisons, edits = [], [], [], []
    verdicts: dict[str, str] = {}
    for taken in takes:
        for message in taken.messages:
            if isinstance(message, Feedback):
                feedback.append((taken.generation, message.text.strip()))
            if not isinstance(message, Reviewed):
                continue
            review = message.review
            if review.feedback.strip():
                feedback.append((taken.generation, review.feedback.strip()))
            opinions += [(taken.generation, opinion) for opinion in review.opinions]
            verdicts |= {opinion.candidate: opinion.verdict for opinion in review.opinions if opinion.verdict}
            comparisons += review.comparisons
            edited = [opinion for opinion in review.opinions if opinion.edit is not None]
            edits += [Edit(taken.generation, o.candidate, edited_code(o)) for o in edited]
    return Steering(tuple(feedback), tuple(opinions), tuple(comparisons), tuple(edits), verdicts)


@lru_cache(maxsize=16)
def strengths(comparisons: tuple[tuple[str, str], ...]) -> dict[str, Strength]:
    """Bradley–Terry strengths by candidate's id, from (better, worse) pairs."""
    if not comparisons:
        return {}
    import numpy as np

    from eureka_evaluation.preferences import bradley_terry

    names = list(dict.fromkeys(name for pair in comparisons for name in pair))
    place = {name: index for index, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for better, worse in comparisons:
        wins[place[better], place[worse]] += 1.0
    fitted, contests = bradley_terry(wins), (wins + wins.T).sum(axis=1)
    columns = zip(names, fitted.value, fitted.low, fitted.high, contests, strict=True)
    return {name: Strength(float(v), float(low), float(high), int(n)) for name, v, low, high, n in columns}


def ancestors_of(brief: Brief, by_id: dict[str, Candidate]) -> set[str]:
    """Ids of parents, their parents, and so on."""
    found: set[str] = set()
    open_ = list(brief.parents)
    while open_:
        name = open_.pop()
        if name not in found and name in by_id:
            found.add(name)
            open_ += by_id[name].brief.parents
    return found


def _remark(opinion: Opinion) -> str:
    """`Rejected. Its words`, `Approved.`, the words alone, or nothing."""
    stamp = {"approve": "Approved.", "reject": "Rejected."}.get(opinion.verdict or "", "")
    return f"{stamp} {opinion.comment.strip()}".strip()


def _shortened(remarks: Sequence[Said]) -> tuple[Said, ...]:
    kept: list[Said] = []
    room = MOST_CHARACTERS
    for said in reversed(remarks[-MOST_TOLD:]):
        if len(said.text) <= room:
            kept.insert(0, said)
            room -= len(said.text)
    return tuple(kept)
