"""Ctrl-C, SIGTERM and SIGHUP: the first ends the work in order, a second ends the process at once.

Whatever was saved is durable at any moment, so an end at once loses no more than an end in order; boxes die with the
process that started them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
PATIENCE_SECONDS = 4.5
"""How long an end in order may take; then the process ends all the same."""
ECHO_SECONDS = 0.1
"""A closing terminal and a service manager send several signals at once: they count as one."""


class Interrupts:
    """What the signals of one command have come to."""

    def __init__(self) -> None:
        self.words = "interrupted"
        """What the person is told at the end."""
        self.heard: float | None = None
        """When the first signal came, on the monotonic clock."""
        self._patience: threading.Timer | None = None

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: it is the first.
        """
        now = time.monotonic()
        if self.heard is not None:
            if now - self.heard > ECHO_SECONDS:
                self._end_now()
            return
        self.heard = now
        self._patience = threading.Timer(PATIENCE_SECONDS, self._end_now)
        self._patience.daemon = True
        self._patience.start()
        raise KeyboardInterrupt

    def forget(self) -> None:
        """The command has ended."""
        if self._patience is not None:
            self._patience.cancel()

    def _end_now(self) -> None:
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""
        with suppress(OSError):  # the terminal may be gone
            os.write(2, f"{show_cursor}\nerror: {self.words}\n".encode())
        os._exit(EXIT_CODE)


_current = Interrupts()


def last_words(words: str) -> None:
    """What to tell if the command is interrupted from here on."""
    _current.words = words


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Handle signals inside the block. Those that are ignored stay so: `nohup` and a shell's `&` ask for it."""
    global _current
    _current = mine = Interrupts()
    before = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere, whoever runs us handles signals
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, mine)
    try:
        yield mine
    finally:
        mine.forget()
        for number, handler in before.items():
            signal.signal(number, handler)
