"""Whether an Engine can set the limits that a box needs, and which lesser ones it cannot."""

from __future__ import annotations

from eureka_sandbox.backends.docker_engine import Engine, engine_errors
from eureka_sandbox.backends.docker_flags import CGROUP_NAMESPACE_API
from eureka_sandbox.protocol import SandboxError

NEEDED = {"MemoryLimit": "memory", "PidsLimit": "number of processes"}
"""Fields of the Engine's description of itself."""


def missing_limits(engine: Engine) -> tuple[str, ...]:
    """What this Engine cannot limit although a run can do without it, one short phrase each.

    Raises:
        SandboxError: it does not answer, or cannot limit what no run can do without.
    """
    client = engine.client
    with engine_errors("describe itself"):
        info = client.info()
    for field, what in NEEDED.items():
        if info.get(field) is False:
            raise SandboxError(
                f"the Docker Engine cannot limit the {what} of a container; a rootless Engine needs cgroup v2 with "
                "delegated controllers. Use another Engine, or --sandbox embedded"
            )
    gaps = {
        "swap is not limited: a box at its memory limit may slow the machine": info.get("SwapLimit") is False,
        "processor time is not limited": info.get("CpuCfsQuota") is False,
        "names of the host's cgroups can be seen": engine.api_version < CGROUP_NAMESPACE_API,
    }
    return tuple(gap for gap, is_there in gaps.items() if is_there)
