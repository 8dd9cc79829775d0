"""The self-test of the Docker backend: what the Engine can limit, and what a real container can and cannot reach."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from threading import Event

from eureka_sandbox.backends.baits import Baits, baits
from eureka_sandbox.backends.docker_box import ContainerBox, Order
from eureka_sandbox.backends.docker_engine import Engine, engine_errors
from eureka_sandbox.backends.docker_flags import CGROUP_NAMESPACE_API, CODE
from eureka_sandbox.backends.job_stream import pack
from eureka_sandbox.backends.process import ending
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_json
from eureka_sandbox.protocol import SandboxError, Wall

PROBES = ("python3", "-I", f"{CODE}/eureka_sandbox/worker/probes.py")
CHECK_SECONDS = 60.0
"""A container that takes longer to answer has hung; the usual is under one second."""
CLOSE_SECONDS = 5.0
ANSWER_BYTES = 2**16
KINDS = ("probes", "controls")
COVERS = ("memory and processes of a box", "disk and inodes of a box")
"""What the Engine is held to limit, besides the probes."""
GAPS = ("unknown bugs of the Linux kernel", "side channels of the shared processor")


def check(engine: Engine, order: Callable[[tuple[str, ...], int], Order]) -> Wall:
    """Run the probes in one container.

    Args:
        engine: where.
        order: makes a container's order from a command and the size of its job, as for any box.

    Raises:
        SandboxError: something leaked, a limit cannot be set, or a box cannot do what it must.
    """
    started = time.monotonic()
    gaps = _limits(engine)
    with baits() as laid:
        found = _probe(engine, order, laid)
    probes, controls = found["probes"], found["controls"]
    for name, problem in controls.items():
        if problem:
            raise SandboxError(f"a container cannot do what it must: {name}: {problem}")
    leaks = [f"{name}: {detail}" for name, detail in probes.items() if detail]
    if leaks:
        raise SandboxError(f"the Docker wall leaks: {'; '.join(leaks)}; no candidate was run")
    return Wall(
        backend="docker",
        tier="Docker container: no network, read-only root, own user without capabilities, filtered system calls",
        covers=(*probes, *COVERS),
        gaps=(*gaps, *GAPS),
        contained=len(probes),
        probes=len(probes),
        controls=len(controls),
        image=engine.image(),
        seconds=time.monotonic() - started,
    )


def _limits(engine: Engine) -> list[str]:
    """What this Engine cannot limit but a run may do without.

    Raises:
        SandboxError: what no run may do without.
    """
    client = engine.client
    with engine_errors("describe itself"):
        info = client.info()
    for key, what in {"MemoryLimit": "memory", "PidsLimit": "processes"}.items():
        if info.get(key) is False:
            raise SandboxError(
                f"the Docker Engine cannot limit the {what} of a container (a rootless Engine needs cgroup v2 with "
                "delegation); use another Engine, or --sandbox embedded"
            )
    gaps = []
    if info.get("SwapLimit") is False:
        gaps.append("swap is not limited: a box that reaches its memory limit may slow the machine before it ends")
    if info.get("CpuCfsQuota") is False:
        gaps.append("processor time is not limited to one core")
    if engine.api_version < CGROUP_NAMESPACE_API:
        gaps.append("the names of the host's cgroups can be seen (Engine API older than 1.41)")
    return gaps


def _probe(engine: Engine, order: Callable[[tuple[str, ...], int], Order], laid: Baits) -> dict[str, dict[str, str]]:
    job = pack(laid.files)
    with ContainerBox(engine, lambda: order(PROBES, len(job)), job, Event()) as box:
        answer, errors = hear(box)
        returncode = box.wait(CLOSE_SECONDS)
    try:
        found = parse_json(answer, "self-test")
        return {kind: {str(name): str(problem) for name, problem in found[kind].items()} for kind in KINDS}
    except (Violation, LookupError, TypeError, AttributeError) as error:
        how = "it hangs" if returncode is None else ending(returncode)
        last = one_line(errors[-500:].decode("utf-8", "replace"), 500)
        raise SandboxError(f"the self-test's container gave no answer ({how}); its last words: {last}") from error


def hear(box: ContainerBox) -> tuple[bytes, bytes]:
    """All that the box prints, until it ends or its time does."""
    heard = {box.stdout: bytearray(), box.stderr: bytearray()}
    deadline = time.monotonic() + CHECK_SECONDS
    with selectors.DefaultSelector() as selector:
        for stream in heard:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = os.read(key.fd, ANSWER_BYTES)
                heard[key.fileobj] += data  # type: ignore[index]
                if not data or len(heard[key.fileobj]) > ANSWER_BYTES:  # type: ignore[index]
                    selector.unregister(key.fileobj)
    return bytes(heard[box.stdout]), bytes(heard[box.stderr])
