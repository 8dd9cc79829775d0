"""One run is one folder: `run.db` (the journal) and `blobs/` are the state; everything else can be written again.

Decisions are journaled before they act, trainings and scores as soon as they end; a blob reaches the disk before the
row that names it. So a run killed at any instant continues from `Run.open` and repeats nothing that had finished.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from eureka_agent.contract.task import Task
from eureka_agent.errors import RunError, UsageError
from eureka_agent.lab.floor import FLOOR, Floor
from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.review.steering import Steering, steering_of
from eureka_agent.runs.calls import BOOKED, COLUMNS, COSTS, Booked, Call, Cost, call_of, call_row
from eureka_agent.runs.checkpoints import FOLDER as CHECKPOINTS
from eureka_agent.runs.checkpoints import Checkpoints
from eureka_agent.runs.crashpoints import crashpoint, decision_step
from eureka_agent.runs.draft import task_as_begun, write_draft
from eureka_agent.runs.exports import export_call, export_candidate, exporting
from eureka_agent.runs.inbox import Taken
from eureka_agent.runs.journal import DATABASE, Journal, Statement
from eureka_agent.runs.rows import candidate_row, outcome_row, read_candidates, without_curves
from eureka_agent.runs.storage import (
    NOTHING_LEFT,
    TEMPORARY,
    Blobs,
    WriterLock,
    appearing,
    storage_errors,
    sweep_temporaries,
)
from eureka_agent.runs.work import Tally, Work, steps_of, tally_of, work_of
from eureka_agent.search.comparison import Comparison
from eureka_agent.search.contest import Incumbency, incumbency_key
from eureka_agent.search.stopping import Stop, stop_key
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.text import flag_of, from_here
from eureka_sandbox.protocol import Failure, TrainingCheckpoint

M = TypeVar("M", bound=BaseModel)
AMENDABLE = frozenset(
    {"generations", "target", "patience", "steps", "jobs", "max_seconds", "wall_seconds", "memory_mb", "sandbox"}
    | {"max_cost", "max_tokens", "max_calls", "on_unknown", "models_file", "base_url", "max_output_tokens", "effort"}
    | {"max_cost_per_hour"}
    | {"films", "maps"}
)
"""Settings that may change between sittings without making earlier results incomparable."""


class Run:
    """The record of one search. Its methods may be called from several threads of the process that opened it."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        """Use `Run.create`, `Run.open` or `start_run`."""
        self.folder = folder
        self.read_only = read_only
        self._writer = None if read_only else WriterLock(folder / "run.lock")
        self._journal: Journal | None = None
        self._standings: tuple[dict[str, Standing], int] = {}, 0
        try:
            self._journal = Journal(folder, read_only)
            self._blobs = Blobs(folder / "blobs")
            self._checkpoints = Checkpoints(folder / CHECKPOINTS, self._journal)
            self.settings = Settings.stored(self._journal.meta("settings"))
            self.task = task_as_begun(folder, self._journal.meta("task"), self._blobs)
            if not read_only:
                self._tidy()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, task: Task, settings: Settings) -> Run:
        """Make a run in `folder`, which must not hold one yet, and open it. All of it appears at once, or nothing.

        Raises:
            UsageError: the folder is taken.
            RunError: it cannot be written.
        """
        folder = Path(folder).absolute()
        with storage_errors(folder, NOTHING_LEFT):
            taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if taken:
            continues = f"`eureka evolve --resume {from_here(folder)}` continues it"
            advice = continues if (folder / DATABASE).is_file() else "choose another folder with --output"
            raise UsageError(f"{folder}: already exists and is not empty; {advice}")
        with appearing(folder) as draft:
            crashpoint("create.drafted")
            write_draft(draft, task, settings)
            crashpoint("create.filled")
        crashpoint("create.renamed")
        return cls(folder)

    @classmethod
    def open(cls, folder: Path, read_only: bool = False) -> Run:
        """Open an existing run, to continue it or (`read_only`, also while another process writes) to look at it.

        Raises:
            RunError: not a run folder, of a newer format, or open in another process.
        """
        folder = Path(folder)
        if not (folder / DATABASE).is_file():
            raise RunError(f"{folder}: not a run folder (no {DATABASE} there); `eureka runs` lists the runs")
        return cls(folder.resolve(), read_only)

    def close(self) -> None:
        """Let others write. Whatever was saved is already durable."""
        try:
            if self._journal is not None:
                self._journal.close()
        finally:
            self._journal = None
            if self._writer is not None:
                self._writer.release()
                self._writer = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- decisions

    def decide(self, key: str, model: type[M], compute: Callable[[], M]) -> M:
        """A journaled memo: the value decided under `key`, computed and stored durably the first time only.

        `compute` runs outside the lock, so that slow decisions (an LLM's) can be taken side by side.
        """
        known = self.decided(key, model)
        if known is not None:
            return known
        row = (key, compute().model_dump_json(), time.time())
        self._write(("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", row), step=decision_step(key))
        stored = self.decided(key, model)
        assert stored is not None
        return stored

    def decided(self, key: str, model: type[M]) -> M | None:
        """What was decided under `key`, or None."""
        rows = self._open.rows("SELECT value FROM decisions WHERE key = ?", (key,))
        return model.model_validate_json(rows[0][0]) if rows else None

    def has_decided(self, key: str) -> bool:
        """Whether anything was decided under `key`."""
        return bool(self._open.rows("SELECT 1 FROM decisions WHERE key = ?", (key,)))

    def floor(self) -> Floor | None:
        """What play without learning reaches here; None while nobody has measured it."""
        return self.decided(FLOOR, Floor)

    # ------------------------------------------------------------------------------------------------------- calls

    def call(self, key: str) -> Call | None:
        """What a language model was asked under `key`, or None."""
        rows = self._open.rows(f"SELECT {COLUMNS} FROM calls WHERE key = ?", (key,))
        return call_of(rows[0]) if rows else None

    def calls(self) -> tuple[Call, ...]:
        """Every call to a language model, in the order in which they were decided."""
        return tuple(map(call_of, self._open.rows(f"SELECT {COLUMNS} FROM calls ORDER BY reserved, key")))

    def attempts(self, brief: str, purpose: str) -> tuple[Call, ...]:
        """Every request for one answer, the first one first."""
        sql = f"SELECT {COLUMNS} FROM calls WHERE brief = ? AND purpose = ? ORDER BY attempt"
        return tuple(map(call_of, self._open.rows(sql, (brief, purpose))))

    def booked(self) -> Booked:
        """What all calls together count, those under way at their worst case."""
        return Booked(**dict(zip(Booked.model_fields, self._open.rows(BOOKED)[0], strict=True)))

    def costs(self) -> list[Cost]:
        """What each call counts that costs anything."""
        return [Cost(*row) for row in self._open.rows(COSTS)]

    def save_call(self, call: Call, check: Callable[[], None] | None = None) -> None:
        """Store or update a call and its readable export; its blobs must be stored already.

        `check` looks at the run with the call in it: if it raises, the call is not stored.
        """
        step = "received" if call.state in ("failed", "unknown") else call.state
        self._open.write([call_row(call)], f"call.{step}", check)
        with exporting(self.folder / "candidates"):
            export_call(self.folder / "candidates" / call.brief, call, self.blob)

    # ----------------------------------------------------------------------------------------------- measurements

    def training(self, key: str) -> Training | Failure | None:
        """What box A answered under `key`; None if it has not finished."""
        return self._outcome("trainings", key, Training)

    def save_training(self, key: str, outcome: Training | Failure) -> None:
        """Store what box A answered; its blobs must be stored already."""
        t = outcome if isinstance(outcome, Training) else None
        numbers = (t.seed, t.timesteps, t.seconds, t.peak_return) if t else (None,) * 4
        used_up = self._checkpoints.digest(key)
        row = outcome_row("trainings", key, numbers, outcome)
        self._write(row, self._checkpoints.ending(key), step="training")
        self._checkpoints.drop(used_up)

    def save_checkpoint(self, key: str, checkpoint: TrainingCheckpoint) -> None:
        """Store where the training under `key` could go on from, until it ends or the next checkpoint comes."""
        self._checkpoints.put(key, checkpoint)

    def checkpoint(self, key: str) -> TrainingCheckpoint | None:
        """Where the training under `key` can go on from; None: it begins at the beginning."""
        return self._checkpoints.get(key)

    def score(self, key: str) -> Score | Failure | None:
        """What box B answered under `key`; None if it has not finished."""
        return self._outcome("scores", key, Score)

    def save_score(self, key: str, outcome: Score | Failure) -> None:
        """Store what box B answered; its blobs must be stored already."""
        s = outcome if isinstance(outcome, Score) else None
        numbers = (len(s.fitness), s.mean, s.success_rate, s.seconds) if s else (None,) * 4
        self._write(outcome_row("scores", key, numbers, outcome), step="score")

    def _outcome(self, table: str, key: str, model: type[M]) -> M | Failure | None:
        rows = self._open.rows(f"SELECT record, verdict FROM {table} WHERE key = ?", (key,))
        if not rows:
            return None
        record, verdict = rows[0]
        return model.model_validate_json(record) if verdict is None else Failure.model_validate_json(record)

    # -------------------------------------------------------------------------------------------------- candidates

    def save(self, candidate: Candidate) -> None:
        """Store or update a candidate (its training and score are stored already) and its readable export.

        It is trained no further: a checkpoint of it goes.
        """
        left = self._checkpoints.digest(candidate.id)
        self._write(candidate_row(candidate), self._checkpoints.ending(candidate.id), step="candidate")
        self._checkpoints.drop(left)
        self._export(candidate)

    def extend(
        self, population: Population, generation: Iterable[Candidate], incumbent: str | None = None
    ) -> Population:
        """Store a finished generation in one transaction and return the population with it, without its curves.

        `incumbent` is who leads it, as its contest decided; None: the best score.
        """
        new = tuple(generation)
        extended = population.extended(map(without_curves, new)).with_(incumbent=incumbent)
        counted = ("UPDATE meta SET value = ? WHERE key = 'generations'", (str(extended.generations),))
        self._write(*map(candidate_row, new), counted, step="generation")
        for candidate in new:
            self._export(candidate)
        return extended.with_(standings=self.standings())

    def population(self, partial: bool = False, curves: bool = True) -> Population:
        """All candidates of the finished generations; `partial` adds those of the generation under way.

        Without `curves`, which are nine tenths of a long run, trainings come with none; see `with_curves`.
        """
        finished = "? OR generation < ?", (partial, self.generations)
        candidates, last = read_candidates(self._open, *finished, curves), self.incumbency()
        leader = last.id if last else None
        return self.steered(Population(candidates=candidates, incumbent=leader, standings=self.standings()))

    def leaders(self) -> Population:
        """A population whose `best` is that of all candidates, and of as few as that takes; without curves."""
        last, steered = self.incumbency(), self.steered(Population())
        leader = last.id if last else None
        if leader is None or steered.rejected or steered.by_preference:
            return self.population(partial=True, curves=False)
        alone = read_candidates(self._open, "id = ?", (leader,), curves=False)
        return steered.with_(candidates=alone, incumbent=leader, standings=self.standings())

    def candidate(self, candidate_id: str) -> Candidate:
        """One candidate with all that is known of it.

        Raises:
            KeyError: the run has none of that id.
        """
        found = read_candidates(self._open, "id = ?", (candidate_id,), curves=True)
        if not found:
            raise KeyError(candidate_id)
        return found[0]

    def with_curves(self, population: Population, ids: Iterable[str]) -> Population:
        """A population that was loaded without curves, with those of some candidates."""
        full = {name: self.candidate(name).training for name in set(ids)}
        return population.with_(
            candidates=tuple(
                c.model_copy(update={"training": full[c.id]}) if c.id in full else c for c in population.candidates
            )
        )

    @property
    def generations(self) -> int:
        """How many generations are complete."""
        return int(self._open.meta("generations"))

    def incumbency(self) -> Incumbency | None:
        """The contest of the last finished generation; None if it had none."""
        return self.decided(incumbency_key(self.generations - 1), Incumbency)

    def standings(self) -> dict[str, Standing]:
        """Everyone who was ever contested, each as the last contest left it."""
        (known, folded), generations = self._standings, self.generations
        for number in range(folded, generations):
            held = self.decided(incumbency_key(number), Incumbency)
            known = known | {standing.id: standing for standing in held.standings} if held else known
        self._standings = known, generations  # several threads may come to the same
        return known

    def reread(self) -> None:
        """Take over settings that another process has changed."""
        self.settings = Settings.stored(self._open.meta("settings"))

    def names(self) -> list[str]:
        """Ids of the candidates that have ended, those of the generation under way included, in order of birth."""
        return [str(name) for (name,) in self._open.rows("SELECT id FROM candidates ORDER BY generation, slot")]

    def stage(self) -> str:
        """Changes when a report has something new to show: candidates, films, maps, words, contests, the comparison."""
        shown = ("comparison/%", "g%/incumbent", "g%/inbox/%", "maps/%")
        (counts,) = self._open.rows(
            "SELECT (SELECT count(*) FROM candidates), (SELECT count(*) FROM scores WHERE key LIKE 'film/%'), "
            "(SELECT count(*) FROM decisions WHERE key LIKE ? OR key LIKE ? OR key LIKE ? OR key LIKE ?)",
            shown,
        )
        return " ".join(map(str, counts))

    def taken(self) -> tuple[Taken, ...]:
        """What people have said between generations, in the order in which the search took it up."""
        rows = self._open.rows("SELECT key, value FROM decisions WHERE key LIKE 'g%/inbox/%'")
        order = sorted(rows, key=lambda row: [int(part) for part in row[0].lstrip("g").split("/inbox/")])
        return tuple(Taken.model_validate_json(value) for _, value in order)

    @property
    def steering(self) -> Steering:
        """What all that comes to."""
        return steering_of(self.taken())

    def steered(self, population: Population, said: Steering | None = None) -> Population:
        """The population with what people, or a vision model, think of its candidates.

        `said` is what people had said by then; None: all that they have said.
        """
        steering, spec = self.steering if said is None else said, self.task.spec
        first = spec.by_preference or spec.by_vision
        if not steering.verdicts and not steering.comparisons and not first:
            return population
        liked = {name: strength.value for name, strength in steering.strengths.items()}
        preference = population.as_seen if spec.by_vision else liked
        return population.with_(rejected=steering.rejected, preference=preference, by_preference=first)

    def comparison(self) -> Comparison | None:
        """The last comparison, if the run has come to its end; none once it was given other bounds to go on to."""
        rows = self._open.rows("SELECT key, value FROM decisions WHERE key LIKE 'comparison/%'")
        after = {int(key.removeprefix("comparison/")): value for key, value in rows}  # not by time: clocks jump
        last = max(after, default=0)
        ended = last == self.generations and (last >= self.settings.generations or self.end(last))
        return Comparison.model_validate_json(after[last]) if after and ended else None

    def end(self, generations: int | None = None) -> Stop | None:
        """Why the search is over, after the finished generations or so many; None while it is not."""
        done = self.generations if generations is None else generations
        return self.decided(stop_key(done, self.settings), Stop)

    def stops(self) -> tuple[Stop, ...]:
        """Every end that the search came to, under the bounds that it had then; the earliest first."""
        rows = self._open.rows("SELECT value FROM decisions WHERE key LIKE 'stop/%'")
        return tuple(sorted((Stop.model_validate_json(value) for (value,) in rows), key=lambda stop: stop.seconds))

    def _tidy(self) -> None:
        """Remove what a killed writer left half-written, and write what it did not come to export."""
        sweep_temporaries(self.folder)
        if self._open.after_restart:
            sweep_temporaries(self.folder / "inbox")  # other processes write there, none of which lives any more
        self._checkpoints.sweep()
        last = self.generations - 1  # what its end changed may be missing, after an error as well as after a kill
        rows = self._open.rows("SELECT id, generation FROM candidates")
        sound = set[str]()
        if not self._open.after_restart:
            sound = {name for name, generation in rows if generation < last and self._is_exported(name)}
        for name in sorted({name for name, _ in rows} - sound):
            self._export(self.candidate(name))
        for call in self.calls():
            if call.brief not in sound:
                with exporting(self.folder / "candidates"):
                    export_call(self.folder / "candidates" / call.brief, call, self.blob, anew=self._open.after_restart)

    def _is_exported(self, candidate: str) -> bool:
        """As far as can be seen without reading: what was not waited for may be empty after a power cut."""
        try:
            return (self.folder / "candidates" / candidate / "result.json").stat().st_size > 0
        except OSError:
            return False

    def _export(self, candidate: Candidate) -> None:
        with exporting(self.folder / "candidates"):
            export_candidate(self.folder / "candidates" / candidate.id, candidate)

    # ------------------------------------------------------------------------------------------------------- other

    def put_blob(self, data: bytes) -> str:
        """Store bytes durably; returns their SHA-256."""
        with storage_errors(self.folder / "blobs"):
            return self._blobs.put(data)

    def blob(self, digest: str) -> bytes:
        """Bytes by their SHA-256."""
        return self._blobs.get(digest)

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of all sittings together."""
        return self._open.elapsed_seconds

    @property
    def trained_steps(self) -> int:
        """Environment steps of all finished trainings, the comparisons' included."""
        return steps_of(self._open)

    @property
    def searched_steps(self) -> int:
        """Those of the search alone, without the last comparison."""
        return steps_of(self._open, but="final/%")

    @property
    def work(self) -> Work:
        """What all finished boxes computed, contests and the last comparison included."""
        return work_of(self._open)

    @property
    def work_of_candidates(self) -> Work:
        """The same of candidates alone: rungs and contests included, the last comparison and films not."""
        return work_of(self._open, only="g%")

    @property
    def tally(self) -> Tally:
        """What became of the candidates, without loading them."""
        return tally_of(self._open)

    @property
    def created(self) -> float:
        """When the run began, seconds since 1970."""
        return float(self._open.meta("created"))

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Change settings that bound the search (more generations, more time), for this and later sittings.

        Raises:
            UsageError: the setting would make earlier results incomparable.
        """
        self.settings = amended(self.settings, changes)
        row = (self.settings.model_dump_json(),)
        self._write(("UPDATE meta SET value = ? WHERE key = 'settings'", row), step="settings")

    @property
    def _open(self) -> Journal:
        if self._journal is None:
            raise RunError(f"{self.folder}: the run is closed")
        return self._journal

    def _write(self, *statements: Statement, step: str) -> None:
        self._open.write(statements, step)


def standing(run: Run) -> str:
    """What there is so far, for the message of a search that stops early."""
    population = run.leaders()
    best = population.best
    if best is None:
        return "nothing has trained to its end yet"
    return f"saved; best so far: {best.id} with {population.standing(best).told(run.task.spec.metric.unit)}"


def amended(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A run's settings with changes that leave its earlier results comparable.

    Raises:
        UsageError: a change would not.
    """
    for name in changes:
        if name not in AMENDABLE:
            allowed = ", ".join(sorted(map(flag_of, AMENDABLE)))
            raise UsageError(f"{flag_of(name)} is fixed when a run begins; a resumed run may change {allowed}")
    return Settings.model_validate({**settings.model_dump(), **changes})


def start_run(root: Path, task: Task, settings: Settings) -> Run:
    """Create `root/<task>/<timestamp>-<shortid>/` and point `root/<task>/latest` at it."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    run = Run.create(Path(root) / task.name / name, task, settings)
    try:
        link = run.folder / f"{TEMPORARY}latest"
        with storage_errors(link):
            link.symlink_to(name)
            crashpoint("create.linking")
            os.replace(link, run.folder.with_name("latest"))
        crashpoint("create.linked")
    except BaseException:
        run.close()
        raise
    return run
