"""Messages for a search that runs or sleeps: files that appear by rename in the run's `inbox/`.

The run's journal has one writer, the search itself, so others leave letters. The search reads them between generations.
A file that is no letter is moved to `inbox/refused/`, with the reason beside it.
"""

from __future__ import annotations

import stat
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from eureka_agent.errors import UsageError
from eureka_agent.population import Record
from eureka_agent.review.record import MOST_WORDS, Review, read_small_file
from eureka_agent.runs.storage import TEMPORARY, storage_errors, write_file
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_json, parse_model

FOLDER = "inbox"
REFUSED = "refused"
MOST_LETTERS = 200
"""Letters that are taken up at once; the others wait for the next generation."""
ABANDONED_SECONDS = 60.0
"""Age from which a draft of a letter is one of a sender that was killed; writing one takes milliseconds."""


class Feedback(Record):
    """A person's words about the search, for the next generation's prompts."""

    kind: Literal["feedback"] = "feedback"
    text: str = Field(min_length=1, max_length=MOST_WORDS, pattern=r"\S")


class Reviewed(Record):
    """A review of candidates."""

    kind: Literal["review"] = "review"
    review: Review


class Pause(Record):
    """Wait before the next generation."""

    kind: Literal["pause"] = "pause"


class GoOn(Record):
    """Wait no longer."""

    kind: Literal["go_on"] = "go_on"


class StopAfterGeneration(Record):
    """End the search with the generation under way, and compare what there is."""

    kind: Literal["stop_after_generation"] = "stop_after_generation"


Message = Feedback | Reviewed | Pause | GoOn | StopAfterGeneration
KINDS: dict[str, type[Message]] = {
    "feedback": Feedback,
    "review": Reviewed,
    "pause": Pause,
    "go_on": GoOn,
    "stop_after_generation": StopAfterGeneration,
}


class Letter(NamedTuple):
    """A message as it arrived."""

    name: str
    """Of its file."""
    message: Message


class Taken(Record):
    """Letters that the search took up before a generation, as the journal keeps them."""

    generation: int
    files: tuple[str, ...]
    """Their names in the inbox; what a person said at the terminal had none."""
    messages: tuple[Annotated[Message, Field(discriminator="kind")], ...]


def post(run_folder: Path, message: Message) -> Path:
    """Leave a letter for the search in `run_folder`, durably; returns its file.

    Raises:
        RunError: it cannot be written.
    """
    folder = run_folder / FOLDER
    path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    with storage_errors(path, "nothing was sent"):
        folder.mkdir(exist_ok=True)
        write_file(path, message.model_dump_json().encode())
    return path


def message_of(data: bytes, where: str) -> Message:
    """The message in a file's bytes.

    Raises:
        Violation: naming `where` and the field.
    """
    parsed = parse_json(data, where)
    kind = parsed.get("kind") if isinstance(parsed, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise Violation(where, f"kind: {one_line(repr(kind), 40)} is none of {', '.join(KINDS)}")
    return parse_model(data, where, KINDS[kind])


def waiting(run_folder: Path) -> list[Path]:
    """The letters' files that wait, in the order in which they were sent."""
    folder = run_folder / FOLDER
    with storage_errors(folder):
        return sorted(p for p in folder.glob("*.json") if not p.name.startswith("."))


def letters(run_folder: Path) -> tuple[list[Letter], list[str]]:
    """Whoever has written, and for each file that is no letter one line for a person; such files are moved aside.

    What a sender that was killed left half-written is removed.
    """
    _sweep(run_folder)
    found, complaints = [], []
    for path in waiting(run_folder):
        try:
            found.append(Letter(path.name, message_of(read_small_file(path), f"{FOLDER}/{path.name}")))
        except (Violation, UsageError) as wrong:
            complaints.append(refuse(run_folder, path.name, str(wrong)))
    return found, complaints


def _sweep(run_folder: Path) -> None:
    """Remove drafts that nobody can still be writing."""
    folder = run_folder / FOLDER
    for draft in (*folder.glob(f"{TEMPORARY}*"), *(folder / REFUSED).glob(f"{TEMPORARY}*")):
        with storage_errors(draft), suppress(FileNotFoundError):  # it has become a letter meanwhile
            state = draft.lstat()
            if stat.S_ISREG(state.st_mode) and time.time() - state.st_mtime > ABANDONED_SECONDS:
                draft.unlink()


def refuse(run_folder: Path, name: str, reason: str) -> str:
    """Move a file that cannot be used aside, its reason beside it; returns one line for a person."""
    aside = run_folder / FOLDER / REFUSED
    with storage_errors(aside):
        aside.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # somebody has taken it away
            (run_folder / FOLDER / name).rename(aside / name)
        write_file(aside / f"{name}.txt", (reason + "\n").encode(), durable=False)
    return f"not used, and moved to {FOLDER}/{REFUSED}: {one_line(reason, 400)}"


def forget(run_folder: Path, name: str) -> None:
    """Remove a letter that was taken up."""
    path = run_folder / FOLDER / name
    with storage_errors(path):
        path.unlink(missing_ok=True)
