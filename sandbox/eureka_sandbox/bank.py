"""The bank of transitions, `bank.safetensors`: what a smoke box calls a reward on. Written and read here only.

One float32 array `(T, *shape)` per state variable; row by row what a reward gets in training: the state after a step,
with the actions of that step. No torch, no simulator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

BANK_FILE = "bank.safetensors"
VALUES_FILE, VALUES = "values.safetensors", "values"
"""What a reward gives on a bank: the file, and the one array in it."""
MAX_TRANSITIONS = 4096
_LASTING = "lasting"

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Bank:
    """Transitions of one environment."""

    arrays: Mapping[str, Values]
    """float32 `(T, *shape)` by state variable."""
    lasting: int
    """How many transitions at the beginning every bank of the run has: numbers on those stay comparable."""

    @property
    def transitions(self) -> int:
        """T."""
        return len(next(iter(self.arrays.values())))


def write_bank(bank: Bank) -> bytes:
    """The file; equal banks give equal bytes."""
    data: bytes = save(
        {name: np.ascontiguousarray(bank.arrays[name], np.float32) for name in sorted(bank.arrays)},
        metadata={_LASTING: str(bank.lasting)},
    )
    return data


def read_bank(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Bank:
    """Read the file.

    Args:
        data: its bytes.
        shapes: shape per transition of the state variables that it must have.

    Raises:
        ValueError: it lacks one, or has no transition.
    """
    arrays = load(data)
    transitions = len(arrays[next(iter(shapes))]) if arrays.keys() >= shapes.keys() else 0
    if not transitions or any(arrays[name].shape != (transitions, *shape) for name, shape in shapes.items()):
        raise ValueError(f"{BANK_FILE} does not hold the state variables of this environment, one row per transition")
    return Bank(arrays, int(_header(data).get("__metadata__", {}).get(_LASTING, transitions)))


def bank_transitions(data: bytes) -> int:
    """T, from the header alone."""
    header = _header(data)
    return int(next(entry["shape"][0] for name, entry in header.items() if name != "__metadata__"))


def _header(data: bytes) -> dict[str, Any]:
    """See https://github.com/huggingface/safetensors#format."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    return header
