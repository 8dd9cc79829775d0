"""`python -m eureka_agent` and the `eureka` command."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # An interrupt that is raised in the middle of an import prints a traceback, or is swallowed there.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from eureka_agent.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
