"""The Docker Engine: one connection, its errors in our words, the image, and containers whose owner has died.

`DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` are honoured, as by the docker command.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from eureka_sandbox.backends.process_table import read_process
from eureka_sandbox.backends.untrusted import one_line
from eureka_sandbox.protocol import SandboxError

if TYPE_CHECKING:
    from docker import APIClient

logger = logging.getLogger(__name__)

IMAGE = "eureka-sandbox"
RECIPE_LABEL = "eu.recipe"
RECIPE = "7421f44dde01b8dfda56ff9490c19b7b7b728c3126bed4d4118fc67f969f16a5"
"""sha256 of the image's Dockerfile and requirements.txt, which `make image` makes a label (a test compares them)."""
OWNER_LABEL = "eu.owner"
API_SECONDS = 60
"""Longest wait for one answer of the Engine; it starts containers one after the other."""
OUTSIDERS = ("kill", "stop", "restart")
"""Events of a container that it cannot cause itself."""
START_SECONDS = 600
"""A container is started moments after it was made, by a living owner; by then it was forgotten."""
EVENT_SECONDS = 0.5
"""How far from a container's start and end the events that tell of them may be."""


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Whatever the SDK raises becomes a `SandboxError` that says what to do."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        reason = one_line(str(error.explanation or error), 400)
        raise SandboxError(f"the Docker Engine did not {doing}: {reason}") from error
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        where = os.environ.get("DOCKER_HOST") or "its usual socket"
        reason = one_line(str(error), 300)
        raise SandboxError(
            f"no Docker Engine answers at {where} ({doing}: {reason}); start it, correct DOCKER_HOST, "
            "or use --sandbox embedded"
        ) from error


@dataclass(frozen=True)
class Owner:
    """The process that a container belongs to, named for good: by machine and boot, pid namespace, id and start."""

    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> Owner:
        """The caller."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        process = read_process(os.getpid())
        assert process is not None
        return cls(boot, os.readlink("/proc/self/ns/pid"), process.pid, process.started)

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        """The inverse of `str`; None if it is none of ours."""
        parts = label.split()
        if len(parts) != 4 or not (parts[2].isdecimal() and parts[3].isdecimal()):
            return None
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))

    def __str__(self) -> str:
        return f"{self.boot} {self.namespace} {self.pid} {self.started}"

    def is_dead(self, running: bool) -> bool:
        """Whether nobody will ever remove its container.

        Of an owner that cannot be seen from here (another machine, container or boot), a container that has ended is
        taken for forgotten: a living owner removes it within moments.
        """
        here = Owner.this_process()
        if (self.boot, self.namespace) != (here.boot, here.namespace):
            return not running
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's: it lives
        process = read_process(self.pid)  # nothing where /proc hides what is not one's own
        return process is not None and process.started != self.started


def _has_ended(container: Mapping[str, Any], now: float) -> bool:
    """Of one that the Engine lists; one that was made long ago and never started has ended as well."""
    if container["State"] == "created":
        return now - float(container["Created"]) > START_SECONDS
    return container["State"] in ("exited", "dead")


class Engine:
    """The connection, made at the first use; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._client: APIClient | None = None
        self._image: str | None = None
        self._left: set[str] = set()

    @property
    def client(self) -> APIClient:
        """The SDK's low-level client.

        Raises:
            SandboxError: no Engine answers.
        """
        with self._lock:
            if self._client is None:
                with engine_errors("connect"):
                    import docker

                    self._client = docker.from_env(timeout=API_SECONDS, max_pool_size=64).api
            return self._client

    @property
    def api_version(self) -> tuple[int, ...]:
        """What client and Engine agreed on, e.g. (1, 41)."""
        return tuple(int(part) for part in self.client.api_version.split("."))

    def image(self) -> str:
        """The id of the image that boxes run, settled once: a later build does not change a run under way.

        Raises:
            SandboxError: there is none, or it was built for another version of this program.
        """
        client = self.client
        with self._lock:
            if self._image is None:
                self._image = _current_image(client)
            return self._image

    def tidy(self) -> list[str]:
        """Remove the containers of processes that died, and those that could not be removed before; their names.

        Raises:
            SandboxError: no Engine answers.
        """
        with engine_errors("list containers"):
            known = self.client.containers(all=True, filters={"label": OWNER_LABEL})
        stale = []
        for container in known:
            owner = Owner.parse(container["Labels"][OWNER_LABEL])
            dead = owner is not None and owner.is_dead(running=not _has_ended(container, time.time()))
            if (dead or container["Id"] in self._left) and self.remove(container["Id"]):
                stale.append(container["Names"][0].lstrip("/") if container["Names"] else container["Id"][:12])
        self._left -= self._left - {container["Id"] for container in known}
        return stale

    def remove(self, container: str) -> bool:
        """Kill and remove it; False if the Engine does not answer, and it is tried again by the next `tidy`."""
        from docker.errors import NotFound

        try:
            with engine_errors("remove a container"):
                self.client.remove_container(container, force=True, v=True)
        except SandboxError as error:
            if not isinstance(error.__cause__, NotFound):
                logger.warning("container %s is left for the next start: %s", container[:12], error)
                self._left.add(container)
                return False
        self._left.discard(container)
        return True

    @property
    def untidy(self) -> bool:
        """Whether a container could not be removed."""
        return bool(self._left)

    def state(self, container: str) -> dict[str, Any]:
        """What the Engine knows of it: `Running`, `ExitCode`, `OOMKilled`, `StartedAt`, `FinishedAt`, …

        Raises:
            SandboxError: the Engine does not answer, or the container was removed.
        """
        with engine_errors("tell a container's state"):
            state: dict[str, Any] = self.client.inspect_container(container)["State"]
        return state

    def kill(self, container: str) -> None:
        """SIGKILL for all of it; nothing if it has ended."""
        from docker.errors import APIError

        try:
            with engine_errors("kill a container"):
                self.client.kill(container)
        except SandboxError as error:
            if not isinstance(error.__cause__, APIError):
                raise

    def blame_outsiders(self, container: str, state: dict[str, Any]) -> None:
        """Nothing, if a container that ended by a signal did so itself.

        Raises:
            SandboxError: somebody stopped it, or the Engine was restarted, which ends containers and forgets events.
        """
        started, finished = (datetime.fromisoformat(state[key]).timestamp() for key in ("StartedAt", "FinishedAt"))
        with engine_errors("tell a container's events"):
            events: list[dict[str, Any]] = list(
                self.client.events(  # type: ignore[call-overload]  # fractions of a second are understood as text
                    since=f"{started - EVENT_SECONDS:.6f}",
                    until=f"{finished + EVENT_SECONDS:.6f}",
                    filters={"container": container},
                    decode=True,
                )
            )
        seen = {str(event.get("Action", "")).split(":")[0] for event in events}
        if not seen:  # the Engine keeps its last 256 events only, so that a long training's start may be forgotten
            raise SandboxError("the Docker Engine was restarted while a box ran")
        if not seen.isdisjoint(OUTSIDERS):
            raise SandboxError("somebody stopped a box's container")


def _current_image(client: APIClient) -> str:
    from docker.errors import ImageNotFound

    try:
        with engine_errors("look at its images"):
            image = client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]
    except SandboxError as error:
        if isinstance(error.__cause__, ImageNotFound):
            raise SandboxError(f"the Docker Engine has no image {IMAGE}; build it: make image") from error
        raise
    labels = image["Config"].get("Labels") or {}
    if labels.get(RECIPE_LABEL) != RECIPE:
        raise SandboxError(f"the image {IMAGE} is not the one of this version; build it again: make image")
    return str(image["Id"])
