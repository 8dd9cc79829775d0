"""Rewards made of attacks: each tries once, at the first call, and says in a component of its own what came of it.

Components are numbers, so a secret that was read leaves as its checksum, which the host knows and a boaster does not.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from eureka_sandbox.hostile.corpus import Case

BLOCKED, THROUGH, BROKEN = 0.0, 1.0, -1.0
"""Values of a component: refused by the system, got through, failed by its own fault (which proves nothing)."""

_PROBES = """
import traceback, zlib
import torch

ATTACKS = {attacks!r}
_values = {{}}


def _value(name, source, host):
    space = {{"HOST": host, "__name__": name}}
    try:
        exec(compile(source, name + ".py", "exec"), space)
        found = space["attack"]()
    except OSError:
        return {blocked}
    except MemoryError:
        raise
    except Exception:
        traceback.print_exc()
        return {broken}
    if isinstance(found, str):
        return 2.0 + (zlib.crc32(found.encode()) & 0xFFFFF)
    return {through} if found else {blocked}


def compute_reward(pole_angle):
    for name, (source, host) in ATTACKS.items():
        if name not in _values:
            _values[name] = _value(name, source, host)
    return torch.zeros_like(pole_angle), {{name: torch.full_like(pole_angle, value) for name, value in _values.items()}}
"""

_TAMPERING = """
_calls = []


def compute_reward(pole_angle, cart_position):
    import torch
    attack(len(_calls))
    _calls.append(1)
    upright, centred = torch.cos(pole_angle), -0.1 * cart_position.abs()
    return upright + centred, {"upright": upright, "centred": centred}
"""


def probes(cases: Mapping[Case, Mapping[str, Any]]) -> bytes:
    """One reward that tries every attack, each with the places that its bait lies at."""
    attacks = {c.name: (f"{c.prelude}\n{c.source.decode()}", dict(places)) for c, places in cases.items()}
    return _PROBES.format(attacks=attacks, blocked=BLOCKED, through=THROUGH, broken=BROKEN).lstrip().encode()


def tampering(case: Case) -> bytes:
    """An honest reward that tells the attack the number of each call first."""
    return f"{case.prelude}\n{case.source.decode()}{_TAMPERING}".encode()


def checksum(secret: str) -> float:
    """What a component says that has read the secret."""
    return 2.0 + (zlib.crc32(secret.encode()) & 0xFFFFF)
