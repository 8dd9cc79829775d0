"""What every test starts from."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def compile_cache(request: pytest.FixtureRequest) -> None:
    """Compiled programs are kept between test runs, but not in the person's own cache."""
    if request.config.cache is not None:
        os.environ.setdefault("EUREKA_COMPILE_CACHE", str(request.config.cache.mkdir("xla")))


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """As in a box: a second thread makes training several times slower."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
