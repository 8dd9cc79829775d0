"""States of random generators as arrays of unsigned integers, exactly, and back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_LOW = 2**64 - 1


def pcg_states(generators: Sequence[np.random.Generator]) -> Words:
    """NumPy's default generators → `(N, 6)`: state and increment (high, low), and the half of a draw left over."""
    rows = []
    for generator in generators:
        known = generator.bit_generator.state
        state, increment = known["state"]["state"], known["state"]["inc"]
        halves = (state >> 64, state & _LOW, increment >> 64, increment & _LOW)
        rows.append((*halves, known["has_uint32"], known["uinteger"]))
    return np.array(rows, dtype=np.uint64)


def pcg_generators(states: Words) -> list[np.random.Generator]:
    """Generators that go on where those of `pcg_states` were."""
    generators = []
    for row in states.tolist():
        bits = np.random.PCG64(0)
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": row[0] << 64 | row[1], "inc": row[2] << 64 | row[3]},
            "has_uint32": row[4],
            "uinteger": row[5],
        }
        generators.append(np.random.Generator(bits))
    return generators


def global_states() -> dict[str, NDArray[np.uint64] | NDArray[np.uint8]]:
    """NumPy's, Python's and torch's global generators."""
    known: Any = np.random.get_state()
    _, key, position, has_gauss, gauss = known
    version, words, left_over = random.getstate()
    return {
        "numpy": np.array([*key.tolist(), position, has_gauss, _bits(gauss)], dtype=np.uint64),
        "python": np.array([version, *words, left_over is not None, _bits(left_over or 0.0)], dtype=np.uint64),
        "torch": torch.get_rng_state().numpy().copy(),
    }


def restore_global_states(numpy_words: Words, python_words: Words, torch_bytes: NDArray[np.uint8]) -> None:
    """Put the states of `global_states` back.

    Raises:
        ValueError, TypeError or RuntimeError: they are no states.
    """
    *key, position, has_gauss, gauss = numpy_words.tolist()
    version, *words, has_left_over, left_over = python_words.tolist()
    if not (position <= 624 and words[-1] <= 624):
        raise ValueError("a generator's position is beyond its words")
    np.random.set_state(("MT19937", np.array(key, dtype=np.uint32), position, has_gauss, _float(gauss)))
    random.setstate((version, tuple(words), _float(left_over) if has_left_over else None))
    torch.set_rng_state(torch.from_numpy(torch_bytes.copy()))


def _bits(number: float) -> int:
    return int(np.float64(number).view(np.uint64))


def _float(bits: int) -> float:
    return float(np.uint64(bits).view(np.float64))
