"""A run's transcript as something to replay: read from the run itself, or from the folder that `export` writes.

The folder holds `transcript.json` (task, settings, one entry per answered call) and, for each call, the prompt and the
answer as Markdown files. Answers are read from those files; prompts are there for people, their hashes for the replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from eureka_agent.errors import UsageError
from eureka_agent.llm.extract import CUT_OFF, REFUSED, extract_code
from eureka_agent.population import Record
from eureka_agent.runs.calls import Call, as_markdown, unpacked
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import storage_errors
from eureka_agent.settings import Settings
from eureka_sandbox.protocol import Failure

INDEX = "transcript.json"
KEPT = (
    *("population", "generations", "seed", "timesteps", "algorithm", "learner", "final_seeds"),
    *("critic", "analyst", "vision_model"),
)
"""Settings that a replay takes over."""


class Entry(Record):
    """One answered call."""

    key: str
    """`<brief id>/<purpose>/<attempt>`."""
    prompt: str
    """SHA-256 of the conversation, see `calls.packed`."""
    model: str
    finish_reason: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    files: str
    """Beginning of the names of the two files, `<files>.prompt.md` and `<files>.response.md`."""


class Index(Record):
    """`transcript.json`."""

    format: Literal[1] = 1
    task: str
    task_digest: str
    """See `Task.digest`."""
    settings: dict[str, Any]
    calls: tuple[Entry, ...]
    unanswered: tuple[str, ...] = ()
    """`<brief id>/<purpose>` of requests that the search went on without an answer to."""


@dataclass(frozen=True)
class Recording:
    """Everything that a replay needs."""

    folder: Path
    index: Index
    responses: Mapping[str, str]
    """Answer texts by key."""

    def entry(self, key: str) -> Entry | None:
        """The call of that key, whichever attempt at it was the last to be answered."""
        answered = [entry for entry in self.index.calls if _request(entry.key) == _request(key)]
        return max(answered, key=lambda entry: int(entry.key.rpartition("/")[2]), default=None)


def _request(key: str) -> str:
    return key.rpartition("/")[0]


def _unanswered(run: Run) -> set[str]:
    """Requests to providers whose last attempt brought nothing that could be used; see `asking.Asking`."""
    last = {_request(call.key): call for call in sorted(run.calls(), key=lambda call: call.attempt)}
    return {name for name, call in last.items() if call.asked and not call.open and not _useful(call, run)}


def _useful(call: Call, run: Run) -> bool:
    text = run.blob(call.response).decode("utf-8", "surrogatepass") if call.response else ""
    if call.finish_reason in REFUSED:
        return True
    cut = call.finish_reason in CUT_OFF and isinstance(extract_code(text), Failure)
    return bool(text.strip()) and not cut


def load_recording(folder: Path) -> Recording:
    """Read a run's folder or an exported transcript.

    Raises:
        UsageError: it is neither, or holds no answers.
        RunError: it cannot be read.
    """
    if (folder / DATABASE).is_file():
        with Run.open(folder, read_only=True) as run:
            recording = recording_of(run)
    elif (folder / INDEX).is_file():
        recording = _from_export(folder)
    else:
        raise UsageError(f"replay {folder}: neither a run's folder ({DATABASE}) nor an exported transcript ({INDEX})")
    if not recording.index.calls:
        raise UsageError(f"replay {folder}: no language model was asked there, so there are no answers to replay")
    return recording


def recording_of(run: Run) -> Recording:
    """What a run has recorded so far."""
    answered = sorted((call for call in run.calls() if call.response is not None), key=lambda call: call.key)
    index = Index(
        task=run.task.name,
        task_digest=run.task.digest,
        settings=run.settings.model_dump(include=set(KEPT), exclude_none=True),
        calls=tuple(_entry(call) for call in answered),
        unanswered=tuple(sorted(_unanswered(run))),
    )
    responses = {call.key: run.blob(call.response or "").decode("utf-8", "surrogatepass") for call in answered}
    return Recording(run.folder, index, responses)


def recording_files(run: Run) -> dict[str, bytes]:
    """The files of an exported transcript by name, pictures included.

    Raises:
        UsageError: there are no answers.
    """
    recording = recording_of(run)
    if not recording.index.calls:
        raise UsageError(f"{run.folder}: no language model was asked there (--model was {run.settings.model})")
    files = {INDEX: (recording.index.model_dump_json(indent=1, exclude_none=True) + "\n").encode()}
    for call in run.calls():
        if call.response is not None:
            messages = unpacked(run.blob(call.prompt))
            files[f"{call.stem}.prompt.md"] = as_markdown(messages).encode("utf-8", "backslashreplace")
            files |= {f"{call.stem}.jpg": run.blob(m.picture.blob) for m in messages if m.picture}
            files[f"{call.stem}.response.md"] = run.blob(call.response)
    return files


def _entry(call: Call) -> Entry:
    return Entry(
        key=call.key,
        prompt=call.prompt,
        model=call.model or "",
        finish_reason=call.finish_reason or "stop",
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        files=call.stem,
    )


def _from_export(folder: Path) -> Recording:
    path = folder / INDEX
    with storage_errors(path, "replay needs the transcript whole"):
        text = path.read_bytes()
    try:
        index = Index.model_validate_json(text)
        Settings.model_validate(index.settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where}: {first['msg']}; export the transcript again") from error
    responses = {}
    for entry in index.calls:
        answer = folder / f"{Path(entry.files).name}.response.md"
        with storage_errors(answer, "replay needs the transcript whole"):
            responses[entry.key] = answer.read_bytes().decode("utf-8", "surrogatepass")
    return Recording(folder, index, responses)
