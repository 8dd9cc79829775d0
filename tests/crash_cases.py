"""The reference search of the crash tests: everything durable happens in it, nothing is simulated, all is counted."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.completion import Usage
from eureka_agent.llm.prompting import fenced
from eureka_agent.llm.providers import from_settings
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, Outcome
from eureka_agent.loop import evolve
from eureka_agent.proposers import Sitting
from eureka_agent.report.build import write_report
from eureka_agent.runs.calls import Message, packed
from eureka_agent.runs.crashpoints import Hearer, Killer, heard_by
from eureka_agent.runs.inbox import Feedback, post, waiting
from eureka_agent.runs.run import Run, start_run
from eureka_agent.runs.storage import DRAFT, TEMPORARY
from eureka_agent.search.contest import Incumbency
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_evaluation import statistics
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import (
    CheckpointMeta,
    Job,
    Report,
    SandboxError,
    ScoreSpec,
    TrainingCheckpoint,
    TrainSpec,
)
from eureka_sandbox.protocol import Outcome as BoxOutcome

TASK = load_task("inverted_pendulum_balance")
SETTINGS = Settings(population=3, generations=2, timesteps=90_000, final_seeds=1, jobs=2, model="openai/test")
"""The second generation races: a third and two thirds of the steps are enough updates. Both are contested."""
SALT = b"4"
"""Such that the second generation comes close to the first: after a change of prompts another may be needed."""
REWARD = '''import torch


# scripted: {directive}
def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """{name}"""
    upright = {weight} * torch.cos(pole_angle)
    return upright, {{"upright": upright}}
'''
HALFWAY = CheckpointMeta(
    job="0" * 64,
    versions={},
    timesteps=500,
    seconds=1.0,
    updates=1,
    optimizer_steps=1,
    reward_calls=1,
    components=(),
    log=(),
    curves=(),
    curves_every=1,
    curves_written=0,
    curves_whole=True,
    peak_timesteps=None,
    peak_return=None,
)

SERVER = multiprocessing.get_context("forkserver")
LIBRARY = """
eureka_agent.lab.lab eureka_agent.llm.providers eureka_agent.loop eureka_agent.report.build
eureka_agent.strategies.incumbent eureka_evaluation.analysis eureka_evaluation.hacking eureka_evaluation.maps
eureka_evaluation.recording psutil scipy.stats unittest.mock
"""
"""What searches import, once for all. Not this module: Python 3.11's server does not look where its starter does. And
nothing of boxes or brokers: by its command line the server would pass for one of them."""
SERVER.set_forkserver_preload(LIBRARY.split())
ASKING = threading.Lock()
KILLED = -9
DRAW, RESAMPLES = statistics._draw, 200
NEXT = -1
"""Stands for the box that starts next."""


@dataclass
class Place:
    """One run and the books that are kept of it outside it; they survive every kill."""

    root: Path
    provider: str | None = None
    """Address of one that is asked through a real broker; then sittings must be in processes of their own."""
    models_file: str | None = None

    @property
    def run(self) -> Path:
        """The run's folder, once there is one; a creation that was killed late leaves one without a link to it."""
        made = [path.parent for path in (self.root / "runs" / TASK.name).glob("[0-9]*/run.db")]
        assert len(made) <= 1
        return made[0] if made else self.root / "none"

    def note(self, book: str, line: str) -> None:
        """Append a line, durably as far as a kill goes."""
        with open(self.root / book, "a") as file:
            file.write(line + "\n")

    def lines(self, book: str) -> list[str]:
        path = self.root / book
        return path.read_text().splitlines() if path.exists() else []

    def keys(self, table: str) -> set[str]:
        """What is finished."""
        with database(self.run) as rows:
            return {key for (key,) in rows.execute(f"SELECT key FROM {table}")}


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    # A journal that a power cut left is rolled back by whoever opens the database, which a mere reader may not do.
    connection = sqlite3.connect(f"file:{folder / 'run.db'}?mode=rw", uri=True)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def places() -> Iterator[Callable[[str], Place]]:
    """Makes places, in memory where there is such a file system: a kill does not lose what only a power cut would."""
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="eureka-crash-", dir=memory if os.access(memory, os.W_OK) else None))

    def place(name: str) -> Place:
        (root / name).mkdir()
        return Place(root / name)

    try:
        yield place
    finally:
        shutil.rmtree(root, ignore_errors=True)


class FakeBroker:
    """A provider, and the process that asks it, out of reach of what kills a controller; payments are in a book."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._answers = place.root / "answers"
        self._answers.mkdir(exist_ok=True)

    def __enter__(self) -> FakeBroker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def ask(self, ask: Ask) -> Answered:
        answer = Answered(
            text=written(ask.key, ask.messages),
            finish_reason="stop",
            model="test",
            usage=Usage(input_tokens=100, output_tokens=10),
            request_id=ask.idempotency_key,
            raw="{}",
        )
        # Another thread's crash point may kill this process, which a real broker survives: the answer appears at one
        # go, and is booked only once it is there.
        draft = self._place.root / f"answer-{ask.idempotency_key}"
        draft.write_text(answer.model_dump_json())
        draft.rename(self._answers / ask.idempotency_key)
        self._place.note("paid", ask.key.rpartition("/")[0])
        return answer

    def adopt(self, ticket: str) -> Outcome:
        path = self._answers / ticket
        if path.exists():
            return Answered.model_validate_json(path.read_text())
        return Fault(kind=FaultKind.CONNECT, message="never sent", billed="no")

    def forget(self, ticket: str) -> None:
        (self._answers / ticket).unlink(missing_ok=True)


def written(key: str, messages: Sequence[Message]) -> str:
    """An answer that depends on the question, so that a lineage that strays shows."""
    brief, purpose, _ = key.split("/")
    if (brief, purpose) == ("g0c0", "propose"):
        return "I would rather not write code."
    digest = hashlib.sha256(SALT + packed(messages)).hexdigest()
    weight = "1.0" if brief.startswith("g0") else f"0.{int(digest[:8], 16)}"  # g0c1 is the same program as g0c0
    return fenced(REWARD.format(name=brief, weight=weight, directive="verdict=time" if brief == "g1c1" else ""))


@dataclass
class Boxes(ScriptedSandbox):
    """Boxes that simulate nothing, are counted, and can be killed."""

    place: Place
    _doomed: Counter[int] = field(default_factory=Counter)
    _running: set[int] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__()

    def kill(self) -> None:
        """Those that run now are lost, or the next one if none does."""
        with self._guard:
            self._doomed.update(self._running or {NEXT})

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: threading.Event) -> BoxOutcome:
        me = threading.get_ident()
        kind = {TrainSpec: "trainings", ScoreSpec: "scores"}.get(type(job.spec))
        if kind:
            self.place.note(kind, "begun")
        with self._guard:
            self._running.add(me)
        try:
            if kind == "trainings":
                on_progress(TrainingCheckpoint(HALFWAY, job.files["reward.py"]))
            outcome = super().run(job, on_progress, stop)
            with self._guard:
                lost = next((name for name in (me, NEXT) if self._doomed[name]), None)
                if lost:
                    self._doomed[lost] -= 1
        finally:
            with self._guard:
                self._running.discard(me)
        if lost:
            if kind:
                self.place.note(kind, "lost")
            raise SandboxError("killed")
        return outcome


def sitting(place: Place, hearer: Hearer | None = None, boxes: Boxes | None = None, seed: int = 0) -> None:
    """Begin the run or continue it, to its end."""
    with ExitStack() as stack:
        stack.enter_context(patch("eureka_agent.lab.lab.RECORDED_EPISODES", 2))
        # prompts tell what was seen in episodes, whose seeds no two runs share
        stack.enter_context(patch("secrets.randbits", lambda _: 7))
        # a quarter of a sitting's time went into intervals, which are as durable when drawn coarsely
        stack.enter_context(patch("eureka_evaluation.statistics._draw", coarsely))
        if hearer:
            stack.enter_context(heard_by(hearer))
        settings = SETTINGS.model_copy(
            update={"seed": seed, "base_url": place.provider, "models_file": place.models_file}
        )
        run = Run.open(place.run) if place.run.exists() else start_run(place.root / "runs", TASK, settings)
        with run:
            run.amend({"max_seconds": 3600.0})
            if not run.taken() and not waiting(run.folder):
                with heard_by(lambda _: None):  # a person's own process
                    post(run.folder, Feedback(text="Stand still."))
            search(place, run, boxes or Boxes(place))


def coarsely(lengths: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`statistics._draw` of fewer resamples."""
    return DRAW(lengths, min(resamples, RESAMPLES), rng)


def search(place: Place, run: Run, boxes: Boxes) -> None:
    lab = Lab(boxes, run)
    lab.begin()
    lab.begin()
    here = Sitting(run, lab.watcher, lab.boxes.stopping, lab.smoke)
    fake = patch("eureka_agent.llm.providers.Broker", lambda *_: FakeBroker(place))
    with nullcontext() if place.provider else fake:
        proposer = from_settings(run.settings, None, here)
    with here.resources:
        evolve(run, proposer, Incumbent(), lab)
    with patch("eureka_agent.report.build.render", lambda _: "a page"):  # drawing it takes longer than all the rest
        write_report(run)


def killed_sitting(place: Place, name: str, number: int, what: str = "controller") -> None:
    """A sitting that is killed at a crash point, if it comes to it."""
    boxes = Boxes(place)
    sitting(place, Killer(name, number, what, boxes.kill), boxes)


def sitting_without_a_box(place: Place) -> None:
    """A sitting that loses the first box that it starts: one that was killed together with its controller."""
    boxes = Boxes(place)
    boxes.kill()
    sitting(place, boxes=boxes)


def in_child(work: Callable[..., None], *arguments: object, killed_after: float | None = None) -> int:
    """Run in a process forked from a clean, warm server; returns its exit code, -9 for SIGKILL.

    An exit code can be read once, and `start` reads those of every child that has ended. So one thread at a time asks:
    of two that ask at once, one would be told 255.
    """
    child = SERVER.Process(target=work, args=arguments)
    with ASKING:
        child.start()
    ended = wait([child.sentinel], 120 if killed_after is None else killed_after)
    if killed_after is not None and not ended:
        child.kill()
        ended = wait([child.sentinel], 120)
    assert ended, "it hangs"
    with ASKING:
        code = child.exitcode
    assert code is not None
    return code


def lineage(place: Place) -> str:
    """SHA-256 over the history."""
    return hashlib.sha256("\n".join(history(place)).encode()).hexdigest()


def history(place: Place) -> list[str]:
    """Candidates, parents, code, prompts, seeds, verdicts and fitness, and the comparison's figures."""
    with Run.open(place.run, read_only=True) as run:
        comparison = run.comparison()
        assert comparison is not None
        lines = [
            f"{c.id} {c.brief} {hashlib.sha256(c.code.encode()).hexdigest()} {c.training.seed if c.training else None} "
            f"{c.failure} {c.fitness} {c.stopped} {c.rungs} {c.reflection}"
            for c in run.population().candidates
        ]
        lines += [f"{run.decided(f'g{i}/incumbent', Incumbency)}" for i in range(run.settings.generations)]
        answered = [call for call in run.calls() if call.answered]
        lines += sorted(f"{c.brief} {c.purpose} {c.state} {c.prompt} {c.response} {c.tokens}" for c in answered)
        for arm in comparison.arms:
            lines += [f"{t.training.seed if t.training else None} {t.score and t.score.fitness}" for t in arm.trials]
    return lines


def faults(place: Place, begun_before: dict[str, int], finished_before: dict[str, int], expected: str) -> list[str]:
    """What is wrong with a run after its last sitting, which began with these numbers in its books and tables."""
    found: list[str] = []
    if lineage(place) != expected:
        found.append("another lineage")
    if twice := [call for call, times in Counter(place.lines("paid")).items() if times > 1]:
        found.append(f"paid more than once: {twice}")
    for table in ("trainings", "scores"):
        book = place.lines(table)[begun_before[table] :]
        repeated = book.count("begun") - book.count("lost") - (len(place.keys(table)) - finished_before[table])
        if repeated:
            found.append(f"{repeated} {table} repeated")
    leftovers = [p for p in place.root.rglob("*") if p.name.startswith(TEMPORARY) or DRAFT in p.name]
    leftovers += [p for name in (place.run / "checkpoints", place.root / "answers") for p in name.glob("*")]
    if leftovers:
        found.append(f"left behind: {leftovers}")
    with Run.open(place.run, read_only=True) as run:
        for candidate in run.population().candidates:
            export = json.loads((place.run / "candidates" / candidate.id / "result.json").read_text())
            if export["reflection"] != candidate.reflection:
                found.append(f"{candidate.id} is not exported as it is")
    with database(place.run) as rows:
        if rows.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            found.append("a damaged database")
    return found


def standing(place: Place) -> tuple[dict[str, int], dict[str, int]]:
    """How many trainings and scorings were begun, and how many are finished."""
    tables = ("trainings", "scores")
    begun = {table: len(place.lines(table)) for table in tables}
    return begun, {table: len(place.keys(table)) if place.run.exists() else 0 for table in tables}


class Passes:
    """Counts how often each crash point is passed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
