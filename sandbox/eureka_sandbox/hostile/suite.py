"""Running the corpus against a sandbox: what was contained, and what got out.

A case is contained only if its box ended as expected, the host sees no damage, and the benign reward of its category
succeeded: a box in which nothing works contains nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock

import numpy as np
from safetensors.numpy import save

from eureka_sandbox.backends.untrusted import one_line
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.hostile.bait import MARK, Bait
from eureka_sandbox.hostile.corpus import CONTROL, RUNS, TAMPERING, Case, Category, load_corpus
from eureka_sandbox.hostile.probe import BLOCKED, BROKEN, THROUGH, checksum, probes
from eureka_sandbox.hostile.tamper import ENVIRONMENT, Honest, honest_training, runner, tampered, train_job
from eureka_sandbox.protocol import (
    Failed,
    Failure,
    Finished,
    Job,
    Limits,
    Outcome,
    Sandbox,
    SandboxError,
    SmokeResult,
    SmokeSpec,
)

LARGEST_GROUP = 24
"""Attacks in one box, each a component of its own."""
TRANSITIONS, BATCH = 128, 64
HOST_KEY = "EUREKA_CANARY_API_KEY"
"""Set in the host's environment while the suite runs: no box may find it in its own."""


@dataclass(frozen=True)
class Finding:
    """How one case ended."""

    case: Case
    contained: bool
    reason: str
    """What got through, or how the box ended otherwise than expected; empty if neither."""
    ended: str
    """`runs`, or the failure."""

    def __str__(self) -> str:
        return f"{self.case.key}: {self.reason or 'contained'} ({self.ended or 'no end'})"


@dataclass(frozen=True)
class Report:
    """A whole suite."""

    findings: tuple[Finding, ...]
    controls: tuple[Finding, ...]
    """The benign reward of each category."""
    seconds: float

    @property
    def tried(self) -> int:
        """How many cases ran."""
        return len(self.findings)

    @property
    def contained(self) -> int:
        """How many of them were held."""
        return sum(finding.contained for finding in self.findings)

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Those that were not, and controls that failed."""
        return tuple(f for f in (*self.controls, *self.findings) if not f.contained)

    @property
    def holds(self) -> bool:
        """Everything was contained and every benign reward worked."""
        return not self.leaks

    def __str__(self) -> str:
        worked = sum(control.contained for control in self.controls)
        return (
            f"{self.contained} of {self.tried} contained, {worked} of {len(self.controls)} controls succeeded, "
            f"{self.seconds:.0f} s"
        )


def run_suite(
    sandbox: Sandbox,
    categories: Collection[str] | None = None,
    on_result: Callable[[Finding], None] = lambda _: None,
    jobs: int = 2,
    in_depth: bool = True,
    bare: bool = False,
    stop: Event | None = None,
) -> Report:
    """Run every case of the corpus, several boxes at a time.

    Args:
        sandbox: what is tested. A sandbox named `none` is no wall: only `bare` cases may run in it.
        categories: letters; None: all.
        on_result: called for each case and control when it has ended, from any thread.
        jobs: boxes side by side.
        in_depth: also the cases whose boxes differ little from others'; without them it takes half as long.
        bare: only the cases that get through without a wall and do no harm there.
        stop: as in `Sandbox.run`.

    Raises:
        ValueError: an unknown category, or the whole corpus without a wall.
        JobStopped: `stop` was set.
    """
    corpus = load_corpus()
    if unknown := sorted(set(categories or ()) - corpus.keys()):
        raise ValueError(f"no category {unknown[0]!r}; there are {', '.join(corpus)}")
    if sandbox.name == "none" and not bare:
        raise ValueError("without a wall the hostile corpus would harm this machine; use docker or embedded")
    started = time.monotonic()
    suite = _Suite(sandbox, stop or Event(), on_result)
    wanted = [c for letter, c in corpus.items() if categories is None or letter in categories]
    chosen = [_chosen(category, in_depth, bare) for category in wanted]
    with _key_in_environment(), ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="hostile") as pool:
        work = [pool.submit(step) for category in chosen if category.cases for step in suite.steps(category)]
        findings = [finding for done in work for finding in done.result()]
    return Report(*_judged(findings), time.monotonic() - started)


def _chosen(category: Category, in_depth: bool, bare: bool) -> Category:
    cases = (case for case in category.cases if (in_depth or not case.in_depth) and (case.bare or not bare))
    return replace(category, cases=tuple(cases))


def _judged(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Cases and controls; a case of a category whose control failed is not contained."""
    found = list(findings)
    controls = tuple(f for f in found if f.case.name == CONTROL)
    failed = {f.case.category for f in controls if not f.contained}
    unproven = "the benign reward of its category failed, so this proves nothing"
    cases = (f for f in found if f.case.name != CONTROL)
    return tuple(
        replace(f, contained=False, reason=f.reason or unproven) if f.case.category in failed else f for f in cases
    ), controls


@contextlib.contextmanager
def _key_in_environment() -> Iterator[None]:
    before = os.environ.get(HOST_KEY)
    os.environ[HOST_KEY] = f"{MARK}of-the-host"
    try:
        yield
    finally:
        if before is None:
            del os.environ[HOST_KEY]
        else:
            os.environ[HOST_KEY] = before


class _Suite:
    """One run of the corpus."""

    def __init__(self, sandbox: Sandbox, stop: Event, on_result: Callable[[Finding], None]) -> None:
        self._sandbox, self._stop, self._on_result = sandbox, stop, on_result
        self._run = runner(sandbox, stop)
        self._honest: Honest | Failure | None = None
        self._lock = Lock()

    def steps(self, category: Category) -> Iterator[Callable[[], list[Finding]]]:
        """Pieces of work that can run side by side."""
        if category.letter == TAMPERING:
            for case in (category.control, *category.cases):
                yield lambda case=case: self._tampering(case, category.control)  # type: ignore[misc]
            return
        together = [case for case in (category.control, *category.cases) if case.attacks and not case.alone]
        for begin in range(0, len(together), LARGEST_GROUP):
            yield lambda group=tuple(together[begin : begin + LARGEST_GROUP]): self._together(group)  # type: ignore[misc]
        for case in (category.control, *category.cases):
            if case not in together:
                yield lambda case=case: self._together((case,))  # type: ignore[misc]

    def _together(self, cases: Sequence[Case]) -> list[Finding]:
        """Cases that share a box; a case of its own box is a group of one."""
        with contextlib.ExitStack() as stack:
            baits = {case: stack.enter_context(Bait()) for case in cases}
            try:
                outcome = self._sandbox.run(_job(baits), lambda _: None, self._stop)
            except SandboxError as error:
                return [self._told(case, f"the sandbox failed: {error}", "") for case in cases]
            return [self._told(case, *_judge(case, outcome, baits[case])) for case in cases]

    def _tampering(self, case: Case, control: Case) -> list[Finding]:
        try:
            honest = self._honest_training(control)
            if case == control or isinstance(honest, Failure):
                reason = "the honest training failed" if isinstance(honest, Failure) else ""
                return [self._told(case, reason, str(honest) if reason else RUNS)]
            reason, failure = tampered(self._run, case, honest)
        except SandboxError as error:
            return [self._told(case, f"the sandbox failed: {error}", "")]
        return [self._told(case, reason or unexpected(case, failure), str(failure) if failure else RUNS)]

    def _honest_training(self, control: Case) -> Honest | Failure:
        """Once for all cases; they wait for it."""
        with self._lock:
            if self._honest is None:
                self._honest = honest_training(self._run, control)
            return self._honest

    def _told(self, case: Case, reason: str, ended: str) -> Finding:
        finding = Finding(case, not reason, reason, ended)
        self._on_result(finding)
        return finding


def _job(baits: dict[Case, Bait]) -> Job:
    first, *_ = baits
    limits = first.limits
    reward = probes({case: bait.box for case, bait in baits.items()}) if first.attacks else first.source
    if first.box == "train":
        return train_job(reward, limits)
    return smoke_job(reward, limits)


def smoke_job(reward: bytes, limits: Limits) -> Job:
    """A smoke box over made-up transitions."""
    rng = np.random.default_rng(0)
    variables = BODIES[ENVIRONMENT.body].variables
    bank: bytes = save({v.name: rng.normal(size=(TRANSITIONS, *v.shape)).astype(np.float32) for v in variables})
    spec = SmokeSpec(environment=ENVIRONMENT, batch=BATCH)
    return Job(spec, {"reward.py": reward, "bank.safetensors": bank}, limits)


def _judge(case: Case, outcome: Outcome, bait: Bait) -> tuple[str, str]:
    """Why the case is not contained (empty if it is), and how its box ended."""
    failure = outcome.failure if isinstance(outcome, Failed) else None
    said = _said(case, outcome, bait) if isinstance(outcome, Finished) and case.attacks else ""
    reasons = [*bait.damage(), said, unexpected(case, failure)]
    return "; ".join(reason for reason in reasons if reason), str(failure) if failure else RUNS


def _said(case: Case, outcome: Finished, bait: Bait) -> str:
    """What the attack's own component gives away."""
    assert isinstance(outcome.result, SmokeResult)
    term = outcome.result.components.get(case.name)
    if term is None:
        return "the box said nothing about it"
    if term.mean == BROKEN:
        return "the attack itself is broken"
    if case.name == CONTROL:
        return "" if term.mean == THROUGH else "what every reward may do was refused"
    if term.mean == checksum(bait.secret):
        return "read the secret, and proved it"
    return "" if term.mean == BLOCKED else "says that it got through"


def unexpected(case: Case, failure: Failure | None) -> str:
    """How an end differs from the expected, empty if it does not; a failure's message must be one clean line, too."""
    if failure is None:
        return "" if any(word == RUNS for word, _ in case.expects) else f"ran to its end, expected {case.expected}"
    if failure.message != one_line(failure.message, 1000):
        return "the failure's message is not one clean line"
    for word, line in case.expects:
        if failure.verdict == word and (line is None or (failure.file, failure.line) == ("reward.py", line)):
            return ""
    return f"ended with {failure}; expected {case.expected}"
