"""The wall itself: a box in namespaces of its own, entered by the supervisor. Standard library only.

The box's first process is the init of new user, mount, PID, network, IPC, UTS and cgroup namespaces. It builds a root
of tmpfs that holds read-only bind mounts of what the plan grants, a private `/proc` and one small tmpfs to write into,
pivots there, lets go of the old root, becomes an ordinary user without any capability, installs the seccomp filter and
starts the command. No root is needed: in a new user namespace everybody may do this to themselves.

What holds what: processes outside have no number inside (PID namespace), files outside have no path (mount namespace),
sockets outside have no address (network namespace, which the abstract Unix sockets belong to), System V memory has no
key (IPC namespace); the filter keeps the rest of the kernel out of reach and no new namespace can be made. The first
process has the user of all the others: that they set no limits of it is the filter's doing, too.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

TYPE_CHECKING = False  # `typing` takes as long to import as all the rest
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal as signal  # see supervisor.py

# <linux/sched.h>: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
CLONE, PIVOT_ROOT, CAPSET = {"x86_64": (56, 155, 126), "aarch64": (220, 41, 91)}.get(os.uname().machine, (0, 0, 0))
MOUNT_SETATTR = 442
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 18, 1 << 19
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522
LAST_CAPABILITY = 63

_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock: a raw clone must not lose it


def spawn(plan: dict[str, Any], become: Callable[[], None]) -> tuple[int, int]:
    """The first process of a new box, and the descriptor on which it tells the command's wait status (4 bytes)."""
    wall = plan["wall"]
    report, tell = os.pipe()
    mapped, go = os.pipe()
    first = _libc.syscall(CLONE, NAMESPACES | signal.SIGCHLD, 0, 0, 0, 0)
    if first < 0:
        sys.exit(f"no wall: new namespaces are refused: {os.strerror(ctypes.get_errno())}")
    if first == 0:
        try:
            os.close(go)
            os.close(report)
            _first(plan, become, mapped, tell)
        except BaseException as error:
            print(f"no wall: {error}", file=sys.stderr)  # noqa: T201
        os._exit(126)
    os.close(mapped)
    os.close(tell)
    try:
        _map_users(first, wall)
    except OSError as error:
        os.kill(first, signal.SIGKILL)
        sys.exit(f"no wall: users cannot be mapped: {error.strerror}")
    os.write(go, b"1")
    os.close(go)
    return first, report


def seal() -> None:
    """Move this process into a mount namespace in which nothing that is mounted now can be written, `/proc` excepted.

    What the host mounts and unmounts later, it does here, too.

    Raises:
        OSError: this machine does not allow that.
    """
    user, group, ordinary = os.geteuid(), os.getegid(), os.geteuid() != 0
    _check(_libc.unshare((0x10000000 if ordinary else 0) | 0x00020000), "unshare")  # CLONE_NEWUSER, CLONE_NEWNS
    if ordinary:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _mount(b"none", "/", None, MS_REC | MS_SLAVE)
    _restrict("/", RDONLY)
    _allow("/proc", RDONLY)  # where users of new namespaces are mapped; and a box's own may be no less restricted


def _map_users(first: int, wall: dict[str, Any]) -> None:
    if not wall["groups"]:  # an ordinary user must give up setgroups before mapping a group
        _write(f"/proc/{first}/setgroups", "deny")
    _write(f"/proc/{first}/gid_map", wall["gid_map"])
    _write(f"/proc/{first}/uid_map", wall["uid_map"])


def _first(plan: dict[str, Any], become: Callable[[], None], mapped: int, tell: int) -> None:
    wall = plan["wall"]
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _forget_the_host(mapped, tell)
    if os.read(mapped, 1) != b"1":
        os._exit(1)  # the supervisor is gone
    os.setsid()
    _write("/proc/self/oom_score_adj", "500")  # if the machine runs out of memory, the box goes first
    _build(wall)
    _disarm(wall)
    worker = os.fork()
    if worker == 0:
        become()
    os.close(1)
    supervisor = select.poll()
    supervisor.register(tell, 0)
    if supervisor.poll(0):  # its end of the pipe is gone: it died while the death signal was not set
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    while True:
        pid, status = os.wait()
        if pid == worker:
            os.write(tell, status.to_bytes(4, sys.byteorder))
            os._exit(0)  # and the kernel ends whatever is left in the namespace


def _forget_the_host(*kept: int) -> None:
    """Nothing of the host may be found in this process, which the box can see; nor may a signal from there reach it."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    for descriptor in {int(entry) for entry in os.listdir("/proc/self/fd")} - {0, 1, 2, *kept}:
        os.closerange(descriptor, descriptor + 1)  # the one that listed them is closed already
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace ignores what it does not handle


# ------------------------------------------------------------------------------------------------------------ files


def _build(wall: dict[str, Any]) -> None:
    """Make the box's root and move there. Paths in the wall are relative to that root."""
    _check(_libc.sethostname(b"box", 3), "sethostname")
    _mount(b"none", "/", None, MS_REC | MS_PRIVATE)
    _mount(b"tmpfs", wall["root"], b"tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1024,mode=755")
    os.chdir(wall["root"])
    os.umask(0o022)
    scratch, *aliases = wall["scratch"]
    below = tuple(f"{alias}/" for alias in aliases)
    for source, target in wall["read"]:
        if not target.startswith(below):
            _read_only(source, target)
    for source, target in wall["write"]:
        _bind(source, target)
        _restrict(target, NOSUID | NODEV | NOEXEC)
    for device in wall["devices"]:
        _bind(device, device.lstrip("/"))
        _restrict(device.lstrip("/"), NOSUID | NOEXEC)
    for target, text in wall["files"]:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _write(target, text)
    os.makedirs("proc")
    _mount(b"proc", "proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _restrict("proc", RDONLY)
    os.makedirs(scratch, exist_ok=True)
    _mount(b"tmpfs", scratch, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, wall["scratch_options"])
    for alias in aliases:  # one tmpfs under several names has one bound on all it holds
        os.makedirs(alias, exist_ok=True)
        _mount(scratch.encode(), alias, None, MS_BIND)
    for source, target in wall["read"]:
        if target.startswith(below):  # a Python that is installed below /tmp, say
            _read_only(source, target)
    for target, path in wall["links"]:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.symlink(target, path)
    _restrict(".", RDONLY | NOSUID | NODEV, recursive=False)
    _check(_libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def _read_only(source: str, target: str) -> None:
    _bind(source, target)
    _restrict(target, RDONLY | NOSUID | NODEV)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    _mount(source.encode(), target, None, MS_BIND | MS_REC)


def _mount(source: bytes, target: str, kind: bytes | None, flags: int, options: str = "") -> None:
    done = _libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), options.encode() or None)
    _check(done, f"mount {os.fsdecode(source)} on {target}")


def _restrict(target: str, attributes: int, recursive: bool = True) -> None:
    """Add attributes to a mount (and those below it); what the machine forbids there already stays forbidden."""
    value = attributes.to_bytes(8, sys.byteorder) + bytes(24)  # struct mount_attr
    flags = AT_RECURSIVE if recursive else 0
    done = _libc.syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, value, ctypes.c_size_t(len(value)))
    _check(done, f"mount_setattr {target}")


def _allow(target: str, attributes: int) -> None:
    """Take attributes from one mount."""
    value = bytes(8) + attributes.to_bytes(8, sys.byteorder) + bytes(16)
    _check(_libc.syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), 0, value, ctypes.c_size_t(32)), target)


# ------------------------------------------------------------------------------------------------------------ rights


def _disarm(wall: dict[str, Any]) -> None:
    """Give up every right for good, also for whatever is executed later."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # the kernel knows no more
    if wall["groups"]:
        os.setgroups([])
    os.setresgid(wall["group"], wall["group"], wall["group"])
    os.setresuid(wall["user"], wall["user"], wall["user"])
    header = CAPABILITY_VERSION.to_bytes(4, sys.byteorder) + bytes(4)
    _check(_libc.syscall(CAPSET, header, bytes(24)), "capset")
    _prctl(PR_SET_DUMPABLE, 0)  # until it executes something, nobody looks into it
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user has cleared it
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    code = wall["filter"]
    program = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    filled = Program(len(code) // 8, ctypes.addressof(program))
    _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filled), 0, 0), "seccomp")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
