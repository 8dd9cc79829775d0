"""Loading a user's Python file, and telling in one line what went wrong in it and where. No numpy, no torch."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

MAX_SOURCE_BYTES = 256 * 1024
MAX_MESSAGE = 500
_IMPORTS = {"torch": "import torch", "math": "import math", "np": "import numpy as np", "numpy": "import numpy"}


class UserCodeError(Exception):
    """A user's file cannot be used. `line` counts from 1; None where no single line is to blame."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def load_module(path: Path, name: str) -> types.ModuleType:
    """Execute the file at `path` as module `name`.

    Raises:
        UserCodeError: not UTF-8, not readable as Python, or raising while it is executed (`sys.exit` included).
    """
    source = path.read_bytes()
    if len(source) > MAX_SOURCE_BYTES:
        raise UserCodeError(f"source of {len(source)} bytes; at most {MAX_SOURCE_BYTES} are read")
    try:
        # Python would obey `# coding: unicode_escape` in bytes, and make other code of them than people read.
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise UserCodeError(f"byte {error.start} is not UTF-8; save the file as UTF-8", line) from error
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and torch.jit look their module up by name
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        raise explain(error, path) from error
    return module


def explain(error: BaseException, path: Path) -> UserCodeError:
    """One line about an exception that a user's code raised, with the innermost line of the file at `path`."""
    if isinstance(error, UserCodeError):
        return error
    if isinstance(error, SyntaxError) and error.filename in (None, str(path)):
        return UserCodeError(one_line(f"SyntaxError: {error.msg}"), error.lineno)
    text = _text(error)
    line = _line_in_traceback(error, path) or _line_in_message(text, path)
    if "TorchScript interpreter" in text:  # its text is a whole traceback; the reason comes last
        text = next((part for part in reversed(text.splitlines()) if part.strip()), text)
    message = f"{type(error).__name__}: {text}"
    if isinstance(error, NameError) and error.name in _IMPORTS:
        message += f"; add `{_IMPORTS[error.name]}`"
    if isinstance(error, SystemExit):
        message += "; a function here returns or raises, it does not end the process"
    return UserCodeError(one_line(message), line)


def one_line(text: str) -> str:
    """Printable text on one line, at most 500 characters: what a candidate wrote never leaves as it is."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_MESSAGE])
    short = re.sub(r" {2,}", " ", printable).strip()
    return short if len(short) <= MAX_MESSAGE else short[: MAX_MESSAGE - 1] + "…"


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch says so with a `RuntimeError`."""
    return isinstance(error, MemoryError) or "can't allocate memory" in _text(error)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # a hostile or broken __str__ must not hide the failure itself
        return "(its text cannot be printed)"


def _line_in_traceback(error: BaseException, path: Path) -> int | None:
    line = None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _line_in_message(text: str, path: Path) -> int | None:
    found = re.findall(rf'File "{re.escape(str(path))}", line (\d+)', text)
    return int(found[-1]) if found else None
