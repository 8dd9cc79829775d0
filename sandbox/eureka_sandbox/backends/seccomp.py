"""The seccomp profile (`seccomp.json`, as Docker reads it) as a program for the kernel's filter.

Numbers come from `syscalls.json`, per processor architecture. Arguments are compared in their lower 32 bits: the kernel
takes no more of those that are compared here, and a comparison of all 64 could be evaded by setting a bit above.
"""

from __future__ import annotations

import errno
import json
import platform
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""<linux/audit.h>: what `seccomp_data.arch` holds on machines of these names."""
LOAD, EQUAL, GREATER, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x54, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`."""
SHARED_ANONYMOUS = 0x21
"""MAP_SHARED | MAP_ANONYMOUS: memory that counts for no process once it is unmapped there, and for no tmpfs."""
MAP_KIND = 0x2F
"""The bits of `mmap`'s flags that tell anonymous from file, shared from private."""
SO_SNDBUF, SO_SNDBUFFORCE = 7, 32
"""A longer queue of a socket: kernel memory, which is watched as if all had the usual length."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""
Comparison = tuple[int, int, int]
"""Argument, mask, value."""
ALWAYS: Comparison = (0, 0, 0)
UNBOUNDED: Mapping[str, list[Comparison]] = {
    "mmap": [(3, MAP_KIND, SHARED_ANONYMOUS)],
    "setsockopt": [(2, 0xFFFFFFFF, option) for option in (SO_SNDBUF, SO_SNDBUFFORCE)],
    # Few watches are granted per user, and the kernel books them to the one who started the box.
    "epoll_create": [ALWAYS],
    "epoll_create1": [ALWAYS],
}
"""What a box without a control group of its own is refused besides: see `compiled`."""


class UnknownMachine(Exception):
    """There is no table of system calls for this processor."""


@cache
def box_filter() -> bytes:
    """The program for a box of the embedded backend: the profile, without what only a container's limits can bound.

    Raises:
        UnknownMachine: not x86-64 and not 64-bit ARM.
    """
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        raise UnknownMachine(f"no system call table for {machine}; there are: {', '.join(AUDIT_ARCH)}")
    numbers: Mapping[str, int] = json.loads((HERE / "syscalls.json").read_text())[machine]
    profile = json.loads((HERE / "seccomp.json").read_text())
    return compiled(profile, numbers, AUDIT_ARCH[machine], UNBOUNDED)


def compiled(
    profile: Mapping[str, Any], numbers: Mapping[str, int], architecture: int, refused: Mapping[str, list[Comparison]]
) -> bytes:
    """Assemble a profile; `refused` names calls that are refused with EPERM where a comparison holds, besides."""
    plain: set[int] = set()
    conditional: list[Instruction] = []
    for name, comparisons in refused.items():
        for comparison in comparisons if name in numbers else ():
            conditional += _rule(numbers[name], [comparison], ERRNO | errno.EPERM)
    for entry in profile["syscalls"]:
        action = _action(entry)
        comparisons = [_comparison(argument) for argument in entry.get("args", ())]
        for number in (numbers[name] for name in entry["names"] if name in numbers):
            if comparisons or action != ALLOW:
                conditional += _rule(number, comparisons, action)
            else:
                plain.add(number)
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *conditional,
    ]
    for low, high in _ranges(plain):
        program += [(AT_LEAST, 0, 2, low), (GREATER, 1, 0, high), (RETURN, 0, 0, ALLOW)]
    program.append((RETURN, 0, 0, ERRNO | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _rule(number: int, comparisons: list[Comparison], action: int) -> list[Instruction]:
    """`action` for the call if all comparisons hold; else on to the next rule, the call's number loaded again."""
    body: list[Instruction] = []
    for index, (argument, mask, value) in enumerate(comparisons):
        left = len(comparisons) - index - 1
        body += [
            (LOAD, 0, 0, ARGUMENTS + 8 * argument),  # little endian: the lower half comes first
            (AND, 0, 0, mask),
            (EQUAL, 0, 3 * left + 1, value),
        ]
    body.append((RETURN, 0, 0, action))
    body.append((LOAD, 0, 0, NUMBER))
    return [(EQUAL, 0, len(body), number), *body]


def _comparison(argument: Mapping[str, Any]) -> Comparison:
    if argument["op"] == "SCMP_CMP_EQ":
        return argument["index"], 0xFFFFFFFF, argument["value"]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return argument["index"], argument["value"], argument["valueTwo"]
    raise ValueError(f"seccomp.json: no rule for the comparison {argument['op']!r}")


def _action(entry: Mapping[str, Any]) -> int:
    if entry["action"] == "SCMP_ACT_ALLOW":
        return ALLOW
    if entry["action"] == "SCMP_ACT_ERRNO":
        return ERRNO | int(entry.get("errnoRet", errno.EPERM))
    raise ValueError(f"seccomp.json: no rule for the action {entry['action']!r}")


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring numbers, first and last of each."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
