"""The controller's side of the broker: the process that holds the keys and talks to providers.

The broker (`broker_main`) is a session of its own. It survives the controller, finishes the calls it has in flight and
leaves each answer in the spool, where a later sitting finds it: a crash of the controller costs no call.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event
from types import TracebackType

from eureka_agent.llm.wire import Ask, Outcome


class Broker:
    """Asks through a process of its own, which starts at the first question.

    Args:
        spool: the run's folder of answers that the journal does not have yet; made if it is not there.
        stopping: set when the sitting ends.
    """

    def __init__(self, spool: Path, stopping: Event) -> None:
        self._spool = spool
        self._stopping = stopping

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the broker go: it ends once nothing is in flight."""

    def start(self) -> None:
        """Start the process, and take the keys out of this process's environment.

        Raises:
            RunError: the spool cannot be written.
        """
        raise NotImplementedError

    def ask(self, ask: Ask) -> Outcome:
        """One attempt, without any retry. Called from several threads at once.

        Raises:
            AskingStopped: `stopping` is set; the broker finishes the call all the same, see `adopt`.
            EurekaError: the broker, and the keys with it, was ended by someone else.
        """
        raise NotImplementedError

    def adopt(self, idempotency_key: str) -> Outcome | None:
        """What came of a call that an earlier sitting handed to its broker. Waits while that broker lives.

        None: it was sent and its broker died, so that nobody knows. A call that was never sent is a `CONNECT` fault,
        billed `no`: it may be sent again.

        Raises:
            AskingStopped: `stopping` is set.
            RunError: the spool cannot be read.
        """
        raise NotImplementedError

    def forget(self, idempotency_key: str) -> None:
        """The journal has the answer: remove it from the spool.

        Raises:
            RunError: the spool cannot be written.
        """
        raise NotImplementedError
