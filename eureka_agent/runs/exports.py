"""Readable copies of a candidate in the run's folder: derived from the journal, written by rename, never read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from eureka_agent.errors import RunError
from eureka_agent.population import Candidate, Training
from eureka_agent.runs.calls import Call, as_markdown, unpacked
from eureka_agent.runs.storage import storage_errors, write_file


@contextmanager
def exporting(folder: Path) -> Iterator[None]:
    """As `storage_errors`, for what is written into a run's folder of exports.

    Raises:
        RunError: the disk does not take it, or a file is in the way.
    """
    with storage_errors(folder):
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            place = folder if folder.exists() and not folder.is_dir() else error.filename
            told = "is in the way of the folder that candidates are exported to; move it away, and resume"
            raise RunError(f"{place}: {told}") from error


def export_candidate(folder: Path, candidate: Candidate) -> None:
    """Write `reward.py`, `result.json` and, once trained, `curves.csv` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "reward.py", candidate.code.encode(), durable=False, step="export.reward")
    if candidate.training:
        write_file(folder / "curves.csv", _curves(candidate.training).encode(), durable=False, step="export.curves")
    result = json.dumps(_result(candidate), indent=2) + "\n"
    write_file(folder / "result.json", result.encode(), durable=False, step="export.result")


def export_call(folder: Path, call: Call, blob: Callable[[str], bytes], anew: bool = False) -> None:
    """Write `prompt.md` and, once it is there, `response.md` (`repair.prompt.md`, … for the repair turn).

    What is there is left as it is, unless it is to be written `anew`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = call.stem.removeprefix(call.brief).removeprefix(".")
    prefix += "." if prefix else ""
    texts = {"prompt.md": as_markdown(unpacked(blob(call.prompt))).encode("utf-8", "backslashreplace")}
    if call.response is not None:
        texts["response.md"] = blob(call.response)
    if call.attempt > 1 and call.response is None:
        return  # the words are those of the attempt before, or come with the answer
    for name, data in texts.items():
        if anew or not (folder / (prefix + name)).exists():
            step = f"export.{name.removesuffix('.md')}"
            write_file(folder / (prefix + name), data, durable=False, step=step)


def _result(candidate: Candidate) -> dict[str, object]:
    training, score = candidate.training, candidate.score
    return {
        "id": candidate.id,
        "operator": candidate.brief.operator,
        "parents": list(candidate.brief.parents),
        "duplicate_of": candidate.duplicate_of,
        "fitness": candidate.fitness,
        "stopped": candidate.stopped,
        "rungs": [rung.model_dump() for rung in candidate.rungs],
        "success_rate": score.success_rate if score else None,
        "failure": str(candidate.failure) if candidate.failure else None,
        "training": training.model_dump(exclude={"curves"}) if training else None,
        "score": score.model_dump() if score else None,
        "findings": [asdict(finding) for finding in candidate.findings],
        "suspicions": [asdict(finding) for finding in candidate.suspicions],
        "behaviour": candidate.behaviour,
        "commentary": candidate.commentary,
        "vision": candidate.vision.model_dump() if candidate.vision else None,
        "reflection": candidate.reflection,
    }


def _curves(training: Training) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(training.curves)
    writer.writerow(names)
    writer.writerows(zip(*(training.curves[name] for name in names), strict=True))
    return text.getvalue()
