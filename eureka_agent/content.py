"""Where the content folders (prompts, tasks, sandbox/image) are: inside the wheel, or at the root of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def content(name: str) -> Path:
    """Path of a content folder: `prompts`, `tasks` or `sandbox/image`."""
    packed = _PACKAGE / "_content"
    return (packed if packed.is_dir() else _PACKAGE.parent) / name
