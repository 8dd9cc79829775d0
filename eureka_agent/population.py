"""Values of the search: candidates, what became of them, and the population they form. Immutable and JSON-able.

Fitness is the task's own score (higher is better), measured in box B; `None` if nothing trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from statistics import fmean, median
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from eureka_agent.review.ordering import preferred
from eureka_agent.standing import Standing
from eureka_evaluation.finding import Finding
from eureka_sandbox.protocol import Failure, Variation

OVERTIME, OVERTIME_SECONDS = 2.0, 20.0
"""Times the usual time of a training, and seconds more than that, from which it is told."""


class Record(BaseModel):
    """Base of everything the journal keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Brief(Record):
    """One decided request for a candidate: who its parents are and how to make it from them."""

    id: str
    """`g<generation>c<slot>`, unique in the run."""
    generation: int
    slot: int
    operator: str
    """`sample`, `mutate`, `cross`, `tune` (numbers only), `edit` (a person's) or `seed` (a person's, first)."""
    parents: tuple[str, ...] = ()
    """Candidate ids."""
    seed: int
    """Seeds the proposer's own randomness."""
    island: int = 0
    """Whose descendant it becomes, where a strategy keeps populations apart."""


class Catch(Record):
    """Something that a gate stopped before a training was spent on it."""

    gate: str
    """`extraction`, `static`, `smoke`, `critic` or `prescreen`."""
    reason: str
    """In this package's words, or a critic's."""
    fatal: bool = True
    """Whether the code could not have been trained with as it was."""
    mended: bool = False
    """Whether the model's next answer was good."""
    pointless: bool = False
    """Whether the code would have trained to the end, for nothing."""


class Proposal(Record):
    """What a proposer answered to a brief: code, or the reason there is none."""

    code: str = ""
    genome: dict[str, Any] | None = None
    """The offline search's own description of the reward; None for code that an LLM wrote."""
    failure: Failure | None = None
    """Set if no usable code came out (no code block, unknown state variable, …)."""
    catches: tuple[Catch, ...] = ()
    """What gates stopped on the way to this answer."""
    fingerprint: str = ""
    """What it pays on the smoke box's probes, see `duplicates.packed`; empty where none ran."""


class Vision(Record):
    """What a vision model saw in frames of a policy: an opinion, in untrusted words."""

    progress: float = Field(ge=0, le=100)
    """How far from the task's baseline (0) to its goal (100)."""
    seen: str
    """What it saw, a sentence or two in one line."""


class Judgement(Record):
    """What came of showing frames to a vision model."""

    vision: Vision | None = None
    why_not: str = ""
    """Why there is none, one line for a person."""
    blind: bool = False
    """Whether that holds for every candidate: no frames can be drawn here, or the model takes none."""


class Training(Record):
    """Box A's answer, with its policy in the blob store."""

    seed: int
    timesteps: int
    seconds: float
    startup_seconds: float
    peak_timesteps: int
    peak_return: float | None
    curves: dict[str, list[float | None]]
    """SB3 logger keys and `reward/<component>`; the x axis is `time/total_timesteps`."""
    policy: str
    """Blob: policy.safetensors."""
    policy_meta: str
    """Blob: policy.json."""
    versions: dict[str, str]
    resumed_at: int = 0
    """Environment steps of the checkpoint from which the last box went on; 0: one box did it all."""
    checkpoint_note: str = ""
    """Why a checkpoint was not used, or none was kept."""
    reward: str = ""
    """SHA-256 of the code that it was trained on; empty for the environment's own reward, and in earlier versions."""
    warm_start: str = ""
    """Id of the candidate whose policy it began with; empty: random weights."""
    box_seconds: float = 0.0
    """How long its boxes ran in the sitting that ended it, starts included: by this side's clock, which no reward
    reaches. 0: unknown, as in earlier versions."""

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second of training, without imports."""
        return self.timesteps / self.seconds if self.seconds > 0 else 0.0


class Score(Record):
    """Box B's answer on seeds drawn after training."""

    seeds: tuple[int, ...]
    variation: Variation | None = None
    """How the world differed from that of the training; None: not at all."""
    fitness: tuple[float, ...]
    """Per episode, the task's metric; higher is better."""
    success: tuple[bool, ...]
    lengths: tuple[int, ...]
    recorded: tuple[int, ...] = ()
    """Positions of the episodes that `episodes` holds."""
    episodes: str | None = None
    """Blob: episodes.npz."""
    video: str | None = None
    """Blob: video.mp4."""
    poster: str | None = None
    """Blob: poster.jpg, a still of it."""
    frames: str | None = None
    """Blob: frames.jpg, a contact sheet."""
    video_note: str = ""
    seconds: float
    versions: dict[str, str] = {}
    """What the numbers depend on to the last bit: packages and processor, as box B reported them."""
    box: str = ""
    """What the box was made of, see `scores.box_name`."""
    binding: str = ""
    """What it was measured on, see `scores.binding`; empty in runs of an earlier version."""

    @property
    def mean(self) -> float:
        """Mean fitness over the episodes."""
        return fmean(self.fitness)

    @property
    def success_rate(self) -> float:
        """Share of successful episodes."""
        return fmean(self.success)


class Rung(Record):
    """How a training stood when racing looked at it."""

    timesteps: int
    fitness: float
    """Mean of the task's metric over the rung's fresh episodes."""
    own_return: float | None
    """Smoothed return under its own reward."""


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value


Findings = Annotated[
    Sequence[Finding],
    BeforeValidator(_plain),
    AfterValidator(tuple),
    PlainSerializer(tuple, return_type=tuple[Finding, ...]),
]
"""A tuple, or what reads as one, see `runs.unread`."""


def rung_key(candidate_id: str, rung: int) -> str:
    """Key of the training and score of a candidate at a rung, counted from 0; the whole training's is its id."""
    return f"{candidate_id}/rung/{rung}"


class Candidate(Record):
    """One reward function and what became of it."""

    brief: Brief
    code: str
    genome: dict[str, Any] | None = None
    training: Training | None = None
    score: Score | None = None
    failure: Failure | None = None
    catches: tuple[Catch, ...] = ()
    """What gates stopped before this code came out."""
    reflection: str = ""
    """Findings as text, for the next prompt and the report."""
    findings: Findings = ()
    """What its episodes show, the weightiest first."""
    commentary: str = ""
    """What a language model said of the findings, if it was asked; words, never a number that counts."""
    vision: Vision | None = None
    """What a vision model saw, if it was asked; selects only where the task says so (`fitness: vision`)."""
    suspicions: Findings = ()
    """Signs that the reward is exploited rather than the task solved, the weightiest first; never used in selection."""
    behaviour: dict[str, float] = {}
    """How its policy acts, by descriptor: what a map of elites keeps apart."""
    rungs: tuple[Rung, ...] = ()
    """How racing saw it on the way, the earliest first."""
    stopped: bool = False
    """Racing ended its training early; training and score are those of its last rung."""
    fingerprint: str = ""
    """What it pays on the smoke box's probes, see `duplicates.packed`; empty where none ran."""
    program: str = ""
    """Hash of its normalised syntax tree; empty in earlier versions."""
    duplicate_of: str | None = None
    """The earlier candidate that is the same program: its training, score and failure are this one's too."""
    behaves_alike: bool = False
    """Whether it is another text than `duplicate_of`, which pays the same on every probe."""

    @property
    def id(self) -> str:
        """`g<generation>c<slot>`."""
        return self.brief.id

    @property
    def measured(self) -> str:
        """Key of its training and score: a duplicate has its original's, one that racing stopped its last rung's."""
        name = self.duplicate_of or self.id
        return rung_key(name, len(self.rungs) - 1) if self.stopped else name

    @property
    def likeness(self) -> str:
        """`is the same program as g0c1`, `behaves as g0c1`; empty for one of its own."""
        if not self.duplicate_of:
            return ""
        return f"{'behaves' if self.behaves_alike else 'is the same program'} as {self.duplicate_of}"

    @property
    def fitness(self) -> float | None:
        """Mean of the task's metric over fresh episodes; None if nothing trained."""
        return self.score.mean if self.score else None


class Population(Record):
    """All candidates so far, in order of birth."""

    candidates: tuple[Candidate, ...] = ()
    incumbent: str | None = None
    """Id of the candidate that won the contests so far; None: nobody was contested, the best score leads."""
    standings: dict[str, Standing] = {}
    """Everyone who was ever contested, by id, as the last contest left it."""
    rejected: frozenset[str] = frozenset()
    """Ids of those that a person sent from the gene pool: they lead nothing, and have no more children."""
    preference: dict[str, float] = {}
    """How much people prefer a candidate's film, by id, 0 for whoever was not compared (Bradley-Terry log-odds); or
    what a vision model saw, see `as_seen`."""
    by_preference: bool = False
    """Whether that is the fitness; else it settles ties."""

    def extended(self, new: Iterable[Candidate]) -> Population:
        """This population with one more generation."""
        return self.with_(candidates=(*self.candidates, *new))

    def with_(self, **changes: Any) -> Population:
        """This population with other fields; what was worked out from the old ones is forgotten."""
        return Population(**{name: getattr(self, name) for name in Population.model_fields} | changes)

    @property
    def as_seen(self) -> dict[str, float]:
        """Strength by id as a vision model saw it: 1 and its progress, so that whoever it did not judge, 0, is last."""
        return {c.id: 1 + c.vision.progress for c in self.candidates if c.vision}

    @cached_property
    def generations(self) -> int:
        """How many generations are complete."""
        return 1 + max((c.brief.generation for c in self.candidates), default=-1)

    def born(self, generation: int) -> tuple[Candidate, ...]:
        """The candidates of one generation that are in the gene pool, by slot as they were stored."""
        return self._by_generation.get(generation, ())

    @cached_property
    def outcast(self) -> frozenset[str]:
        """Whoever was rejected, and whoever is the same program."""
        if not self.rejected:
            return frozenset()
        programs = {c.duplicate_of or c.id for c in self.candidates if c.id in self.rejected}
        return frozenset(c.id for c in self.candidates if (c.duplicate_of or c.id) in programs)

    @cached_property
    def _by_generation(self) -> dict[int, tuple[Candidate, ...]]:
        groups: dict[int, list[Candidate]] = {}
        for candidate in self.candidates:
            if candidate.id not in self.outcast:
                groups.setdefault(candidate.brief.generation, []).append(candidate)
        return {generation: tuple(members) for generation, members in groups.items()}

    @cached_property
    def _by_id(self) -> dict[str, Candidate]:
        return {candidate.id: candidate for candidate in reversed(self.candidates)}

    @cached_property
    def ranked(self) -> tuple[Candidate, ...]:
        """Scored candidates, each program once: the best first by `order`, ties as they were born.

        Nobody that a person rejected is among them, see `review.ordering` for what people prefer.
        """
        scored = [c for c in self.candidates if c.fitness is not None and c.duplicate_of is None]
        ordered = sorted(scored, key=self.order, reverse=True)
        left = tuple(c for c in ordered if c.id not in self.outcast) if self.rejected else tuple(ordered)
        return preferred(left, self.standing, self.preference) if self.preference and not self.by_preference else left

    def order(self, candidate: Candidate) -> tuple[bool, bool, bool, float, float]:
        """Sort key of every selection, higher is better: last is whoever has no score, before that those that racing
        stopped, before that those that failed in a contest, whatever their means. Equal merits go by their means."""
        scored, failed = candidate.fitness is not None, self.has_failed(candidate)
        return scored, not candidate.stopped, not failed, self.merit(candidate), self.mean(candidate)

    def standing(self, candidate: Candidate) -> Standing:
        """All trainings of a scored candidate, or of the one that it duplicates."""
        return self.standings.get(candidate.duplicate_of or candidate.id) or Standing.screened(candidate)

    def overtime(self, candidate: Candidate) -> float | None:
        """How many times the median of equal trainings a candidate's boxes ran; None if that is nothing unusual.

        More steps than were given are not seen from outside the box that takes them: time is. Three others must be
        known.
        """
        own = candidate.training
        known = self._box_seconds.get(own.timesteps, {}) if own else {}
        equal = [seconds for name, seconds in known.items() if name != candidate.id]
        if own is None or len(equal) < 3:
            return None
        usual = median(equal)
        long = own.box_seconds > max(OVERTIME * usual, usual + OVERTIME_SECONDS)
        return own.box_seconds / usual if long else None

    @cached_property
    def _box_seconds(self) -> dict[int, dict[str, float]]:
        """Of trainings of so many steps, by candidate's id."""
        groups: dict[int, dict[str, float]] = {}
        for c in self.candidates:
            if c.training and c.training.box_seconds and not c.duplicate_of:
                groups.setdefault(c.training.timesteps, {})[c.id] = c.training.box_seconds
        return groups

    def mean(self, candidate: Candidate) -> float:
        """Fitness over all trainings of a scored candidate, see `Standing.mean`."""
        return self.standing(candidate).mean if self.standings else candidate.fitness or 0.0

    def has_failed(self, candidate: Candidate) -> bool:
        """Whether a training of a contest failed, its own or that of the one that it duplicates."""
        known = self.standings.get(candidate.duplicate_of or candidate.id)
        return known is not None and known.failed

    def merit(self, candidate: Candidate) -> float:
        """What selects: the mean, or the preference of people or a vision model where that is the fitness."""
        if self.by_preference:
            return self.preference.get(candidate.duplicate_of or candidate.id, 0.0)
        return self.mean(candidate)

    @property
    def best(self) -> Candidate | None:
        """The incumbent, or whoever leads once a person rejected it; None while nothing has trained."""
        if self.incumbent is not None and self.incumbent not in self.outcast and not self.by_preference:
            return self[self.incumbent]
        return self.ranked[0] if self.ranked else None

    def __getitem__(self, candidate_id: str) -> Candidate:
        return self._by_id[candidate_id]
