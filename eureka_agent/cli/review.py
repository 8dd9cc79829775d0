"""`eureka review`: read and review a run in the browser, also while it runs."""

from __future__ import annotations

from typing import Annotated

import typer


def review(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a task's name, or latest.")] = "latest",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="Port on 127.0.0.1 (any that is free).")] = 0,
) -> None:
    """Serve a run's report to this machine; what you say there steers the search. Ctrl-C ends it."""
    import threading

    from eureka_agent.cli.common import named_run
    from eureka_agent.cli.interrupts import last_words
    from eureka_agent.review.server import serving

    with serving(named_run(run), port) as url:
        last_words("the page is no longer served; what was sent is kept with the run")
        typer.echo(url)
        typer.echo("open this address in a browser on this machine; it is a secret like a password", err=True)
        threading.Event().wait()
