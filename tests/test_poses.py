"""Poses and velocities read off state rows, beside MuJoCo's own forward pass."""

import mujoco
import numpy as np
import pytest
from three_cubes import SCENE, WORLDS, mid_contact, simulation

from envs.interventions import Intervention
from envs.readout import chain_of, read_poses


@pytest.fixture(scope="module")
def contact():
    """See `mid_contact`."""
    return mid_contact()


def assert_agrees(model, data, bodies, local, poses, world):
    """Hold row `world` of `poses` to the twin: MuJoCo's own forward pass over `data`."""
    mujoco.mj_forward(model, data)
    positions, quaternions, linears, angulars = poses
    for k, body in enumerate(bodies):
        frame = data.xmat[body].reshape(3, 3)
        position = data.xpos[body] + frame @ local[k, :3]
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        linear = velocity[3:] + np.cross(velocity[:3], position - data.xpos[body])
        rotated = np.zeros(4)
        mujoco.mju_mulQuat(rotated, data.xquat[body], local[k, 3:])
        assert np.allclose(positions[world, k], position, atol=1e-12)
        assert np.allclose(linears[world, k], linear, atol=1e-12)
        assert np.allclose(angulars[world, k], velocity[:3], atol=1e-12)
        assert abs(abs(quaternions[world, k] @ rotated) - 1.0) < 1e-12


def test_readout_agrees_with_mj_forward(contact):
    made, state, _, _ = contact
    made.restore(state)
    made.do(Intervention.parse("velocity(green_cube, x=0.1, yaw=3)"))
    seen = made.observe().objects
    poses = (seen.position_in_world, seen.quaternion_in_world, seen.linear_velocity_in_world,
             seen.angular_velocity_in_world)  # fmt: skip
    for world in range(WORLDS):
        assert_agrees(made.model(world), made.data(world), SCENE.body, SCENE.local_pose, poses, world)


def test_readout_of_offset_hinges_and_welded_bodies():
    model = mujoco.MjModel.from_xml_string("""
      <mujoco><compiler angle="radian"/><worldbody>
        <body name="a" pos=".1 .2 .3" quat=".8 .1 .2 .3"><joint axis="1 2 3" pos=".3 -.1 .2" ref=".4"/><geom size=".1"/>
          <body name="b" pos="-.2 .1 .5" quat=".5 .5 -.1 .7"><geom size=".1"/>
            <body name="c" pos=".3 .3 -.1"><joint axis="0 1 1" pos="-.1 .2 .4"/><geom size=".1"/></body></body></body>
        <body name="d" mocap="true" pos="1 2 3" quat=".1 .2 .3 .4"/>
        <body name="e"><freejoint/><geom size=".1"/>
          <body name="f" pos=".1 .2 .3" quat=".8 .1 .2 .3"><geom size=".1"/></body></body>
      </worldbody></mujoco>""")
    data, generator = mujoco.MjData(model), np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = generator.normal(size=model.nq), generator.normal(size=model.nv)
    row = np.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
    bodies, local = np.arange(1, model.nbody), generator.normal(size=(model.nbody - 1, 7))
    local[:, 3:] /= np.linalg.norm(local[:, 3:], axis=1, keepdims=True)
    poses = read_poses(chain_of(model, bodies, local), row[None], np.ones((1, len(bodies)), bool))
    assert_agrees(model, data, bodies, local, poses, 0)


def test_readout_refuses_what_it_cannot_follow():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body name='b'><joint type='ball'/><geom size='.1'/></body></worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match="hinges and slides, or one free joint"):
        chain_of(model, np.array([1]), np.array([[0, 0, 0, 1, 0, 0, 0.0]]))


def test_absent_rows_read_as_nothing():
    present = np.zeros((1, len(SCENE.names)), bool)
    poses = read_poses(chain_of(SCENE.model, SCENE.body, SCENE.local_pose), simulation(1).save().rows, present)
    assert (poses[1] == (1.0, 0.0, 0.0, 0.0)).all()
    assert not any(poses[i].any() for i in (0, 2, 3))
