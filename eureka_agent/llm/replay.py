"""A language model that says again what another run recorded: a whole search without a key.

Answers are found by the call's key (candidate, purpose, attempt), not by the prompt's words: evaluation seeds are fresh
in every run, so from the second generation on the numbers in the prompts differ even on the same machine. The
prompts' hashes are compared all the same, and the first that differs is said once.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.llm.completion import Completion, NoAnswer, Usage
from eureka_agent.llm.prompting import Request
from eureka_agent.llm.proposer import LLMProposer, proposer_of
from eureka_agent.llm.scripted import OPINIONS
from eureka_agent.llm.transcript import call_key
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import prompt_hash
from eureka_agent.runs.recording import Recording, load_recording
from eureka_sandbox.protocol import Failure, Verdict


def from_model_name(argument: str, task: Task, prompts_folder: Path | None, sitting: Sitting | None) -> LLMProposer:
    """`replay:RUN`, a run's folder or an exported transcript's."""
    recording = _recording(argument)
    if recording.index.task != task.name:
        raise UsageError(
            f"replay {recording.folder}: recorded for {recording.index.task}, not for {task.name}; "
            f"say `eureka evolve {recording.index.task}`"
        )
    return proposer_of(ReplayLLM(recording, sitting), prompts_folder, sitting)


def recorded_settings(argument: str) -> dict[str, Any]:
    """The settings of the recorded run that a replay takes over; its vision judge is replayed, too."""
    settings = dict(_recording(argument).index.settings)
    return settings | ({"vision_model": f"replay:{argument}"} if settings.get("vision_model") else {})


def _recording(argument: str) -> Recording:
    if not argument:
        raise UsageError(
            "replay model: which run is replayed? say replay:RUN, a run's folder or an exported transcript"
        )
    return load_recording(Path(argument))


class ReplayLLM:
    """Answers from a recording."""

    free = True

    def __init__(self, recording: Recording, sitting: Sitting | None = None) -> None:
        self._recording = recording
        self._sitting = sitting
        self._lock = threading.Lock()
        self._warned = False

    def complete(self, request: Request) -> Completion:
        """The recorded answer.

        Raises:
            UsageError: there is none for this call.
            NoAnswer: the recorded search had none either.
        """
        key = call_key(request)
        if f"{request.brief}/{request.purpose}" in self._recording.index.unanswered:
            message = "the recorded search had no usable answer here either"
            raise NoAnswer(Failure(verdict=Verdict.CODE_ERROR, message=message))
        entry = self._recording.entry(key)
        if entry is None and request.purpose in OPINIONS:  # scores differ here, and with them who was best
            message = "nobody was asked about it in the recorded search"
            raise NoAnswer(Failure(verdict=Verdict.CODE_ERROR, message=message))
        if entry is None:
            recorded, settings = len(self._recording.index.calls), self._recording.index.settings
            if self._recording.entry(f"{request.brief}/propose/1"):
                raise UsageError(
                    f"replay: no answer {key} in {self._recording.folder}: the recorded search needed none, so a gate "
                    "decides otherwise here (another version, machine or setting than the recording's)"
                )
            raise UsageError(
                f"replay: no answer {key} in {self._recording.folder}, which has {recorded}; it was recorded with "
                f"-p {settings['population']} -g {settings['generations']}, and a search can only be replayed as far"
            )
        if entry.prompt != prompt_hash(request.messages):
            self._warn(key)
        usage = None
        if entry.input_tokens is not None and entry.output_tokens is not None:
            usage = Usage(input_tokens=entry.input_tokens, output_tokens=entry.output_tokens)
        return Completion(
            text=self._recording.responses[entry.key], finish_reason=entry.finish_reason, model=entry.model, usage=usage
        )

    def _warn(self, key: str) -> None:
        with self._lock:
            if self._warned or self._sitting is None:
                return
            self._warned = True
        self._sitting.watcher.stage(
            f"replay: prompts differ from those recorded (first seen at {key}), as trainings and scores here have "
            "numbers of their own; the recorded answers are taken all the same"
        )
