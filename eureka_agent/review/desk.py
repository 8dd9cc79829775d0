"""What the review's server answers: the page, news of the search, and what becomes of what a person says."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from eureka_agent.errors import UsageError
from eureka_agent.review.record import Review, check_review
from eureka_agent.runs import progress
from eureka_agent.runs.inbox import Feedback, GoOn, Message, Pause, Reviewed, StopAfterGeneration, message_of, post
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import has_writer
from eureka_agent.search.people import reads_words
from eureka_sandbox.backends.untrusted import Violation, parse_model

LOOK_SECONDS = 0.5
"""How often the run is looked at while somebody listens."""
LATEST = 300
"""Candidates whose ids are told: a page that is older than that is reloaded anyhow."""


class Refused(Exception):
    """What a person sent cannot be used; the message says why, in their terms."""


class Desk:
    """Serves any number of threads."""

    def __init__(self, folder: Path) -> None:
        """Open the run for reading.

        Raises:
            RunError: it cannot be read.
        """
        self.folder = folder
        self._run = Run.open(folder, read_only=True)
        self._page: tuple[Any, str] | None = None
        self._drawing = threading.Lock()
        self._looking = threading.Lock()
        self._version, self._looked = 0, 0.0
        self._news: dict[str, Any] = {}
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether the server ends."""
        return self._closed.is_set()

    def close(self) -> None:
        """Let streams end."""
        self._closed.set()
        with self._looking:
            self._run.close()

    def page(self) -> str:
        """The report, drawn again if the run has changed."""
        from eureka_agent.report.build import render
        from eureka_agent.report.facts import gather

        with self._drawing, Run.open(self.folder, read_only=True) as run:
            stage = (run.stage(), run.settings)
            if self._page is None or self._page[0] != stage:
                self._page = (stage, render(gather(run), served=True))
            return self._page[1]

    def take(self, path: str, body: bytes) -> str:
        """Put a `review` or a `message` into the run's inbox; returns what will become of it.

        Raises:
            Refused: it is of another run, of other code, or not what it should be.
            RunError: it cannot be written.
        """
        try:
            if path == "review":
                message: Message = Reviewed(review=parse_model(body, "the review", Review))
            else:
                message = message_of(body, "the message")
            with Run.open(self.folder, read_only=True) as run:
                if isinstance(message, Reviewed):
                    check_review(message.review, run)
                said = _becomes(message, run)
        except (Violation, UsageError) as wrong:
            raise Refused(str(wrong)) from wrong
        post(self.folder, message)
        return said

    def news_after(self, version: int, seconds: float) -> tuple[int, dict[str, Any] | None]:
        """News that differ from those of `version`, and their version; None if there are none for so long."""
        until = time.monotonic() + seconds
        while not self.closed and time.monotonic() < until:
            with self._looking:
                if self.closed:
                    break
                if time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._look()
                if self._version != version:
                    return self._version, self._news
            self._closed.wait(LOOK_SECONDS)
        return version, None

    def _look(self) -> None:
        now, running = progress.read(self.folder), has_writer(self.folder)
        head = now.head if now and running else "The search is not running; what you send waits for it."
        self._run.reread()
        compared = self._run.comparison() is not None
        if compared and not running:
            head = "The search has ended; what you send waits until it is resumed with more generations."
        news = {
            "running": running,
            "head": head,
            "rows": [line.model_dump(mode="json") for line in now.rows] if now and running else [],
            "log": list(now.log) if now else [],
            "candidates": self._run.names()[-LATEST:],
            "compared": compared,
            "stage": self._run.stage(),
        }
        self._looked = time.monotonic()
        if news != self._news:
            self._version, self._news = self._version + 1, news


def _becomes(message: Message, run: Run) -> str:
    running = has_writer(run.folder)
    later = "before the next generation" if running else "when the search is resumed"
    if isinstance(message, Pause):
        return "The search will wait before the next generation."
    if isinstance(message, GoOn):
        return "The search goes on."
    if isinstance(message, StopAfterGeneration):
        return "The search will end with this generation, and compare what there is."
    deaf = "" if reads_words(run.settings) else f" ({run.settings.model.partition(':')[0]} reads no words)"
    what = "Your words" if isinstance(message, Feedback) else f"Your review ({message.review})"
    return f"{what} will be taken up {later}{deaf}."
