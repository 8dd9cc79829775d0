"""`review.json`: what a person thinks of a run's candidates, bound by hashes to the run and the code that was seen."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eureka_agent.contract.reward_code import MAX_BYTES, check_reward_code, normalised_source
from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.population import Candidate, Population, Record
from eureka_sandbox.backends.untrusted import Violation, parse_model

if TYPE_CHECKING:
    from eureka_agent.runs.run import Run

MOST_BYTES = 2_000_000
"""Largest file that is read."""
MOST_WORDS = 4_000
"""Characters of one remark."""
Id = Annotated[str, Field(pattern=r"^g[0-9]{1,6}c[0-9]{1,6}$")]
"""A candidate's."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(max_length=MOST_WORDS)]


class Opinion(Record):
    """What a person thinks of one candidate."""

    candidate: Id
    code: Digest
    """SHA-256 of the code that the person saw."""
    verdict: Literal["approve", "reject"] | None = None
    comment: Words = ""
    edit: str | None = Field(default=None, max_length=MAX_BYTES)
    """The code as the person would have it."""


class Picks(Record):
    """The best and the worst of several films that were shown together (ICPL, Huang et al. 2024)."""

    shown: tuple[Id, ...] = Field(min_length=2, max_length=100)
    best: Id | None = None
    worst: Id | None = None


class Review(Record):
    """A whole review; who is named in `preferred` or `picks` is in `opinions` too, with the hash of the code."""

    format: Literal[1] = 1
    run: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """See `run_id`."""
    generations: int = Field(ge=0, le=1_000_000)
    """How many generations `population` covers."""
    population: Digest
    """See `population_hash`."""
    opinions: tuple[Opinion, ...] = Field(default=(), max_length=1000)
    preferred: tuple[tuple[Id, Id], ...] = Field(default=(), max_length=2000)
    """(better, worse) of two films that were shown side by side, in the order in which they were judged."""
    picks: tuple[Picks, ...] = Field(default=(), max_length=200)
    feedback: Words = ""
    """About the search as a whole."""

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """(better, worse) pairs: a pick of the best was better than the others that were shown, the worst was worse."""
        pairs: list[tuple[str, str]] = list(self.preferred)
        for pick in self.picks:
            pairs += [(pick.best, other) for other in pick.shown if pick.best and other != pick.best]
            middle = [other for other in pick.shown if other not in (pick.best, pick.worst)]
            pairs += [(other, pick.worst) for other in middle if pick.worst]
        return pairs

    def __str__(self) -> str:
        """`1 approved, 2 rejected (g0c1, g0c2), 1 edit, 3 comments, 4 comparisons`."""
        of = {word: [o.candidate for o in self.opinions if o.verdict == word] for word in ("approve", "reject")}
        counts = [f"{len(of['approve'])} approved ({', '.join(of['approve'][:8])})"] if of["approve"] else []
        counts += [f"{len(of['reject'])} rejected ({', '.join(of['reject'][:8])})"] if of["reject"] else []
        for noun, number in (
            ("edit", sum(o.edit is not None for o in self.opinions)),
            ("comment", sum(bool(o.comment.strip()) for o in self.opinions) + bool(self.feedback.strip())),
            ("comparison", len(self.comparisons)),
        ):
            counts += [f"{number} {noun}{'' if number == 1 else 's'}"] if number else []
        return ", ".join(counts) or "nothing"


def run_id(created: float, task: Task, seed: int) -> str:
    """Names a run wherever its folder lies; a copy of a run has the same."""
    return hashlib.sha256(f"{created!r}\0{task.digest}\0{seed}".encode()).hexdigest()[:32]


def code_hash(code: str) -> str:
    """SHA-256 of reward code as it stands in the run."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def population_hash(candidates: Iterable[Candidate], generations: int) -> str:
    """SHA-256 over ids and code of the first generations."""
    lines = [f"{c.id} {code_hash(c.code)}\n" for c in candidates if c.brief.generation < generations]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_review(path: Path) -> Review:
    """A review from a file.

    Raises:
        UsageError: naming file and field.
    """
    data = read_small_file(path)
    try:
        return parse_model(data, str(path), Review)
    except Violation as wrong:
        raise UsageError(f"{wrong}; a review is saved by the report's page (“Save review”)") from wrong


def read_small_file(path: Path) -> bytes:
    """The bytes of a regular file that is not too large.

    Raises:
        UsageError: it is not there, no regular file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path}: no regular file")
    with open(descriptor, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path}: more than {MOST_BYTES // 1_000_000} MB")
    return data


def check_review(review: Review, run: Run) -> None:
    """See whether a review is of this run, as it is.

    Raises:
        UsageError: it is another run's, the code that it speaks of is not the run's, or an edit is no reward.
    """
    mine = run_id(run.created, run.task, run.settings.seed)
    if review.run != mine:
        raise UsageError(f"the review is of another run ({review.run[:12]}…); this one is {mine[:12]}… in {run.folder}")
    population = run.population(partial=True, curves=False)
    known = {c.id: c for c in population.candidates}
    for opinion in review.opinions:
        _check_opinion(opinion, known, run.task)
    named = {o.candidate for o in review.opinions}
    if stray := sorted({name for pair in review.comparisons for name in pair} - named):
        raise UsageError(f"{stray[0]} is compared, and no opinion holds the hash of its code")
    _check_rankings(review)
    repeated = len(review.opinions) - len(named)
    if repeated:
        raise UsageError("opinions: a candidate has more than one")
    if population_hash(known.values(), review.generations) != review.population:
        raise UsageError(f"the first {review.generations} generations are not those that were reviewed; review again")


def _check_rankings(review: Review) -> None:
    if any(better == worse for better, worse in review.preferred):
        raise UsageError("preferred: a film cannot be better than itself")
    for pick in review.picks:
        chosen = {pick.best, pick.worst} - {None}
        same = pick.best is not None and pick.best == pick.worst
        if same or len(set(pick.shown)) < len(pick.shown) or not chosen <= set(pick.shown):
            raise UsageError("picks: best and worst are two different ones of those shown, each shown once")


def _check_opinion(opinion: Opinion, known: dict[str, Candidate], task: Task) -> None:
    name = opinion.candidate
    if name not in known:
        raise UsageError(f"{name}: the run has no such candidate")
    if (has := code_hash(known[name].code)) != opinion.code:
        raise UsageError(
            f"{name}: its code is not what was reviewed ({opinion.code[:12]}…, here it is {has[:12]}…); review it again"
        )
    if opinion.edit is not None and (failure := check_reward_code(opinion.edit, task.variables)):
        line = f" line {failure.line}" if failure.line else ""
        raise UsageError(f"{name}, edit{line}: {failure.message}")


def edited_code(opinion: Opinion) -> str:
    """The edit of an opinion that has one, with line feeds only."""
    assert opinion.edit is not None
    return normalised_source(opinion.edit)


def whole_generations(population: Population, ended: bool) -> int:
    """How many generations of a page's population are sure to be whole: the last may be under way."""
    return population.generations if ended else max(0, population.generations - 1)
