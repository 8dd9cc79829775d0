"""The folder of answers that the journal does not have yet, as broker and controller both see it.

Per call, `<stem>.sent` is durable before the request's bytes go out, and `<stem>.outcome` as soon as there is one. Per
broker, `<id>.broker` is locked from before the broker exists until it has ended, however it ends: the kernel drops the
lock. So a later sitting can tell an answer that is still to come from one that nobody will bring.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from eureka_agent.llm.wire import Ask, Outcome, dump_record, load_outcome
from eureka_agent.runs.storage import TEMPORARY, write_file

SENT = ".sent"
OUTCOME = ".outcome"
BROKER = ".broker"
HEARD_ALL = b"heard all"
"""In a broker's file: its controller has gone, and whatever it was asked has a `.sent`."""


class Spool:
    """One run's spool. Every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --------------------------------------------------------------------------------------------------------- calls

    def mark_sent(self, ask: Ask, broker: str) -> None:
        """Note durably that the request goes out now."""
        marker = {"key": ask.key, "idempotency_key": ask.idempotency_key, "model": ask.model.name, "broker": broker}
        write_file(self._path(ask.idempotency_key, SENT), json.dumps(marker).encode(), step="sent")

    def sender(self, idempotency_key: str) -> str | None:
        """The broker that sent the request; None if none did."""
        try:
            marker = json.loads(self._path(idempotency_key, SENT).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return "nobody"  # damaged: it was sent, and nothing says by whom
        return str(marker["broker"])

    def put(self, idempotency_key: str, outcome: Outcome) -> None:
        """Keep what came of a call, durably."""
        write_file(self._path(idempotency_key, OUTCOME), dump_record(outcome).encode(), step="outcome")

    def get(self, idempotency_key: str) -> Outcome | None:
        """What came of a call; None if nothing has yet, or if what is there is damaged."""
        try:
            return load_outcome(self._path(idempotency_key, OUTCOME).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def forget(self, idempotency_key: str) -> None:
        """Remove a call. An outcome without its marker is still found; a marker without its outcome is a lost call."""
        self._path(idempotency_key, SENT).unlink(missing_ok=True)
        self._path(idempotency_key, OUTCOME).unlink(missing_ok=True)

    def _path(self, idempotency_key: str, suffix: str) -> Path:
        return self.folder / (hashlib.sha256(idempotency_key.encode()).hexdigest()[:32] + suffix)

    # ------------------------------------------------------------------------------------------------------- brokers

    def new_broker(self) -> tuple[str, int]:
        """A name for a broker and the descriptor that holds its lock, for the broker to inherit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex[:12]
        descriptor = os.open(self.folder / (name + BROKER), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return name, descriptor

    def lives(self, broker: str) -> bool:
        """Whether a broker may still bring answers."""
        try:
            descriptor = os.open(self.folder / (broker + BROKER), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def others_may_send(self, broker: str | None) -> bool:
        """Whether a broker other than this one lives and may hold a request that it has not sent yet."""
        for path in self.folder.glob("*" + BROKER):
            with suppress(FileNotFoundError):
                if path.stem != broker and path.read_bytes() != HEARD_ALL and self.lives(path.stem):
                    return True
        return False

    def sweep(self) -> None:
        """Remove what dead brokers left behind, except their calls."""
        dead = [path for path in self.folder.glob("*" + BROKER) if not self.lives(path.stem)]
        if len(dead) == len(list(self.folder.glob("*" + BROKER))):  # else a draft may be a living one's
            for draft in self.folder.glob(TEMPORARY + "*"):
                draft.unlink(missing_ok=True)
        for path in dead:
            path.unlink(missing_ok=True)
