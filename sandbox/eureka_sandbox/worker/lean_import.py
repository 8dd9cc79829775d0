"""A quicker `import torch` for boxes: its meta kernels, a third of what the import takes, wait until somebody asks.

`torch._meta_registrations` tells shapes and types without computing, for tensors on the device "meta" and for torch's
compiler. Neither rewards nor learners use that, so a placeholder takes its place. It becomes the real module when the
compiler is imported, or when anything of the module is asked for by name. Until then some operations on tensors of the
device "meta" are not implemented; `import torch._dynamo` before them makes them so.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

META = "torch._meta_registrations"
COMPILER = "torch._dynamo"


class _Placeholder(ModuleType):
    """Turns into the module of its name when asked for anything that only that one has."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks of every module
            raise AttributeError(name)
        return getattr(_real(), name)


class _BeforeTheCompiler(MetaPathFinder):
    """Finds nothing itself: the compiler, once looked for, needs the real module to be there before it."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == COMPILER:
            _real()


def put_off_meta_kernels() -> None:
    """Call before the first `import torch`; afterwards it does nothing."""
    if "torch" not in sys.modules:
        sys.modules[META] = _Placeholder(META)
        sys.meta_path.insert(0, _BeforeTheCompiler())


def _real() -> ModuleType:
    if isinstance(sys.modules.get(META), _Placeholder):
        del sys.modules[META]
    return importlib.import_module(META)
