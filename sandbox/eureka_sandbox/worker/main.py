"""Reads the job, runs it, answers. Each kind of job is imported only when asked for: box B needs no torch."""

from __future__ import annotations

import gc
import sys
import traceback
from pathlib import Path

from pydantic import TypeAdapter

from eureka_sandbox.protocol import Failure, ScoreSpec, SmokeSpec, Spec, TrainSpec, Verdict
from eureka_sandbox.worker import preload
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.lean_import import put_off_meta_kernels
from eureka_sandbox.worker.task_code import TaskCodeError
from eureka_sandbox.worker.user_code import one_line


def main(arguments: list[str], emit: Emitter) -> int:
    """Do the job in folder `arguments[0]`; the process's exit status (the host believes only frames)."""
    if len(arguments) != 1:
        print("usage: python -m eureka_sandbox.worker JOBDIR", file=sys.stderr)  # noqa: T201
        return 2
    try:
        _run(Path(arguments[0]).resolve(), emit)
    except JobFailed as failed:
        emit.failure(failed.failure)
        return 1
    except TaskCodeError as error:
        message = one_line(error.message)
        emit.failure(Failure(verdict=Verdict.RUNTIME_ERROR, message=message, file="task.py", line=error.line))
        return 1
    except MemoryError:
        emit.failure(Failure(verdict=Verdict.MEMORY, message="out of memory"))
        return 1
    except BrokenPipeError:
        return 1  # the host is gone: nobody to tell
    except Exception as error:
        traceback.print_exc()
        message = one_line(f"the worker itself failed: {type(error).__name__}: {error}")
        emit.failure(Failure(verdict=Verdict.BAD_RESULT, message=message))
        return 1
    return 0


def _run(folder: Path, emit: Emitter) -> None:
    spec: TrainSpec | ScoreSpec | SmokeSpec = TypeAdapter(Spec).validate_json((folder / "job.json").read_bytes())
    if isinstance(spec, TrainSpec):
        preload.for_training()
        from eureka_sandbox.worker.training import train

        _started(emit)
        emit.result(*train(spec, folder, emit))
    elif isinstance(spec, SmokeSpec):
        put_off_meta_kernels()
        from eureka_sandbox.worker.smoke import smoke

        _started(emit)
        emit.result(*smoke(spec, folder))
    else:
        from eureka_sandbox.worker.scoring import score

        _started(emit)
        emit.result(*score(spec, folder, emit))


def _started(emit: Emitter) -> None:
    """Imports are done: say so, and let the garbage collector look only at what comes from now on."""
    gc.freeze()
    gc.enable()
    emit.hello()
