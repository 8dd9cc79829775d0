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
        geoms = np.array([model.geom(name).id for name in feet], dtype=np.int64)
        self._count = len(geoms)
        self._columns = np.concatenate((3 * geoms + 2, 3 * model.ngeom + 9 * geoms + CAPSULE_AXIS))
        self._half_length = model.geom_size[geoms, 1]
        # MuJoCo counts a contact from the larger of both margins on.
        margin = np.maximum(model.geom_margin[geoms], model.geom(FLOOR).margin[0] if feet else 0.0)
        self._reach = model.geom_size[geoms, 0] + margin
        self._views = [view for d in data for view in (d.geom_xpos.reshape(-1), d.geom_xmat.reshape(-1))]

    def contacts(self) -> NDArray[np.bool_]:
        """True where a foot touches the floor, `(N, feet)`."""
        for data in self._data:
            mujoco.mj_kinematics(self._model, data)
        poses = np.concatenate(self._views).reshape(len(self._data), -1).take(self._columns, axis=1)
        middle, tilt = poses[:, : self._count], poses[:, self._count :]
        touching: NDArray[np.bool_] = middle - np.abs(tilt) * self._half_length <= self._reach
        return touching
