"""Which feet touch the floor, at the very state of qpos.

MuJoCo's own contact list is one simulator step old after `mj_step`; a capsule over the plane z = 0 is quickly checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

FLOOR = "floor"
CAPSULE_AXIS = 8
"""Position, in a 3×3 matrix read row by row, of the vertical part of a capsule's axis."""


class FootSensor:
    """Contacts of capsule feet with the floor."""

    def __init__(self, model: Any, data: Sequence[Any], feet: Sequence[str]) -> None:
        self._model = model
        self._data = data
        geoms = [model.geom(name).id for name in feet]
        shape = (len(data), len(geoms))  # numpy takes twice as long where it must broadcast
        self._half_length = np.broadcast_to(model.geom_size[geoms, 1], shape).copy()
        # MuJoCo counts a contact from the larger of both margins on.
        margin = np.maximum(model.geom_margin[geoms], model.geom(FLOOR).margin[0] if feet else 0.0)
        self._reach = np.broadcast_to(model.geom_size[geoms, 0] + margin, shape).copy()
        rows = evenly(geoms)
        self._views = [d.geom_xpos[rows, 2] for d in data] + [d.geom_xmat[rows, CAPSULE_AXIS] for d in data]
        poses = np.empty((2, *shape))
        self._middle, self._tilt = poses
        self._poses = poses.reshape(-1)

    def contacts(self) -> NDArray[np.bool_]:
        """True where a foot touches the floor, `(N, feet)`."""
        for data in self._data:
            mujoco.mj_kinematics(self._model, data)
        np.concatenate(self._views, out=self._poses)
        lowest, below_middle = self._middle, self._tilt
        np.abs(below_middle, out=below_middle)
        below_middle *= self._half_length
        lowest -= below_middle
        touching: NDArray[np.bool_] = lowest <= self._reach
        return touching


def evenly(indices: Sequence[int]) -> slice:
    """The slice that selects these, as feet lie in the models: what it selects can be viewed without a copy.

    Raises:
        ValueError: no slice does.
    """
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    rows = slice(indices[0], indices[-1] + 1, step) if indices else slice(0)
    if list(range(rows.start or 0, rows.stop, step)) != list(indices):
        raise ValueError(f"geoms {list(indices)} are not evenly spaced")
    return rows
