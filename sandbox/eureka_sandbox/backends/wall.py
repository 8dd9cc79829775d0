"""What a walled box sees: the plan that `namespaces.py` builds its root from, and why this machine may not allow it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import eureka_evaluation
import eureka_sandbox
from eureka_sandbox.backends.interpreter import INTERPRETER
from eureka_sandbox.backends.seccomp import AUDIT_ARCH, box_filter
from eureka_sandbox.protocol import SandboxError

JOB, SCRATCH, CACHE = "/job", "/job/scratch", "/cache"
"""Where the job, the only folder that can be written, and compiled programs are, in a box."""
SCRATCH_MB = 192
"""Room in the scratch folder, which is also `/tmp` and `/dev/shm`."""
INODES = 8192
USER = 1000
"""User and group in the box. Outside it is the person who runs this, or nobody if that is root."""
NOBODY = 65534
KERNEL = (5, 14)
"""First Linux that counts the processes of each user namespace by themselves and restricts whole trees of mounts."""
DEVICES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/full")
"""Not `/dev/zero`: mapping it makes shared memory that no limit counts."""
SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share"),
    *("/usr/local/bin", "/usr/local/lib", "/usr/local/lib64", "/usr/local/share"),
)
"""Programs and libraries; nothing else of /usr: people put their own work into /usr/src and /usr/local. `sbin` is for
`ldconfig`, which is how OpenGL is found."""
VENDOR = ("cuda*/lib*", "cuda*/targets/*/lib")
"""Libraries below /usr/local that a torch built on this machine may be linked to."""
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/glvnd")
"""Of /etc nothing else: where libraries are, the time zone, and which OpenGL there is."""
PYTHON = ("bin", "lib", "lib64", "share", "ssl", "pyvenv.cfg")
"""Of Python's own folders nothing else: `pip.conf` and `.condarc` lie there too, with passwords in them."""
FILES = {
    "etc/passwd": f"box:x:{USER}:{USER}::{SCRATCH}:/bin/false\n",
    "etc/group": f"box:x:{USER}:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def environment(host: Mapping[str, str]) -> dict[str, str]:
    """What differs in the environment of a walled box from that of any other."""
    folders = [str(Path(INTERPRETER).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    libraries = _library_folders(host)
    return {
        "PATH": ":".join(dict.fromkeys(folders)),
        "USER": "box",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"LD_LIBRARY_PATH": ":".join(map(str, libraries))} if libraries else {}),
    }


def layout(job: Path, mount_point: Path, cache: Path | None = None, cache_writable: bool = False) -> dict[str, Any]:
    """The plan of one box's wall.

    Args:
        job: the folder with the job's files, which appears as `/job`.
        mount_point: an empty folder of the host over which the box's root is mounted, seen by the box alone.
        cache: a folder that appears as `/cache`.
        cache_writable: whether the box may write there.

    Raises:
        SandboxError: Python, or the working folder, lies where a box must not look.
    """
    must_not_expose(_working_folder())
    granted = readable(tuple(sys.path))
    beside = [path for path in map(Path, SYSTEM) if not any(path.is_relative_to(shown) for shown in granted)]
    links = {str(path): os.readlink(path) for path in beside if path.is_symlink()}
    caches = [(str(cache), CACHE.lstrip("/"))] if cache else []
    user, group = _mapping()
    return {
        "root": str(mount_point),
        "read": [
            *((str(path), str(path).lstrip("/")) for path in granted),
            (str(job), JOB.lstrip("/")),
            *([] if cache_writable else caches),
        ],
        "write": caches if cache_writable else [],
        "devices": [path for path in DEVICES if os.path.exists(path)],
        "files": list(FILES.items()),
        "scratch": [SCRATCH.lstrip("/"), "tmp", "dev/shm"],
        "scratch_options": f"size={SCRATCH_MB}m,nr_inodes={INODES},mode=700,uid={USER},gid={USER}",
        "links": [
            *((target, path.lstrip("/")) for path, target in links.items()),
            ("/proc/self/fd", "dev/fd"),
            *((f"/proc/self/fd/{number}", f"dev/{name}") for number, name in enumerate(("stdin", "stdout", "stderr"))),
        ],
        "filter": box_filter(),
        "uid_map": user,
        "gid_map": group,
        "groups": os.geteuid() == 0,
        "user": USER,
        "group": USER,
    }


@cache
def readable(python_path: tuple[str, ...]) -> tuple[Path, ...]:
    """Folders and files of the host that a box may read: the system, Python, its packages, and this project's code.

    Raises:
        SandboxError: Python lives where the box must not look.
    """
    python = Path(INTERPRETER)
    base = Path(sys.base_prefix)
    homes = [Path(sys.prefix), base, base.resolve(), python.resolve().parents[1]]
    for home in homes:
        if home not in {Path(folder).parent for folder in SYSTEM}:  # of /usr no more than `SYSTEM` is shown anyway
            _must_not_hold_private(home)
    interpreter = [home / name for home in homes for name in PYTHON]
    packages = [Path(entry) for entry in python_path if Path(entry).name in ("site-packages", "dist-packages")]
    own = [Path(str(module.__file__)).parent for module in (eureka_sandbox, eureka_evaluation)]
    grants = [path for path in map(Path, SYSTEM) if not path.is_symlink()]
    vendor = [path for pattern in VENDOR for path in sorted(Path("/usr/local").glob(pattern))]
    grants += [*map(Path, SETTINGS), *vendor, *interpreter, *packages, *own, *_library_folders(os.environ)]
    present = [path for path in grants if path.exists()]
    for path in present:
        _must_not_hold_private(path)
    return tuple(_outermost(present))


def must_not_expose(folders: Iterable[Path]) -> None:
    """See to it that no box may read these: nothing, if none lies below what boxes are shown.

    Raises:
        SandboxError: one does; says which, and what to do.
    """
    for folder in folders:
        for path in readable(tuple(sys.path)):
            if folder.resolve().is_relative_to(path.resolve()):
                raise SandboxError(
                    f"a box may read all of {path}, and with it {folder}: work in another folder and keep runs there, "
                    "or use Docker (`--sandbox docker`)"
                )


def _working_folder() -> list[Path]:
    try:
        return [Path.cwd()]
    except FileNotFoundError:  # it was removed
        return []


def home() -> list[Path]:
    """The user's home folder; none for a user whom the system does not know."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []


def _must_not_hold_private(path: Path) -> None:
    for private in (*home(), Path(tempfile.gettempdir()), Path("/etc"), Path("/proc"), Path("/run")):
        if private.resolve().is_relative_to(path.resolve()):
            raise SandboxError(
                f"Python or a library folder is {path}, which holds {private}: a box that may read it could read that "
                "too; install into a virtual environment, or take the folder out of LD_LIBRARY_PATH"
            )


def _library_folders(host: Mapping[str, str]) -> list[Path]:
    """The person's own choice of where libraries are."""
    entries = (Path(entry) for entry in host.get("LD_LIBRARY_PATH", "").split(":") if entry.startswith("/"))
    return [path for path in entries if path.is_dir()]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Without those that lie in another."""
    kept: list[Path] = []
    for path in sorted(set(paths), key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def _mapping() -> tuple[str, str]:
    """`uid_map` and `gid_map` of a box. Root builds the box as root and runs it as nobody."""
    if os.geteuid() == 0:
        both = f"0 0 1\n{USER} {NOBODY} 1\n"
        return both, both
    return f"{USER} {os.geteuid()} 1\n", f"{USER} {os.getegid()} 1\n"


def missing() -> str:
    """Why this machine cannot have the wall, as far as that is known without trying; empty if nothing speaks for it."""
    if sys.platform != "linux":
        return f"it needs Linux, this is {sys.platform}"
    if platform.machine() not in AUDIT_ARCH:
        return f"it knows {' and '.join(AUDIT_ARCH)}, this is {platform.machine()}"
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if release < KERNEL:
        return f"it needs Linux {'.'.join(map(str, KERNEL))} or later, this is {platform.release()}"
    for setting, why in _SETTINGS.items():
        if _setting(setting) == why[0]:
            return f"{setting} is {why[0]}; {why[1]}"
    return ""


_SETTINGS = {
    "kernel.unprivileged_userns_clone": ("0", "`sudo sysctl kernel.unprivileged_userns_clone=1` allows it"),
    "user.max_user_namespaces": ("0", "`sudo sysctl user.max_user_namespaces=10000` allows it"),
    "kernel.apparmor_restrict_unprivileged_userns": (
        "1",
        "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows it",
    ),
}
"""What distributions set to keep ordinary users from having namespaces: the value, and the way out."""


def _setting(name: str) -> str:
    if os.geteuid() == 0 and name != "user.max_user_namespaces":
        return ""  # root is not meant
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""
