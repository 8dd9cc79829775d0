"""The controller's side of the broker: the process that holds the keys and talks to providers.

The broker (`broker_main`) is a session of its own. It survives the controller, finishes the calls it has in flight and
leaves each answer in the spool, where a later sitting finds it: a crash of the controller costs no call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import TracebackType

from eureka_agent.errors import EurekaError
from eureka_agent.llm.completion import AskingStopped
from eureka_agent.llm.keys import withdraw
from eureka_agent.llm.spool import Spool
from eureka_agent.llm.stops import lost_answer
from eureka_agent.llm.wire import Ask, Fault, FaultKind, Outcome, dump_record, load_outcome
from eureka_agent.runs.crashpoints import CRASH_AT
from eureka_agent.runs.storage import storage_errors

POLL_SECONDS = 0.2
GOODBYE_SECONDS = 2.0
"""How long the broker's end is waited for; with calls in flight it stays."""


class _Waiting:
    """A call in flight."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        """Who was asked."""
        self.told = Event()
        self.outcome: Outcome | None = None
        """Only if the spool would not take it."""


class Broker:
    """Asks through a process of its own.

    Args:
        spool: the run's folder of answers that the journal does not have yet; made if it is not there.
        stopping: set when the sitting ends.
    """

    def __init__(self, spool: Path, stopping: Event) -> None:
        self._folder = spool
        self._spool = Spool(spool)
        self._stopping = stopping
        self._lock = threading.Lock()
        self._name: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._withdrawn: frozenset[str] = frozenset()

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the broker go: it ends once nothing is in flight."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):  # it has ended before us
            process.stdin.close()
        if not self._waiting:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GOODBYE_SECONDS)

    def start(self) -> None:
        """Start the process, if it does not run yet, and take the keys out of this process's environment.

        Raises:
            EurekaError: it did run, with keys that are gone now.
            RunError: the spool cannot be written.
        """
        with self._lock:
            self._started()

    def ask(self, ask: Ask) -> Outcome:
        """One attempt, without any retry, or the look-up of one. Called from several threads at once.

        Raises:
            AskingStopped: `stopping` is set; the broker finishes the call all the same, see `adopt`.
            EurekaError: the broker, and the keys with it, was ended by someone else.
            RunError: the spool cannot be read or written.
        """
        if self._stopping.is_set():
            raise AskingStopped(ask.key)
        line = dump_record(ask).encode() + b"\n"
        with self._lock:
            process = self._started()
            waiting = self._waiting[ask.idempotency_key] = _Waiting(process)
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has just died; whoever reads its answers finds that out
                process.stdin.write(line)
                process.stdin.flush()
        while not waiting.told.wait(POLL_SECONDS):
            if self._stopping.is_set():
                raise AskingStopped(ask.key)
        with self._lock:
            del self._waiting[ask.idempotency_key]
        outcome = waiting.outcome or self._settled(ask.idempotency_key)
        if outcome is None and ask.model.store and not ask.sent_before:
            return self.ask(ask.model_copy(update={"sent_before": True}))  # of another broker
        return outcome or lost_answer()

    def adopt(self, idempotency_key: str) -> Outcome | None:
        """What came of a call that an earlier sitting handed to its broker. Waits while that broker lives.

        None: it was sent and its broker died, so that nobody knows. A call that was never sent is a `CONNECT` fault,
        billed `no`: it may be sent again.

        Raises:
            AskingStopped: `stopping` is set.
            RunError: the spool cannot be read.
        """
        with storage_errors(self._folder):
            if not self._folder.is_dir():
                return None  # a run that was copied without it
            while self._may_come(idempotency_key):
                if self._stopping.wait(POLL_SECONDS):
                    raise AskingStopped(idempotency_key)
            outcome = self._spool.get(idempotency_key)
            if outcome is None and self._spool.sender(idempotency_key) is None:
                return _never_sent()
            return outcome

    def forget(self, idempotency_key: str) -> None:
        """The journal has the answer: remove it from the spool.

        Raises:
            RunError: the spool cannot be written.
        """
        with storage_errors(self._folder):
            self._spool.forget(idempotency_key)

    def _may_come(self, idempotency_key: str) -> bool:
        """Whether there is no outcome yet and somebody may still bring one."""
        if self._spool.get(idempotency_key) is not None:
            return False
        sender = self._spool.sender(idempotency_key)
        return self._spool.lives(sender) if sender else self._spool.others_may_send(self._name)

    def _settled(self, idempotency_key: str) -> Outcome | None:
        """What came of a call that this sitting's broker is done with; None if it died over it."""
        with storage_errors(self._folder):
            outcome = self._spool.get(idempotency_key)
            if outcome is not None:
                return outcome
            return _never_sent() if self._spool.sender(idempotency_key) is None else None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._process is not None and self._withdrawn:
            raise EurekaError(
                f"the process that asks language models was ended (exit status {self._process.returncode}), and the "
                f"keys with it; they are in no other. Resume the run with {', '.join(sorted(self._withdrawn))} set"
            )
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._spool.sweep()
            self._name, lock = self._spool.new_broker()
            try:
                self._process = _spawned(self._folder, self._name, lock)
            finally:
                os.close(lock)  # the broker has its own copy: the lock lives as long as it does
        self._withdrawn = withdraw()
        threading.Thread(target=self._listen, args=(self._process,), name="broker", daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Wake those whose outcome is there; at the broker's end, all."""
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            with self._lock:
                waiting = self._waiting.get(told["idempotency_key"])
            if waiting is not None:
                waiting.outcome = load_outcome(told["outcome"]) if "outcome" in told else None
                waiting.told.set()
        process.wait()
        with self._lock:
            left = [waiting for waiting in self._waiting.values() if waiting.process is process]
        for waiting in left:
            waiting.told.set()


def _spawned(folder: Path, name: str, lock: int) -> subprocess.Popen[bytes]:
    environment = {variable: value for variable, value in os.environ.items() if variable != CRASH_AT}
    return subprocess.Popen(
        # -P: whoever has the keys imports nothing from the folder it happens to stand in
        [sys.executable, "-P", "-m", "eureka_agent.llm.broker_main", str(folder), name, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what SDKs print may hold a key
        env=environment,
        pass_fds=(lock,),
        start_new_session=True,
    )


def _never_sent() -> Fault:
    return Fault(kind=FaultKind.CONNECT, message="the request was never sent", billed="no")
