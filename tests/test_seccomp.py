"""The box's filter, run on made-up system calls by a small interpreter of the kernel's instructions."""

from __future__ import annotations

import errno
import json
import platform
import struct
from pathlib import Path

import pytest

from eureka_sandbox.backends import seccomp
from eureka_sandbox.backends.seccomp import ALLOW, ERRNO, HERE, KILL, box_filter, compiled

TABLE = json.loads((HERE / "syscalls.json").read_text())
PROFILE = json.loads((HERE / "seccomp.json").read_text())
X86 = seccomp.AUDIT_ARCH["x86_64"]
REFUSED = ERRNO | errno.EPERM


def verdict(program: bytes, name: str | int, *arguments: int, architecture: int = X86) -> int:
    number = TABLE["x86_64"][name] if isinstance(name, str) else name
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=iIQ6Q", number, architecture, 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = register = 0
    while True:
        code, true, false, operand = instructions[at]
        at += 1
        if code == 0x20:  # load a word
            (register,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:  # and
            register &= operand
        elif code == 0x06:  # return
            return int(operand)
        else:
            holds = {0x15: register == operand, 0x25: register > operand, 0x35: register >= operand}[code]
            at += true if holds else false


@pytest.fixture(scope="module")
def program() -> bytes:
    return compiled(PROFILE, TABLE["x86_64"], X86, seccomp.UNBOUNDED)


def test_what_the_profile_allows_is_allowed_and_nothing_else(program: bytes) -> None:
    allowed = {
        name
        for entry in PROFILE["syscalls"]
        if "args" not in entry and "errnoRet" not in entry
        for name in entry["names"]
    }
    conditional = {name for entry in PROFILE["syscalls"] for name in entry["names"]} - allowed | set(seccomp.UNBOUNDED)
    assert len(allowed) > 150
    for name in TABLE["x86_64"]:
        if name not in conditional:
            assert verdict(program, name) == (ALLOW if name in allowed else REFUSED), name
    for dangerous in ("bpf", "mount", "unshare", "setns", "ptrace", "io_uring_setup", "memfd_secret", "memfd_create"):
        assert verdict(program, dangerous) == REFUSED
    assert verdict(program, 100_000) == REFUSED


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_bits_above_the_32_that_the_kernel_reads_evade_no_comparison(program: bytes, high: int) -> None:
    assert verdict(program, "socket", 1 | high) == ALLOW
    assert verdict(program, "socket", 2 | high) == REFUSED
    assert verdict(program, "clone", 0x10000000 | high) == REFUSED
    assert verdict(program, "clone", 0x003D0F00 | high) == ALLOW  # a thread
    assert verdict(program, "mmap", 0, 4096, 3, 0x21 | high) == REFUSED
    assert verdict(program, "mmap", 0, 4096, 3, 0x22 | high) == ALLOW  # private
    assert verdict(program, "mmap", 0, 4096, 3, 0x01 | high) == ALLOW  # a shared file


def test_what_counts_for_no_process_is_refused_where_there_is_no_control_group(program: bytes) -> None:
    for name in ("epoll_create", "epoll_create1"):
        assert verdict(program, name) == verdict(program, name, 0x80000, 1 << 40) == REFUSED
    assert verdict(program, "setsockopt", 3, 1, 7) == verdict(program, "setsockopt", 3, 1, 32) == REFUSED
    assert verdict(program, "setsockopt", 3, 1, 2) == ALLOW


@pytest.mark.parametrize("high", [0, 1 << 32])
def test_neither_huge_pages_nor_another_limit_on_dumps_nor_locks_on_what_can_only_be_read_are_for_a_box(
    high: int,
) -> None:
    """In a container, too."""
    program = compiled(PROFILE, TABLE["x86_64"], X86, {})
    assert verdict(program, "mmap", 0, 4096, 3, 0x40022 | high) == REFUSED
    assert verdict(program, "mmap", 0, 4096, 3, 0x22 | high) == ALLOW
    for resource in range(16):
        allowed = REFUSED if resource == 4 else ALLOW
        assert verdict(program, "prlimit64", 0, resource | high) == allowed, resource
        assert verdict(program, "setrlimit", resource | high) == allowed, resource
    for name in ("flock", "inotify_init1", "inotify_add_watch"):
        assert verdict(program, name) == verdict(program, name, 3, 2 | high) == REFUSED
    for command in (6, 7, 8, 10, 37, 38, 1024, 1026, 1031):  # locks, a signal, a lease, notices, pipes
        assert verdict(program, "fcntl", 3, command | high) == REFUSED
    for command in (0, 1, 2, 3, 4, 5, 1030, 1032):  # copies, flags, the size of a pipe
        assert verdict(program, "fcntl", 3, command) == ALLOW


@pytest.mark.parametrize("high", [0, 1 << 32])
def test_no_filter_of_system_calls_or_packets_is_compiled_for_a_box(high: int) -> None:
    """In a container, too: what the kernel compiles them into is bounded for the whole machine."""
    program = compiled(PROFILE, TABLE["x86_64"], X86, {})
    assert verdict(program, "prctl", 22 | high, 2) == verdict(program, "seccomp", 1) == REFUSED
    for option in (*range(1, 22), *range(23, 85), 0x53564D41):  # the last one names a mapping
        assert verdict(program, "prctl", option | high) == ALLOW, option
    for attached in (26, 50, 51, 52):
        assert verdict(program, "setsockopt", 3, 1, attached | high) == REFUSED
    for usual in (2, 7, 8, 9, 13, 15, 16, 18, 20, 21, 66, 67):
        assert verdict(program, "setsockopt", 3, 1, usual) == ALLOW, usual


@pytest.mark.parametrize("high", [0, 1 << 32])
def test_limits_priority_and_processors_are_for_a_process_to_set_on_itself_alone(high: int) -> None:
    """In a container, too: the first process of a box has the user of all the others."""
    program = compiled(PROFILE, TABLE["x86_64"], X86, {})
    process, group, user = 0, 1, 2
    for other in (1, 77):
        for resource in range(16):
            assert verdict(program, "prlimit64", other | high, resource) == REFUSED
        assert verdict(program, "sched_setaffinity", other | high) == REFUSED
        assert verdict(program, "setpriority", process, other | high) == REFUSED
    assert (
        verdict(program, "setpriority", group | high, 0) == verdict(program, "setpriority", user | high, 0) == REFUSED
    )
    assert verdict(program, "setpriority", process | high, high, 19) == ALLOW
    assert verdict(program, "sched_setaffinity", high, 128) == ALLOW
    assert verdict(program, "sched_getaffinity", 77) == verdict(program, "getpriority", process, 77) == ALLOW


def test_calls_that_a_processor_does_not_have_need_no_rule() -> None:
    numbers = TABLE["aarch64"]
    assert "epoll_create" not in numbers
    program = compiled(PROFILE, numbers, seccomp.AUDIT_ARCH["aarch64"], seccomp.UNBOUNDED)
    assert verdict(program, numbers["epoll_create1"], architecture=seccomp.AUDIT_ARCH["aarch64"]) == REFUSED
    assert verdict(program, numbers["mmap"], architecture=seccomp.AUDIT_ARCH["aarch64"]) == ALLOW


def test_clone3_is_said_to_be_missing_so_that_clone_is_used(program: bytes) -> None:
    assert verdict(program, "clone3") == ERRNO | errno.ENOSYS


def test_another_architecture_s_system_calls_end_the_process(program: bytes) -> None:
    assert verdict(program, "read", architecture=0x40000003) == KILL
    assert verdict(program, TABLE["x86_64"]["read"] | 0x40000000) == REFUSED  # x32


def test_every_name_of_the_profile_has_a_number_and_the_other_machine_lacks_only_old_calls() -> None:
    names = {name for entry in PROFILE["syscalls"] for name in entry["names"]}
    assert names <= TABLE["x86_64"].keys()
    missing = names - TABLE["aarch64"].keys()
    assert {"open", "fork", "poll"} <= missing
    assert {"openat", "clone", "ppoll", "mmap", "socket", "execve"} <= names - missing


def test_a_machine_without_a_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    box_filter.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(seccomp.UnknownMachine, match="riscv64"):
        box_filter()


def test_a_rule_that_cannot_be_compiled_is_an_error_and_no_hole(tmp_path: Path) -> None:
    odd = {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRACE"}]}
    with pytest.raises(ValueError, match="SCMP_ACT_TRACE"):
        compiled(odd, TABLE["x86_64"], X86, {})
    odd = {
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_GT"}]}
        ]
    }
    with pytest.raises(ValueError, match="SCMP_CMP_GT"):
        compiled(odd, TABLE["x86_64"], X86, {})
