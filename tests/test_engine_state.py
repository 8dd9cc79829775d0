"""Each state variable equals what MuJoCo itself says of the same qpos and qvel, computed another way."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eureka_sandbox.bodies import BODIES, Body
from eureka_sandbox.protocol import VARIABLE_NAME
from eureka_sandbox.worker.envs.feet import evenly
from eureka_sandbox.worker.envs.simulation import Simulation, rotation_vector

every_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
JOINTS = {
    "half_cheetah": ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"],
    "hopper": ["thigh_joint", "leg_joint", "foot_joint"],
    "walker2d": [f"{part}{side}_joint" for side in ("", "_left") for part in ("thigh", "leg", "foot")],
    "swimmer": ["motor1_rot", "motor2_rot"],
    "reacher": ["joint0", "joint1"],
    "ant": [f"{part}_{leg}" for leg in (1, 2, 3, 4) for part in ("hip", "ankle")],
}
FEET = {
    "half_cheetah": ["bfoot", "ffoot"],
    "hopper": ["foot_geom"],
    "walker2d": ["foot_geom", "foot_left_geom"],
    "ant": ["left_ankle_geom", "right_ankle_geom", "third_ankle_geom", "fourth_ankle_geom"],
}


class Oracle:
    """MuJoCo's own derived quantities after a full forward pass at a given qpos and qvel."""

    def __init__(self, model: Any, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mj_forward(model, self.data)

    def position(self, body: str) -> np.ndarray:
        return self.data.body(body).xpos

    def axes(self, body: str) -> np.ndarray:
        return self.data.body(body).xmat.reshape(3, 3)

    def velocity(self, body: str, local: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Angular, then linear."""
        result = np.zeros(6)
        kind = mujoco.mjtObj.mjOBJ_XBODY
        mujoco.mj_objectVelocity(self.model, self.data, kind, self.model.body(body).id, result, local)
        return result[:3], result[3:]

    def joints(self, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        angles = [self.data.joint(name).qpos[0] for name in names]
        return np.array(angles), np.array([self.data.joint(name).qvel[0] for name in names])

    def touching(self, geoms: list[str]) -> np.ndarray:
        floor = self.model.geom("floor").id
        pairs = [set(contact.geom.tolist()) for contact in self.data.contact]
        return np.array([{floor, self.model.geom(name).id} in pairs for name in geoms])


def expected_planar(oracle: Oracle, body: Body) -> dict[str, Any]:
    spin, speed = oracle.velocity("torso")
    axes = oracle.axes("torso")
    return {
        "torso_x": oracle.position("torso")[0],
        "torso_z": oracle.position("torso")[2] - (0.7 if body.name == "half_cheetah" else 0.0),
        "torso_pitch": np.arctan2(-axes[2, 0], axes[0, 0]),
        "torso_x_velocity": speed[0],
        "torso_z_velocity": speed[2],
        "torso_pitch_velocity": spin[1],
    }


def expected_swimmer(oracle: Oracle, body: Body) -> dict[str, Any]:
    spin, speed = oracle.velocity("torso")
    axes = oracle.axes("torso")
    return {
        "torso_x": oracle.position("torso")[0],
        "torso_y": oracle.position("torso")[1],
        "heading": np.arctan2(axes[1, 0], axes[0, 0]),
        "torso_x_velocity": speed[0],
        "torso_y_velocity": speed[1],
        "heading_velocity": spin[2],
    }


def expected_reacher(oracle: Oracle, body: Body) -> dict[str, Any]:
    fingertip, target = oracle.position("fingertip")[:2], oracle.position("target")[:2]
    return {
        "fingertip_position": fingertip,
        "target_position": target,
        "fingertip_to_target": target - fingertip,
        "target_distance": np.linalg.norm(target - fingertip),
        "fingertip_velocity": oracle.velocity("fingertip")[1][:2],
    }


def expected_pendulum(oracle: Oracle, body: Body) -> dict[str, Any]:
    pole = oracle.axes("pole")[:, 2]
    return {
        "cart_position": oracle.position("cart")[0],
        "cart_velocity": oracle.velocity("cart")[1][0],
        "pole_angle": np.arctan2(pole[0], pole[2]),
        "pole_velocity": oracle.velocity("pole")[0][1],
    }


def expected_ant(oracle: Oracle, body: Body) -> dict[str, Any]:
    position, axes, (_, speed) = oracle.position("torso"), oracle.axes("torso"), oracle.velocity("torso")
    return {
        **dict(zip(("torso_x", "torso_y", "torso_z"), position, strict=True)),
        "torso_quaternion": oracle.data.body("torso").xquat,
        "torso_up": axes[2, 2],
        "heading": np.arctan2(axes[1, 0], axes[0, 0]),
        **dict(zip(("torso_x_velocity", "torso_y_velocity", "torso_z_velocity"), speed, strict=True)),
        "torso_velocity": speed,
        "torso_angular_velocity": oracle.velocity("torso", local=True)[0],
    }


EXPECTED = {
    "half_cheetah": expected_planar,
    "hopper": expected_planar,
    "walker2d": expected_planar,
    "swimmer": expected_swimmer,
    "reacher": expected_reacher,
    "inverted_pendulum": expected_pendulum,
    "ant": expected_ant,
}
CHECKED_ELSEWHERE = {
    "cumulative_rotation",
    "actions",
    "previous_actions",
    "elapsed_time",
    "elapsed_fraction",
    "terminated",
}


def started(body: Body, num_envs: int = 4, max_episode_steps: int = 100) -> Simulation:
    sim = Simulation(body.name, num_envs, max_episode_steps)
    sim.reset(range(num_envs), [np.random.default_rng(seed) for seed in range(num_envs)])
    return sim


def random_actions(sim: Simulation, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(sim.action_low, sim.action_high, sim.actions.shape)


@every_body
def test_state_variables_are_mujocos_own_at_the_same_instant(body: Body) -> None:
    sim = started(body)
    for step in range(120):
        if step:
            sim.step(random_actions(sim, seed=step))
        if step % 8 and step > 1:
            continue
        state = sim.state(sim.variables)
        for i, (qpos, qvel) in enumerate(zip(sim.qpos(), sim.qvel(), strict=True)):
            oracle = Oracle(sim.model, qpos, qvel)
            expected = EXPECTED[body.name](oracle, body)
            if body.name in JOINTS:
                expected["joint_angles"], expected["joint_velocities"] = oracle.joints(JOINTS[body.name])
            if body.name in FEET:
                expected["foot_contacts"] = oracle.touching(FEET[body.name])
            assert set(expected) | CHECKED_ELSEWHERE >= set(sim.variables)
            for name, value in expected.items():
                got = state[name][i]
                if name in ("torso_pitch", "heading"):  # not wrapped, so compare modulo whole turns
                    got = value + np.remainder(got - value + np.pi, 2 * np.pi) - np.pi
                np.testing.assert_allclose(got, value, rtol=1e-6, atol=2e-6, err_msg=f"{name} at step {step}")


def test_feet_are_viewed_by_a_slice_or_not_at_all() -> None:
    for geoms in ([], [4], [5, 8], [4, 7, 10, 13]):
        assert list(np.arange(20)[evenly(geoms)]) == geoms
    for geoms in ([4, 7, 11], [8, 5]):
        with pytest.raises(ValueError, match="evenly"):
            evenly(geoms)


@pytest.mark.parametrize("name", FEET)
def test_each_foot_is_seen_both_on_the_floor_and_off_it(name: str) -> None:
    sim = started(BODIES[name])
    seen = []
    for step in range(200):
        sim.step(random_actions(sim, seed=step))
        seen.append(sim.state(["foot_contacts"])["foot_contacts"])
    assert np.ptp(np.concatenate(seen), axis=0).tolist() == [1.0] * len(FEET[name])


@every_body
def test_velocities_are_the_rates_of_their_positions(body: Body) -> None:
    pairs = {
        "torso_x": "torso_x_velocity",
        "torso_y": "torso_y_velocity",
        "torso_z": "torso_z_velocity",
        "torso_pitch": "torso_pitch_velocity",
        "joint_angles": "joint_velocities",
        "fingertip_position": "fingertip_velocity",
        "cart_position": "cart_velocity",
        "pole_angle": "pole_velocity",
    }
    if body.name == "swimmer":
        pairs["heading"] = "heading_velocity"
    sim = started(body)
    names = [name for name in pairs if name in sim.variables]
    assert names
    for _ in range(5):
        sim.step(random_actions(sim))
    interval = 1e-3
    earlier, later = (at(body, _drifted(sim, sign * interval)).state(names) for sign in (-1, 1))
    now = sim.state(sim.variables)
    for name in names:
        rate = (later[name] - earlier[name]) / (2 * interval)
        np.testing.assert_allclose(rate, now[pairs[name]], rtol=0.01, atol=2e-3, err_msg=name)


def _drifted(sim: Simulation, seconds: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each environment's state moved on at its own velocity."""
    states = list(zip(sim.qpos(), sim.qvel(), strict=True))
    for qpos, qvel in states:
        mujoco.mj_integratePos(sim.model, qpos, qvel, seconds)
    return states


def at(body: Body, states: list[tuple[np.ndarray, np.ndarray]]) -> Simulation:
    """A simulation whose environments start in the given qpos and qvel."""
    sim, remaining = Simulation(body.name, len(states), 100), iter(states)
    sim._robot = dataclasses.replace(sim._robot, initial_state=lambda *_: next(remaining))
    sim.reset(range(len(states)), [np.random.default_rng()] * len(states))
    return sim


@pytest.mark.parametrize("name", ["half_cheetah", "hopper", "walker2d", "swimmer"])
def test_cumulative_rotation_of_a_planar_body_adds_up_the_turns_of_its_torso(name: str) -> None:
    sim = started(BODIES[name])
    afloat(sim)
    for data, spin in zip(sim.data, (12.0, -12.0, 9.0, -9.0), strict=True):
        data.qvel[2] = spin
    before = [_torso_angle(sim, i, name) for i in range(sim.num_envs)]
    total = np.zeros(sim.num_envs)
    for _ in range(int(1.5 / sim.dt)):
        sim.step(np.zeros_like(sim.actions))
        after = [_torso_angle(sim, i, name) for i in range(sim.num_envs)]
        total += [np.remainder(a - b + np.pi, 2 * np.pi) - np.pi for a, b in zip(after, before, strict=True)]
        before = after
    turned = sim.state(["cumulative_rotation"])["cumulative_rotation"]
    np.testing.assert_allclose(turned, total, atol=1e-5)
    assert (np.abs(turned) > 2 * np.pi).all()


def afloat(sim: Simulation) -> None:
    """Leave nothing outside the robot that could stop its rotation."""
    sim.model.opt.gravity[:] = 0.0
    sim.model.opt.viscosity = sim.model.opt.density = 0.0
    sim.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)


def _torso_angle(sim: Simulation, i: int, name: str) -> float:
    axes = Oracle(sim.model, sim.qpos()[i], sim.qvel()[i]).axes("torso")
    return float(np.arctan2(axes[1, 0], axes[0, 0]) if name == "swimmer" else np.arctan2(-axes[2, 0], axes[0, 0]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cumulative_rotation_of_the_ant_counts_whole_turns_about_its_own_axes(axis: int) -> None:
    sim = started(BODIES["ant"], num_envs=2)
    afloat(sim)
    for data in sim.data:
        data.qpos[:] = sim.model.qpos0
        data.qvel[:] = 0.0
        data.qvel[3 + axis] = 10.0
    angles, rate = np.zeros(2), []
    for _ in range(40):
        rate.append(sim.qvel()[:, 3 + axis] if rate else np.full(2, 10.0))
        sim.step(np.zeros_like(sim.actions))
        angles += 0.5 * sim.dt * (rate[-1] + sim.qvel()[:, 3 + axis])
    turned = sim.state(["cumulative_rotation"])["cumulative_rotation"]
    np.testing.assert_allclose(turned[:, axis], angles, rtol=0.02)
    assert (np.abs(turned[:, axis]) > 2 * np.pi).all()
    assert np.abs(np.delete(turned, axis, axis=1)).max() < 0.5


def test_rotation_vectors_are_scipys() -> None:
    rng = np.random.default_rng(0)
    start = Rotation.random(50, rng=rng)
    vectors = rng.normal(size=(50, 3)) * rng.choice([1e-9, 0.1, 1.0], size=(50, 1))
    vectors[0] = 0.0
    end = start * Rotation.from_rotvec(vectors)
    first, last = (rotation.as_quat(scalar_first=True) * 1.7 for rotation in (start, end))
    last[::2] *= -1.0  # the same orientations
    np.testing.assert_allclose(rotation_vector(first, last), (start.inv() * end).as_rotvec(), atol=1e-9)


@every_body
def test_actions_and_the_clock_are_kept(body: Body) -> None:
    sim = started(body, max_episode_steps=4)
    names = ("actions", "previous_actions", "elapsed_time", "elapsed_fraction")
    fresh = sim.state(names)
    assert not any(value.any() for value in fresh.values())
    first, second = random_actions(sim, 1), random_actions(sim, 2)
    sim.step(first)
    assert not sim.state(names)["previous_actions"].any()
    sim.step(second)
    state = sim.state(names)
    np.testing.assert_array_equal(state["actions"], second.astype(np.float32))
    np.testing.assert_array_equal(state["previous_actions"], first.astype(np.float32))
    np.testing.assert_allclose(state["elapsed_time"], 2 * body.dt, rtol=1e-6)
    np.testing.assert_allclose(state["elapsed_fraction"], 0.5)
    sim.reset([1], [np.random.default_rng(0)])
    state = sim.state(names)
    assert not any(value[1].any() for value in state.values())
    assert state["previous_actions"][0].any()


@pytest.mark.parametrize("name", ["half_cheetah", "hopper", "walker2d", "swimmer", "ant"])
def test_rotation_is_counted_anew_after_a_reset(name: str) -> None:
    sim = started(BODIES[name])
    for step in range(5):
        sim.step(random_actions(sim, step))
    sim.reset([2], [np.random.default_rng(9)])
    turned = sim.state(["cumulative_rotation"])["cumulative_rotation"]
    assert not turned[2].any()
    assert turned[[0, 1, 3]].all()


def test_terminated_is_one_exactly_where_the_episode_ended() -> None:
    sim = started(BODIES["hopper"], num_envs=3)
    sim.data[1].qpos[1] = 0.2
    sim.step(np.zeros((3, 3)))
    assert sim.terminated().tolist() == [False, True, False]
    assert sim.state(["terminated"])["terminated"].tolist() == [0.0, 1.0, 0.0]


@every_body
def test_state_is_typed_shaped_and_never_a_view(body: Body) -> None:
    sim = started(body)
    sim.step(random_actions(sim))
    state = sim.state(sim.variables)
    assert list(state) == [variable.name for variable in body.variables]
    for variable in body.variables:
        value = state[variable.name]
        assert (value.shape, value.dtype) == ((4, *variable.shape), np.float32), variable.name
        value[...] = np.nan
    assert np.isfinite(sim.observation()).all()
    assert all(np.isfinite(value).all() for value in sim.state(sim.variables).values())


def test_only_what_is_named_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = started(BODIES["hopper"])
    monkeypatch.setattr(sim._feet, "contacts", lambda: pytest.fail("contacts computed but not named"))
    assert set(sim.state(["torso_x"])) == {"torso_x"}


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="torso_w"):
        started(BODIES["hopper"]).state(["torso_w"])


def test_a_backflip_of_the_cheetah_turns_its_pitch_negative() -> None:
    sim = started(BODIES["half_cheetah"], num_envs=1)
    qpos = sim.qpos()[0]
    qpos[2] = -np.pi / 2
    nose = Oracle(sim.model, qpos, np.zeros(sim.model.nv)).data.geom("head").xpos[2]
    assert nose > Oracle(sim.model, sim.qpos()[0], np.zeros(sim.model.nv)).position("torso")[2]


def test_left_of_the_ant_is_y_and_its_legs_stand_where_the_catalogue_says() -> None:
    sim = started(BODIES["ant"], num_envs=1)
    oracle = Oracle(sim.model, sim.model.qpos0, np.zeros(sim.model.nv))
    corners = [np.sign(oracle.data.geom(name).xpos[:2]).astype(int).tolist() for name in FEET["ant"]]
    assert corners == [[1, 1], [-1, 1], [-1, -1], [1, -1]]  # front-left, back-left, back-right, front-right
    driven = [int(sim.model.joint(joint).id) for (joint, _) in sim.model.actuator_trnid]
    assert [sim.model.joint(j).name for j in driven[:4]] == ["hip_4", "ankle_4", "hip_1", "ankle_1"]


@every_body
def test_the_catalogue_says_unit_frame_and_meaning_of_every_variable(body: Body) -> None:
    names = [variable.name for variable in body.variables]
    assert len(set(names)) == len(names)
    for variable in body.variables:
        assert re.match(VARIABLE_NAME, variable.name)
        assert variable.unit
        assert variable.frame
        assert variable.meaning.endswith(".")
        assert variable.spec.shape == variable.shape
    assert {"actions", "previous_actions", "elapsed_time", "elapsed_fraction", "terminated"} <= set(names)
    assert body.variable("actions").shape == (body.action_size,)
