"""One file per robot: reset distribution, observation, native reward, termination and named state variables."""

from __future__ import annotations

from eureka_sandbox.worker.envs.robots.ant import ANT
from eureka_sandbox.worker.envs.robots.half_cheetah import HALF_CHEETAH
from eureka_sandbox.worker.envs.robots.hopper import HOPPER
from eureka_sandbox.worker.envs.robots.inverted_pendulum import INVERTED_PENDULUM
from eureka_sandbox.worker.envs.robots.reacher import REACHER
from eureka_sandbox.worker.envs.robots.robot import Robot
from eureka_sandbox.worker.envs.robots.swimmer import SWIMMER
from eureka_sandbox.worker.envs.robots.walker2d import WALKER2D

ROBOTS: dict[str, Robot] = {
    "half_cheetah": HALF_CHEETAH,
    "hopper": HOPPER,
    "walker2d": WALKER2D,
    "swimmer": SWIMMER,
    "reacher": REACHER,
    "inverted_pendulum": INVERTED_PENDULUM,
    "ant": ANT,
}
"""By the names of `eureka_sandbox.bodies.BODIES`."""
