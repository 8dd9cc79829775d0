"""`eureka feedback`: tell a search something, whether it runs or sleeps."""

from __future__ import annotations

from typing import Annotated

import typer


def feedback(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a task's name, or latest.")],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What the next generation's authors are told.")
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Wait before the next generation.")] = False,
    go_on: Annotated[bool, typer.Option("--go-on", help="Wait no longer.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the search with the generation under way.")] = False,
) -> None:
    """Leave a message for a search: it is read before the next generation, and kept with the run."""
    from pydantic import ValidationError

    from eureka_agent.cli.common import named_run
    from eureka_agent.errors import UsageError
    from eureka_agent.review.record import MOST_WORDS
    from eureka_agent.runs.inbox import Feedback, GoOn, Message, Pause, StopAfterGeneration, post
    from eureka_agent.runs.run import Run
    from eureka_agent.search.people import reads_words
    from eureka_agent.text import from_here, resuming

    if text is None and not (pause or go_on or stop):
        raise UsageError('nothing to say; `eureka feedback RUN "keep the torso level"`, or --pause, --go-on, --stop')
    if pause + go_on + stop > 1:
        raise UsageError("--pause, --go-on and --stop: choose one")
    messages: list[Message] = []
    if text is not None:
        try:
            messages.append(Feedback(text=text))
        except ValidationError as error:
            raise UsageError(f"TEXT: 1 to {MOST_WORDS} characters, these are {len(text.strip())}") from error
    messages += [
        message for wanted, message in ((pause, Pause()), (go_on, GoOn()), (stop, StopAfterGeneration())) if wanted
    ]
    with Run.open(named_run(run), read_only=True) as opened:
        ended = opened.comparison() is not None
        for message in messages:
            post(opened.folder, message)
        folder = from_here(opened.folder)
        typer.echo(f"kept in {folder}/inbox, for the next generation", err=True)
        if ended:
            more = str(opened.settings.generations + 1)
            again = resuming(folder, opened.settings.sandbox, "-g", more)
            typer.echo(f"the search has ended; {again} goes on with it", err=True)
        if text is not None and not reads_words(opened.settings):
            model = opened.settings.model.partition(":")[0]
            typer.echo(f"{model} reads no prompts: the words are kept, and change nothing", err=True)
