"""The broker: a process of its own that holds the keys, asks providers, and leaves the answers in the spool.

`python -m eureka_agent.llm.broker_main SPOOL NAME LOCK`. Requests come as lines of JSON on standard input; for each, a
line on standard output says that its outcome is in the spool, or brings it along if the spool would not take it. When
the input ends, the controller has gone: the calls in flight are finished and kept, and then the broker ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from eureka_agent.llm.attempt import attempt, kept_answer
from eureka_agent.llm.keys import hide_memory
from eureka_agent.llm.spool import HEARD_ALL, Spool
from eureka_agent.llm.wire import Ask, Fault, FaultKind, Outcome, dump_record
from eureka_agent.runs.crashpoints import BROKER_CRASH_AT, crashpoint, listen


def main() -> None:
    """Serve until the controller has gone and nothing is in flight."""
    spool, name, lock = Spool(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    os.set_inheritable(lock, False)
    hide_memory()
    answers = os.dup(1)  # what an SDK prints must not be taken for an answer
    os.set_inheritable(answers, False)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_listening)
    listen(BROKER_CRASH_AT)
    desk = Desk(spool, name, answers)
    for line in sys.stdin.buffer:
        desk.take(Ask.model_validate(json.loads(line)))
    with suppress(OSError):
        os.pwrite(lock, HEARD_ALL, 0)
    crashpoint("broker.heard-all")
    desk.finish()
    with suppress(OSError):
        (spool.folder / f"{name}.broker").unlink()
    os._exit(0)  # without waiting for requests that were given up


class Desk:
    """The calls in flight.

    Args:
        spool: where outcomes are kept.
        name: this broker's.
        answers: descriptor that the controller reads.
    """

    def __init__(self, spool: Spool, name: str, answers: int) -> None:
        self._spool, self._name, self._answers = spool, name, answers
        self._environment = dict(os.environ)
        self._writing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def take(self, ask: Ask) -> None:
        """Note durably that a request goes out, and send it; unless one of that name went out before."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        key = ask.idempotency_key
        crashpoint("broker.asked")
        try:
            if self._spool.get(key) is not None:
                return self._tell(key)
            if ask.sent_before or self._spool.sender(key) is not None:
                return self._begin(self._look_up, ask)
            self._spool.mark_sent(ask, self._name)
        except OSError as error:
            message = f"not sent: {self._spool.folder} cannot be written ({error.strerror})"
            return self._tell(key, _fault(FaultKind.CONNECT, message, "no"))
        return self._begin(self._serve, ask)

    def finish(self) -> None:
        """Wait for what is in flight; every call has an end, see `wire.Patience`."""
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Callable[[Ask], None], ask: Ask) -> None:
        thread = threading.Thread(target=work, args=(ask,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self, ask: Ask) -> None:
        outcome = attempt(ask, self._environment)
        crashpoint("broker.answered")
        if isinstance(outcome, Fault) and outcome.billed == "unknown":
            outcome = kept_answer(ask, self._environment) or outcome
        self._keep(ask.idempotency_key, outcome)
        crashpoint("broker.told")

    def _look_up(self, ask: Ask) -> None:
        found = kept_answer(ask, self._environment)
        if found is None:
            self._tell(ask.idempotency_key, _fault(FaultKind.LOST, "this request was sent before", "unknown"))
        else:
            self._keep(ask.idempotency_key, found)

    def _keep(self, key: str, outcome: Outcome) -> None:
        try:
            self._spool.put(key, outcome)
        except OSError:
            return self._tell(key, outcome)  # a full disk; the controller may have it all the same
        return self._tell(key)

    def _tell(self, key: str, outcome: Outcome | None = None) -> None:
        line: dict[str, Any] = {"idempotency_key": key}
        if outcome is not None:
            line["outcome"] = dump_record(outcome)
        data = json.dumps(line).encode() + b"\n"
        with self._writing, suppress(OSError):  # nobody listens any more: the spool has it
            while data:
                data = data[os.write(self._answers, data) :]


def _fault(kind: FaultKind, message: str, billed: Any) -> Fault:
    return Fault(kind=kind, message=message, billed=billed)


def _stop_listening(number: int, frame: object) -> None:
    """As if the controller had gone; the read that this interrupts goes on, and finds the end of the input."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    main()
