"""Parts of the tests of calls that cost: a broker without a process, that answers and bills as it is told."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_cases import TASK, Log, answer

from eureka_agent.llm.asking import Asking
from eureka_agent.llm.completion import Usage
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.pacing import Time
from eureka_agent.llm.prompting import Message, Request
from eureka_agent.llm.shorten import shortened
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Outcome, Price
from eureka_agent.proposers import Sitting
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings

PRICE = Price(input=1.0, output=10.0, cache_read=0.1, cache_write=1.25)
MODEL = ModelConfig(name="openai/m", price=PRICE)
Script = Callable[[Ask], "Outcome | BaseException"]


class Killed(BaseException):
    """The controller is gone, as after SIGKILL: nothing more of it runs."""


class FakeBroker:
    """What a broker and its provider are together. `script` says what comes of each request.

    It remembers what was asked and what the provider billed, in every sitting, as the spool and the provider do.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or (lambda ask: answered(ask))
        self.asked: list[Ask] = []
        self.billed: dict[str, Usage] = {}
        """What the provider counts, by idempotency key; worth what `answered` and `fault` say."""
        self.spool: dict[str, Outcome] = {}
        self.forgotten: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> FakeBroker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        """Nothing to start."""

    def ask(self, ask: Ask) -> Outcome:
        with self._lock:
            self.asked.append(ask)
        outcome = self.script(ask)
        if isinstance(outcome, BaseException):
            raise outcome
        with self._lock:
            self.spool[ask.idempotency_key] = outcome
            if isinstance(outcome, Answered) and outcome.usage:
                self.billed[ask.idempotency_key] = outcome.usage
        return outcome

    def adopt(self, idempotency_key: str) -> Outcome | None:
        return self.spool.get(idempotency_key)

    def forget(self, idempotency_key: str) -> None:
        self.forgotten.append(idempotency_key)
        self.spool.pop(idempotency_key, None)


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float, stopping: threading.Event) -> None:
        with self._lock:
            self.now += seconds
            self.slept.append(seconds)

    @property
    def time(self) -> Time:
        """Backoff without jitter, so that the waits can be read."""
        return Time(clock=lambda: self.now, sleep=self.sleep, uniform=lambda low, high: high)


USAGE = Usage(input_tokens=100, output_tokens=20)


def answered(ask: Ask, text: str | None = None, usage: Usage | None = USAGE, **more: str) -> Answered:
    """A whole answer."""
    given = {"finish_reason": "stop", "model": ask.model.name.partition("/")[2], "request_id": "req", "raw": "{}"}
    return Answered.model_validate({"text": answer(ask.key) if text is None else text, "usage": usage, **given, **more})


def fault(kind: str, billed: str = "no", **more: object) -> Fault:
    """No answer."""
    said = {"kind": FaultKind(kind), "message": f"the provider says {kind}", "billed": billed}
    return Fault.model_validate(said | more)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: what is durable there is so at once."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def paid_run(folder: Path, **settings: object) -> Run:
    """A new run of two generations of two whose model costs."""
    small = {"population": 2, "generations": 2, "timesteps": 1000, "final_seeds": 1, "jobs": 2, "model": MODEL.name}
    return Run.create(folder, TASK, Settings.model_validate({**small, **settings}))


def asking(
    run: Run,
    broker: object,
    clock: Clock | None = None,
    models: tuple[ModelConfig, ...] = (MODEL,),
    log: Log | None = None,
) -> Asking:
    """A run's conversations through a broker of the test's."""
    sitting = Sitting(run, log or Log(), threading.Event())
    return Asking(sitting, Ensemble(models), broker, shortened, (clock or Clock()).time)  # type: ignore[arg-type]


def request(brief: str = "g0c0", text: str = "Write a reward.", purpose: str = "propose") -> Request:
    """A short question."""
    messages = (Message(role="system", content="You write rewards."), Message(role="user", content=text))
    return Request(messages=messages, brief=brief, purpose=purpose, position=0)
