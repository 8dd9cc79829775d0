"""The transitions on which a reward is tried before a training is spent on it: random play, and the best policy's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from eureka_agent.population import Candidate, Record
from eureka_sandbox.protocol import EnvironmentSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eureka_agent.lab.floor import Floor
    from eureka_agent.runs.run import Run

    Arrays = dict[str, NDArray[np.float32]]

RANDOM_TRANSITIONS = 2048
"""At most so many of random play come first, the same in all banks of a run; the rest is the incumbent's."""


class BankRecord(Record):
    """Which bank the rewards of a generation are tried on."""

    blob: str
    transitions: int


def bank_of(run: Run, best: Candidate | None, floor: Callable[[], Floor]) -> bytes:
    """The bank of the generation under way, decided once for it: random play, and the best policy before it."""

    def collect() -> BankRecord:
        episodes = best.score.episodes if best and best.score else None
        random, incumbent = run.blob(floor().recording), run.blob(episodes) if episodes else None
        data, transitions = bank_bytes(random, incumbent, run.task.environment)
        return BankRecord(blob=run.put_blob(data), transitions=transitions)

    return run.blob(run.decide(f"bank/{run.generations}", BankRecord, collect).blob)


def bank_bytes(random: bytes, incumbent: bytes | None, environment: EnvironmentSpec) -> tuple[bytes, int]:
    """Build the bank from recordings (`episodes.npz`); deterministic.

    Args:
        random: episodes of random actions.
        incumbent: episodes of the best policy so far.
        environment: whose state variables the recordings must hold.

    Returns:
        The file, and how many transitions are in it.

    Raises:
        RecordingError: the recordings do not hold them.
    """
    import numpy as np

    from eureka_sandbox.bank import MAX_TRANSITIONS, Bank, write_bank

    arrays = thinned(transitions(random, environment), RANDOM_TRANSITIONS)
    lasting = _count(arrays)
    if incumbent is not None:
        more = thinned(transitions(incumbent, environment), MAX_TRANSITIONS - lasting)
        arrays = {name: np.concatenate([rows, more[name]]) for name, rows in arrays.items()}
    return write_bank(Bank(arrays, lasting)), _count(arrays)


def transitions(recording: bytes, environment: EnvironmentSpec) -> Arrays:
    """Every transition of every recorded episode, as a reward gets it: the state after a step, with its actions."""
    import numpy as np

    from eureka_evaluation.recording import load_episodes
    from eureka_sandbox.bodies import variable_shapes

    shapes = variable_shapes(environment)
    episodes = load_episodes(recording, shapes).values()
    return {name: np.concatenate([episode.state[name][1:] for episode in episodes]) for name in shapes}


def thinned(arrays: Arrays, most: int) -> Arrays:
    """At most so many rows, spread evenly."""
    import numpy as np

    count = _count(arrays)
    if count <= most:
        return arrays
    chosen = np.linspace(0, count - 1, most).round().astype(int)
    return {name: rows[chosen] for name, rows in arrays.items()}


def scalar_columns(arrays: Arrays) -> Iterable[tuple[str, NDArray[np.float64]]]:
    """Every scalar of every variable with its values: `torso_x`, `joint_angles[2]`."""
    for name, rows in arrays.items():
        columns = rows.reshape(len(rows), -1).astype(float)
        for i, column in enumerate(columns.T):
            yield (f"{name}[{i}]" if rows.ndim > 1 else name), column


def _count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))
