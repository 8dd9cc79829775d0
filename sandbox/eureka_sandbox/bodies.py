"""The bodies that the fast MuJoCo engine simulates, as plain data: host and box read the same catalogue.

A body is a robot with its Gymnasium v5 counterpart (observation, reset distribution, termination, native reward) and
its vocabulary: the named state variables that reward functions, metrics and the search speak. No mujoco import here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from eureka_sandbox.protocol import EnvironmentSpec, VariableSpec

Kind = Literal[
    "position",
    "height",
    "distance",
    "angle",
    "orientation",
    "velocity",
    "angular_velocity",
    "action",
    "contact",
    "flag",
    "time",
]


@dataclass(frozen=True)
class StateVariable:
    """A named quantity of the simulator state, float32 `(N, *shape)`."""

    name: str
    shape: tuple[int, ...]
    unit: str
    frame: str
    meaning: str
    kind: Kind
    """What sort of quantity it is; the offline search's grammar is typed by it."""

    @property
    def spec(self) -> VariableSpec:
        """The boundary form."""
        return VariableSpec(name=self.name, shape=self.shape, unit=self.unit, frame=self.frame, meaning=self.meaning)


@dataclass(frozen=True)
class Limbs:
    """Two limbs that are images of each other, left and right or back and front."""

    names: tuple[str, str]
    joints: tuple[tuple[int, int], ...]
    """Elements of `joint_angles`, those of the first limb first, that stand for each other."""
    feet: tuple[int, int]
    """Elements of `foot_contacts`."""
    opposed: tuple[int, ...] = ()
    """Places in `joints` whose two angles have opposite signs in poses that are images of each other."""


@dataclass(frozen=True)
class Body:
    """One robot of the fast engine."""

    name: str
    gymnasium_id: str
    """The environment it matches number for number."""
    summary: str
    """One sentence: what the robot is and what its joints are."""
    dt: float
    """Seconds per control step."""
    action_size: int
    observation_size: int
    variables: tuple[StateVariable, ...]
    healthy: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By state variable, the range that a terminal state lies outside of, in any element (Gymnasium's `healthy_*`)."""
    limbs: tuple[Limbs, ...] = ()

    def variable(self, name: str) -> StateVariable:
        """Look one up by name; KeyError if the body has none of that name."""
        return {v.name: v for v in self.variables}[name]


def _variable(name: str, kind: Kind, unit: str, frame: str, meaning: str, shape: tuple[int, ...] = ()) -> StateVariable:
    return StateVariable(name=name, shape=shape, unit=unit, frame=frame, meaning=meaning, kind=kind)


def _actions_and_time(actions: str, size: int, termination: str) -> tuple[StateVariable, ...]:
    """What every body has: actions, the clock and the flag of a terminal state."""
    return (
        _variable("actions", "action", "1", "actuator", f"{actions}, of this step, clipped to the bounds.", (size,)),
        _variable(
            "previous_actions", "action", "1", "actuator", "Actions of the step before; 0 on the first step.", (size,)
        ),
        _variable("elapsed_time", "time", "s", "-", "Simulated time since the reset."),
        _variable("elapsed_fraction", "time", "1", "-", "Part of the longest episode that has passed, 0 to 1."),
        _variable(
            "terminated", "flag", "1", "-", f"1 where this step ended in a terminal state ({termination}), else 0."
        ),
    )


def _joints(order: str, size: int) -> tuple[StateVariable, ...]:
    return (
        _variable("joint_angles", "angle", "rad", "joint", f"Joint angles: {order}.", (size,)),
        _variable(
            "joint_velocities", "angular_velocity", "rad/s", "joint", "Joint speeds, ordered as joint_angles.", (size,)
        ),
    )


def _planar_torso(height: str, pitch: str) -> tuple[StateVariable, ...]:
    """Root motion of a body confined to the x-z plane."""
    return (
        _variable("torso_x", "position", "m", "world", "Position of the torso along the track; forward is positive."),
        _variable("torso_z", "height", "m", "world", height),
        _variable("torso_pitch", "angle", "rad", "world", f"{pitch}; not wrapped, so whole turns add up."),
        _variable("torso_x_velocity", "velocity", "m/s", "world", "Forward speed of the torso; backward is negative."),
        _variable("torso_z_velocity", "velocity", "m/s", "world", "Upward speed of the torso; falling is negative."),
        _variable("torso_pitch_velocity", "angular_velocity", "rad/s", "world", "Pitch rate, signed like torso_pitch."),
        _variable(
            "cumulative_rotation", "angle", "rad", "world", "Pitch turned since the reset, signed like torso_pitch."
        ),
    )


def _feet(order: str, size: int) -> StateVariable:
    meaning = f"1 where a foot touches the floor, else 0: {order}."
    return _variable("foot_contacts", "contact", "1", "-", meaning, (size,))


_NOSE_DOWN = (
    "Pitch of the torso: 0 level, positive nose down, negative nose up "
    "(a backflip turns negative, a front flip positive)"
)
_LEANING = "Pitch of the torso: 0 upright, positive leaning forward, negative leaning backward"

HALF_CHEETAH = Body(
    name="half_cheetah",
    gymnasium_id="HalfCheetah-v5",
    summary="Two-legged planar runner with a long level torso: three driven joints per leg (thigh, shin, foot).",
    dt=0.05,
    action_size=6,
    observation_size=17,
    variables=(
        *_planar_torso(
            "Height of the torso's middle relative to standing (0.7 m above the floor): 0 standing, negative lower.",
            _NOSE_DOWN,
        ),
        *_joints("back thigh, shin, foot, front thigh, shin, foot; 0 standing, bounded by the joint stops", 6),
        _feet("back, front", 2),
        *_actions_and_time("Torques on the joints, ordered as joint_angles, each -1 to 1", 6, "it has none"),
    ),
    limbs=(Limbs(("the back leg", "the front leg"), joints=((0, 3), (1, 4), (2, 5)), feet=(0, 1)),),
)

HOPPER = Body(
    name="hopper",
    gymnasium_id="Hopper-v5",
    summary="One-legged planar hopper: three driven joints (thigh, leg, foot).",
    dt=0.008,
    action_size=3,
    observation_size=11,
    variables=(
        *_planar_torso("Height of the torso's middle above the floor; 1.25 standing.", _LEANING),
        *_joints("thigh (hip), leg (knee), foot (ankle); 0 with the leg straight, negative bends hip and knee", 3),
        _feet("the foot", 1),
        *_actions_and_time(
            "Torques on the joints, ordered as joint_angles, each -1 to 1",
            3,
            "torso below 0.7 m, or leaning more than 0.2 rad, or any speed or joint angle beyond 100",
        ),
    ),
    healthy={"torso_z": (0.7, inf), "torso_pitch": (-0.2, 0.2)}
    | dict.fromkeys(
        (
            "joint_angles",
            "torso_x_velocity",
            "torso_z_velocity",
            "torso_pitch_velocity",
            "joint_velocities",
        ),
        (-100.0, 100.0),
    ),
)

WALKER2D = Body(
    name="walker2d",
    gymnasium_id="Walker2d-v5",
    summary="Two-legged planar walker: three driven joints per leg (thigh, leg, foot).",
    dt=0.008,
    action_size=6,
    observation_size=17,
    variables=(
        *_planar_torso("Height of the torso's middle above the floor; 1.25 standing.", _LEANING),
        *_joints(
            "right thigh (hip), leg (knee), foot (ankle), left thigh, leg, foot; 0 standing straight, "
            "negative bends hip and knee",
            6,
        ),
        _feet("right, left", 2),
        *_actions_and_time(
            "Torques on the joints, ordered as joint_angles, each -1 to 1",
            6,
            "torso below 0.8 m or above 2 m, or leaning more than 1 rad",
        ),
    ),
    healthy={"torso_z": (0.8, 2.0), "torso_pitch": (-1.0, 1.0)},
    limbs=(Limbs(("the right leg", "the left leg"), joints=((0, 3), (1, 4), (2, 5)), feet=(0, 1)),),
)

SWIMMER = Body(
    name="swimmer",
    gymnasium_id="Swimmer-v5",
    summary="Three links in a viscous plane, seen from above: two driven joints between them.",
    dt=0.04,
    action_size=2,
    observation_size=8,
    variables=(
        _variable(
            "torso_x", "position", "m", "world", "x of the point that the first link turns about; forward is +x."
        ),
        _variable("torso_y", "position", "m", "world", "y of that point; left of +x is positive."),
        _variable(
            "heading",
            "angle",
            "rad",
            "world",
            "Direction of the first link: 0 along +x, positive to the left; not wrapped.",
        ),
        _variable("torso_x_velocity", "velocity", "m/s", "world", "Speed of the torso along +x (forward)."),
        _variable("torso_y_velocity", "velocity", "m/s", "world", "Speed of the torso along +y (left)."),
        _variable("heading_velocity", "angular_velocity", "rad/s", "world", "Turning rate, positive to the left."),
        _variable(
            "cumulative_rotation", "angle", "rad", "world", "Heading turned since the reset, positive to the left."
        ),
        *_joints("first-middle link, middle-last link; 0 straight, stops at 1.75 either way", 2),
        *_actions_and_time("Torques on the joints, ordered as joint_angles, each -1 to 1", 2, "it has none"),
    ),
)

REACHER = Body(
    name="reacher",
    gymnasium_id="Reacher-v5",
    summary="Arm of two links, 0.1 and 0.11 m, in a horizontal plane, with a target placed at random within reach.",
    dt=0.02,
    action_size=2,
    observation_size=10,
    variables=(
        _variable(
            "fingertip_position", "position", "m", "world", "x, y of the fingertip; the shoulder is at 0, 0.", (2,)
        ),
        _variable("target_position", "position", "m", "world", "x, y of the target; fixed within an episode.", (2,)),
        _variable("fingertip_to_target", "distance", "m", "world", "Target minus fingertip, x and y.", (2,)),
        _variable("target_distance", "distance", "m", "world", "Distance from fingertip to target; 0 is on target."),
        _variable("fingertip_velocity", "velocity", "m/s", "world", "Velocity of the fingertip, x and y.", (2,)),
        *_joints("shoulder (not wrapped), elbow (0 straight, stops at 3); positive turns left", 2),
        *_actions_and_time("Torques on shoulder and elbow, each -1 to 1", 2, "it has none"),
    ),
)

INVERTED_PENDULUM = Body(
    name="inverted_pendulum",
    gymnasium_id="InvertedPendulum-v5",
    summary="Pole hinged on a cart that slides on a 2 m rail: one driven joint, the cart's.",
    dt=0.04,
    action_size=1,
    observation_size=4,
    variables=(
        _variable("cart_position", "position", "m", "world", "Cart on the rail: 0 centre, stops at 1 either way."),
        _variable("cart_velocity", "velocity", "m/s", "world", "Speed of the cart, signed like cart_position."),
        _variable(
            "pole_angle",
            "angle",
            "rad",
            "world",
            "Tilt of the pole: 0 upright, positive towards positive cart_position.",
        ),
        _variable("pole_velocity", "angular_velocity", "rad/s", "world", "Tilting rate, signed like pole_angle."),
        *_actions_and_time("Force on the cart, -3 to 3", 1, "pole tilted more than 0.2 rad"),
    ),
    healthy={"pole_angle": (-0.2, 0.2)},
)

ANT = Body(
    name="ant",
    gymnasium_id="Ant-v5",
    summary="Four-legged walker with a free round torso: a hip and an ankle per leg, eight driven joints.",
    dt=0.05,
    action_size=8,
    observation_size=105,
    variables=(
        _variable("torso_x", "position", "m", "world", "x of the torso; forward is +x."),
        _variable("torso_y", "position", "m", "world", "y of the torso; left is +y."),
        _variable(
            "torso_z", "height", "m", "world", "Height of the torso's middle above the floor; 0.75 at the reset."
        ),
        _variable(
            "torso_quaternion",
            "orientation",
            "1",
            "world",
            "Orientation of the torso as a unit quaternion w, x, y, z.",
            (4,),
        ),
        _variable(
            "torso_up", "orientation", "1", "world", "Cosine of the tilt: 1 upright, 0 on a side, -1 on its back."
        ),
        _variable(
            "heading",
            "angle",
            "rad",
            "world",
            "Direction the torso faces: 0 along +x, positive to the left, -pi to pi.",
        ),
        _variable("torso_x_velocity", "velocity", "m/s", "world", "Speed of the torso along +x (forward)."),
        _variable("torso_y_velocity", "velocity", "m/s", "world", "Speed of the torso along +y (left)."),
        _variable("torso_z_velocity", "velocity", "m/s", "world", "Upward speed of the torso; falling is negative."),
        _variable("torso_velocity", "velocity", "m/s", "world", "Velocity of the torso, x, y, z.", (3,)),
        _variable(
            "torso_angular_velocity",
            "angular_velocity",
            "rad/s",
            "torso",
            "Angular velocity about the torso's own x, y, z.",
            (3,),
        ),
        _variable(
            "cumulative_rotation",
            "angle",
            "rad",
            "torso",
            "Rotation since the reset, summed step by step about the torso's own x (roll), y (pitch), z (yaw).",
            (3,),
        ),
        *_joints(
            "hip, ankle of the front-left, back-left, back-right, front-right leg (forward is +x); hips 0 neutral", 8
        ),
        _feet("front-left, back-left, back-right, front-right", 4),
        *_actions_and_time(
            "Torques on hip, ankle of the front-right, front-left, back-left, back-right leg, each -1 to 1",
            8,
            "torso below 0.2 m or above 1 m",
        ),
    ),
    healthy={"torso_z": (0.2, 1.0)},
    limbs=(  # hips turn about an upright axis, which a mirror reverses
        Limbs(("the front-left leg", "the front-right leg"), joints=((0, 6), (1, 7)), feet=(0, 3), opposed=(0,)),
        Limbs(("the back-left leg", "the back-right leg"), joints=((2, 4), (3, 5)), feet=(1, 2), opposed=(0,)),
    ),
)

BODIES: dict[str, Body] = {
    body.name: body for body in (HALF_CHEETAH, HOPPER, WALKER2D, SWIMMER, REACHER, INVERTED_PENDULUM, ANT)
}


TRAINING_PROGRESS = _variable(
    "training_progress",
    "time",
    "1",
    "-",
    "Part of the training's environment steps taken so far, from 0 to 1; for a "
    "curriculum, or shaping that fades out. It is no state of the robot: scores and recordings do not have it.",
)
"""What a reward may name beside the state of the simulation."""


def variable_shapes(environment: EnvironmentSpec) -> dict[str, tuple[int, ...]]:
    """Shape per environment of every state variable of the simulation, the body's first: what recordings hold."""
    shapes = {v.name: v.shape for v in BODIES[environment.body].variables}
    return shapes | {v.name: v.shape for v in environment.derived}


def reward_shapes(environment: EnvironmentSpec) -> dict[str, tuple[int, ...]]:
    """Shape per environment of every state variable a reward may name."""
    return variable_shapes(environment) | {TRAINING_PROGRESS.name: TRAINING_PROGRESS.shape}
