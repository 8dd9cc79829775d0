"""Power cuts: what a search asked of the disk, recorded with strace, and the states in which a disk may be left.

As ALICE has it (Pillai et al., OSDI 2014): what was synced is there; of what was written since the last sync, and of
names made, moved and removed since the folder's last sync, anything may be. Files outside `runs/` are the world's, and
keep everything.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,rename,renameat,renameat2,"
    "link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,sendfile,copy_file_range,fallocate"
)
UNKNOWN = ("writev", "pwritev", "truncate", "link", "linkat", "sendfile", "copy_file_range", "fallocate")
"""Calls that a search does not make on its files; if it comes to do so, this must learn them."""
MODES = ("synced", "names", "data", "some", "all")
"""Of what was not synced is there: nothing; all names, without content; all content, without names; a part; all."""
SIT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from crash_cases import Place, sitting
sitting(Place(Path(sys.argv[1])))
"""
"""A search to its end, as a program."""
LONGEST = 2**23
SECTOR = 512
SHARED_MEMORY = "-shm"
"""SQLite's index of the log: never synced, and made anew."""
_LINE = re.compile(r"^(\d+) +(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_PLACE = re.compile(r"<((?:\\x[0-9a-f]{2})*)>")


@dataclass
class Node:
    """A file, a folder (`names` is not None) or a link (`target`)."""

    ours: bool
    """Whether the search, and not the world, answers for it."""
    names: dict[str, Node] | None = None
    target: str = ""
    number: int = field(default=0)


@dataclass(frozen=True)
class Step:
    """One thing that was asked of the disk, in the order of completion."""

    kind: str
    """`write`, `cut`, `name`, `unname`, `move` or `sync`."""
    node: Node
    folder: Node | None = None
    name: str = ""
    offset: int = 0
    data: bytes = b""
    source: tuple[Node, str] | None = None
    """Of a move: the folder and name before."""
    begun: int = 0
    """Of a sync: how many steps had been completed when it began."""


def recorded(script: str, root: Path, trace: Path) -> list[Step]:
    """What a Python program asks of the disk below `root`, in order."""
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-y", "-xx", "-s", str(LONGEST), "-e", f"trace={CALLS}"]
    program = [sys.executable, "-c", script, str(root)]
    subprocess.run([*command, "-o", str(trace), *program], check=True, capture_output=True)
    return list(_Reader(root).steps(trace))


class _Reader:
    """Reads a trace; the tree is as it was at each line."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.tree = Node(ours=False, names={})
        self._steps: list[Step] = []
        self._begun: dict[str, tuple[str, Node | None, int]] = {}
        self._sizes: dict[int, int] = {}

    def steps(self, trace: Path) -> list[Step]:
        with open(trace, encoding="ascii") as lines:
            for line in lines:
                match = _LINE.match(line)
                if match:
                    self._line(match[1], match[2])
        return self._steps

    def _line(self, thread: str, text: str) -> None:
        if text.startswith(("+++", "---")):
            return
        if text.startswith("<... "):
            begun, node, count = self._begun.pop(thread)
            text = begun + text.partition(" resumed>")[2]
        else:
            node, count = self._described(text), len(self._steps)
            if text.endswith("<unfinished ...>"):
                self._begun[thread] = (text.removesuffix("<unfinished ...>"), node, count)
                return
        call, _, rest = text.partition("(")
        arguments, _, result = rest.rpartition(" = ")
        arguments = arguments.rstrip(" )")
        if result.startswith(("-1", "?")):
            return
        self._call(call, arguments, result, node, count)

    def _described(self, text: str) -> Node | None:
        """What the call's descriptor stands for, when it began."""
        match = _PLACE.search(text)
        return self._find(_spelled(match[1])) if match else None

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.tree
        parts = self._parts(path)
        for part in parts if parts is not None else ("/",):
            node = (node.names or {}).get(part) if node else None
        return node

    def _parts(self, path: str) -> tuple[str, ...] | None:
        """Below the root; None elsewhere."""
        where = Path(path)
        return where.relative_to(self._root).parts if where.is_relative_to(self._root) else None

    def _call(self, call: str, arguments: str, result: str, node: Node | None, begun: int) -> None:
        named = call.startswith(("open", "creat", "mkdir", "symlink", "unlink", "rmdir", "rename"))
        paths = [_spelled(match[1]) for match in _TEXT.finditer(arguments)] if named else []
        if call in ("openat", "open", "creat"):
            self._opened(paths[0], arguments, result)
        elif call in ("mkdir", "mkdirat", "symlink", "symlinkat"):
            target = paths[0] if call.startswith("sym") else ""
            self._named(paths[-1], Node(False, target=target) if target else Node(False, names={}))
        elif call in ("unlink", "unlinkat", "rmdir"):
            self._unnamed(paths[-1] if paths else "")
        elif call.startswith("rename"):
            self._moved(*paths)
        elif node is None:
            return
        elif call in ("write", "pwrite64"):
            data = bytes.fromhex(_TEXT.search(arguments)[1].replace("\\x", ""))  # type: ignore[index]
            offset = int(arguments.rpartition(", ")[2]) if call == "pwrite64" else self._sizes[node.number]
            self._steps.append(Step("write", node, offset=offset, data=data[: int(result.split()[0])]))
            self._sizes[node.number] = max(self._sizes[node.number], offset + len(data))
        elif call == "ftruncate":
            self._cut(node, int(arguments.rpartition(", ")[2]))
        elif call in ("fsync", "fdatasync"):
            self._steps.append(Step("sync", node, begun=begun))
        else:
            assert call not in UNKNOWN, f"{call} on a file of the search"

    def _opened(self, path: str, arguments: str, result: str) -> None:
        match = _PLACE.search(result)
        path = _spelled(match[1]) if match else path
        if self._parts(path) is None or ("O_CREAT" not in arguments and "O_TRUNC" not in arguments):
            return
        node = self._find(path)
        if node is None:
            self._named(path, Node(False))
        elif "O_TRUNC" in arguments:
            self._cut(node, 0)

    def _cut(self, node: Node, size: int) -> None:
        self._steps.append(Step("cut", node, offset=size))
        self._sizes[node.number] = size

    def _folder(self, path: str) -> tuple[Node, str] | None:
        parts = self._parts(path)
        folder = self._find(str(Path(path).parent)) if parts else None
        return (folder, Path(path).name) if folder and parts else None

    def _named(self, path: str, node: Node) -> None:
        if not (found := self._folder(path)):
            return
        folder, name = found
        node.ours = folder.ours or name == "runs"
        node.number = len(self._sizes)
        self._sizes[node.number] = 0
        assert folder.names is not None
        folder.names[name] = node
        self._steps.append(Step("name", node, folder, name))

    def _unnamed(self, path: str) -> None:
        if (found := self._folder(path)) and (node := (found[0].names or {}).pop(found[1], None)):
            self._steps.append(Step("unname", node, *found))

    def _moved(self, before: str, after: str) -> None:
        old, new = self._folder(before), self._folder(after)
        if old and new:
            assert old[0].names is not None
            assert new[0].names is not None
            node = old[0].names.pop(old[1])
            new[0].names[new[1]] = node
            self._steps.append(Step("move", node, *new, source=old))


def _spelled(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode()


def moments(steps: list[Step]) -> list[int]:
    """Just before each sync is completed, when most is at stake, and at the end."""
    return [index for index, step in enumerate(steps) if step.kind == "sync" and step.node.ours] + [len(steps)]


def left(steps: list[Step], moment: int, mode: str, draw: random.Random, root: Path) -> None:
    """Lay out in `root` what a disk may hold whose power was cut after `moment` steps."""
    past = steps[:moment]
    synced: dict[int, int] = {}
    for step in past:
        if step.kind == "sync":
            synced[id(step.node)] = step.begun
    names = [index for index, step in enumerate(past) if step.folder is not None]
    open_names = [index for index in names if not _safe(past[index], index, synced)]
    cut = draw.choice([*open_names, moment]) if mode == "some" else moment if mode in ("names", "all") else 0
    trees: dict[int, dict[str, Node]] = {}
    contents: dict[int, bytearray] = {}
    for index, step in enumerate(past):
        if step.folder is not None:
            if index < cut or _safe(step, index, synced):
                _rename(step, trees)
        elif step.kind != "sync" and (step.kind == "write" or step.kind == "cut"):
            safe = not step.node.ours or index < synced.get(id(step.node), 0)
            kept = safe or mode in ("data", "all") or (mode == "some" and draw.random() < 0.5)
            if kept:
                torn = mode == "some" and not safe and draw.random() < 0.1
                _write(step, contents.setdefault(id(step.node), bytearray()), torn)
    _lay(_top(steps), root, trees, contents)


def _safe(step: Step, index: int, synced: dict[int, int]) -> bool:
    """Whether a name is settled: the world's, or its folder was synced since."""
    if not step.node.ours:
        return True
    folders = [step.folder, *([step.source[0]] if step.source else [])]
    return all(index < synced.get(id(folder), 0) for folder in folders)


def _rename(step: Step, trees: dict[int, dict[str, Node]]) -> None:
    if step.source:
        trees.setdefault(id(step.source[0]), {}).pop(step.source[1], None)
    names = trees.setdefault(id(step.folder), {})
    if step.kind == "unname":
        names.pop(step.name, None)
    else:
        names[step.name] = step.node


def _write(step: Step, content: bytearray, torn: bool) -> None:
    if step.kind == "cut":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    data = step.data[: len(step.data) // 2 // SECTOR * SECTOR] if torn else step.data
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(data)] = data


def _top(steps: list[Step]) -> Node:
    """The folder in which everything lies."""
    return next(step.folder for step in steps if step.folder is not None)


def _lay(folder: Node, path: Path, trees: dict[int, dict[str, Node]], contents: dict[int, bytearray]) -> None:
    for name, node in trees.get(id(folder), {}).items():
        if node.names is not None:
            (path / name).mkdir()
            _lay(node, path / name, trees, contents)
        elif node.target:
            (path / name).symlink_to(node.target)
        elif not name.endswith(SHARED_MEMORY):
            (path / name).write_bytes(contents.get(id(node), b""))


def cases(steps: list[Step]) -> Iterator[tuple[int, str]]:
    """Moments and modes; at each moment the harshest, and one of the others in turn."""
    for number, moment in enumerate(moments(steps)):
        yield moment, "synced"
        yield moment, MODES[1 + number % (len(MODES) - 1)]
