"""The wall proves itself before any box is trusted with somebody's code."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from eureka_agent.errors import EnvironmentMissing
from eureka_sandbox.protocol import Sandbox, SandboxError, Wall

_proven: list[weakref.ref[Sandbox]] = []
_proving = threading.Lock()


def prove(sandbox: Sandbox, private: Sequence[Path] = ()) -> Wall:
    """Run the self-test, some tenths of a second; what held. See `Sandbox.check`.

    Raises:
        EnvironmentMissing: something leaked, or the wall cannot be had on this machine; says what to do.
    """
    try:
        wall = sandbox.check(private)
    except SandboxError as error:
        raise EnvironmentMissing(str(error)) from error
    with _proving:
        _proven[:] = [reference for reference in _proven if reference() is not None]
        _proven.append(weakref.ref(sandbox))
    return wall


def prove_once(sandbox: Sandbox) -> None:
    """Run the self-test unless this sandbox has passed it in this process.

    Raises:
        EnvironmentMissing: see `prove`.
    """
    with _proving:
        known = any(reference() is sandbox for reference in _proven)
    if not known:
        prove(sandbox)
