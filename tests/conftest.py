"""What every test starts from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from eureka_sandbox.backends.docker_engine import Engine


@pytest.fixture(scope="session", autouse=True)
def compile_cache(request: pytest.FixtureRequest) -> None:
    """Compiled programs are kept between test runs, but not in the person's own cache."""
    if request.config.cache is not None:
        os.environ.setdefault("EUREKA_COMPILE_CACHE", str(request.config.cache.mkdir("xla")))


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """As in a box: a second thread makes training several times slower."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def docker_engine() -> Engine:
    """A Docker Engine with the sandbox's image. Without, the test is skipped, or fails if `EUREKA_REQUIRE_DOCKER` is set."""
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
