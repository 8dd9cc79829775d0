"""What every test starts from."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from eureka_sandbox.backends.docker_engine import Engine
    from eureka_sandbox.backends.process_table import Process


def pytest_configure() -> None:
    """What `auto` means in tests: the embedded wall, or none, said in the header, where this machine offers no wall."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a job in the background ignores them, and so would its children
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    os.environ.pop("COLUMNS", None)  # which pytest-xdist sets, and tables would be cut to
    if "EUREKA_SANDBOX" not in os.environ:
        os.environ["EUREKA_SANDBOX"] = "none" if no_wall() else "embedded"


def pytest_report_header() -> str:
    return f"sandbox: {os.environ['EUREKA_SANDBOX']}{f' ({no_wall()})' if no_wall() else ''}"


@cache
def no_wall() -> str:
    """Why the embedded wall cannot be had here; empty if it stands."""
    from eureka_sandbox.backends.embedded import EmbeddedSandbox
    from eureka_sandbox.protocol import SandboxError

    try:
        EmbeddedSandbox().check()
    except SandboxError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def embedded_wall() -> None:
    """The embedded wall stands; without it the test is skipped, unless `EUREKA_REQUIRE_WALL` is set."""
    if reason := no_wall():
        if os.environ.get("EUREKA_REQUIRE_WALL"):
            pytest.fail(reason)
        pytest.skip(f"needs the embedded wall: {reason}")


@pytest.fixture(scope="session", autouse=True)
def compile_cache(request: pytest.FixtureRequest) -> None:
    """Compiled programs are kept between test runs, but not in the person's own cache."""
    if (kept := getattr(request.config, "cache", None)) is not None:  # `-p no:cacheprovider` takes even the name away
        os.environ.setdefault("EUREKA_COMPILE_CACHE", str(kept.mkdir("xla")))


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """As in a box: a second thread makes training several times slower."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def docker_engine() -> Engine:
    """A Docker Engine with the sandbox's image; else the test is skipped, or fails if EUREKA_REQUIRE_DOCKER is set."""
    from eureka_sandbox.backends.docker_engine import Engine
    from eureka_sandbox.protocol import SandboxError

    engine = Engine()
    try:
        engine.image()
    except SandboxError as error:
        if os.environ.get("EUREKA_REQUIRE_DOCKER"):
            raise
        pytest.skip(f"needs Docker: {error}")
    return engine


@pytest.fixture
def started() -> Callable[[], list[Process]]:
    """The living processes below this one that the test has started; servers of other tests may be there before.

    Forkservers do not count: they stay for the boxes of later tests.
    """
    from eureka_sandbox.backends import forked
    from eureka_sandbox.backends.process_table import ProcessTable

    before = {(process.pid, process.started) for process in ProcessTable().descendants(os.getpid())}

    def below() -> list[Process]:
        forkservers = {server.pid for server in forked._servers.values()}
        now = [process for process in ProcessTable().descendants(os.getpid()) if process.pid not in forkservers]
        return [process for process in now if (process.pid, process.started) not in before]

    return below
