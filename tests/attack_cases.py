"""The hostile corpus in the tests' own process, for cases that harm nothing there: the worker's code and the host's
reading of its stream, without a box between them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.hostile import Case
from eureka_sandbox.hostile.probe import probes
from eureka_sandbox.hostile.suite import smoke_job
from eureka_sandbox.protocol import Failure, Verdict
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.smoke import smoke


def answered(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Answer | Failure:
    """What the host makes of everything that a smoke box with this case would say."""
    reward = probes({case: {}}) if case.attacks else case.source
    job = smoke_job(reward, case.limits)
    for name, data in {"reward.py": reward, **job.files}.items():
        (folder / name).write_bytes(data)
    stream = io.BytesIO()
    emit = Emitter(stream)
    emit.hello()
    said: list[bytes] = []
    """Everything up to the end, where the reward ends the process."""

    def end(status: int) -> None:
        said.append(stream.getvalue())
        raise SystemExit(status)

    with monkeypatch.context() as patched:
        patched.setattr(os, "_exit", end)
        _work(job.spec, folder, emit)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    decoder = FrameDecoder(job)
    try:
        decoder.feed(said[0] if said else stream.getvalue())
        ended = decoder.outcome or _nothing()
        return checked(ended, job) if isinstance(ended, Answer) else ended
    except Violation as violation:
        return violation.failure


def _work(spec: Any, folder: Path, emit: Emitter) -> None:
    """As `worker.main` does it; attacks look for a caller's variable `emit`."""
    try:
        emit.result(*smoke(spec, folder))
    except JobFailed as failed:
        emit.failure(failed.failure)


def _nothing() -> Failure:
    return Failure(verdict=Verdict.BAD_RESULT, message="the box ended without a result")
