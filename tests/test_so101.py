"""The arm held to the published table: names, frames, inertia, servo, and the facts its grasp rests on."""

import mujoco
import numpy as np
import pytest

from envs.scene import SceneConfig, build_scene
from envs.servo import SERVOS
from envs.so101 import JOINT_HIGH, JOINT_LOW, JOINTS

MASS = {
    "base": 0.147,
    "shoulder": 0.100006,
    "upper_arm": 0.103,
    "lower_arm": 0.104,
    "wrist": 0.079,
    "gripper": 0.087,
    "moving_jaw": 0.012,
}
ANCHOR = {
    "shoulder_pan": (0.0388, 0.0, 0.0624),
    "shoulder_lift": (0.0692, -0.0183, 0.1166),
    "elbow_flex": (0.0972, -0.0183, 0.2292),
    "wrist_flex": (0.2321, -0.0183, 0.2344),
    "wrist_roll": (0.2932, -0.0002, 0.2344),
    "gripper": (0.3166, 0.0176, 0.2555),
}
AXIS = {
    "shoulder_pan": (0, 0, -1),
    "shoulder_lift": (0, 1, 0),
    "elbow_flex": (0, 1, 0),
    "wrist_flex": (0, 1, 0),
    "wrist_roll": (-1, 0, 0),
}
GOLDEN_TCP = (0.243825593, -0.069478345, 0.070383997)
GOLDEN_BIAS = (-0.000000000, -0.270325728, -0.387740598, -0.056354396, 0.000742523, 0.002669185)
OPENING = {0.2: 19, 0.3: 27, 0.4: 35, 0.5: 43, 0.6: 49, 0.8: 61, 1.0: 72}


@pytest.fixture(scope="module")
def model():
    return build_scene(SceneConfig(objects=())).model


@pytest.fixture
def data(model):
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def test_names_are_lerobots(model):
    assert tuple(model.joint(i).name for i in range(model.njnt)) == JOINTS
    assert tuple(model.actuator(i).name for i in range(model.nu)) == JOINTS


def test_joint_ranges(model):
    assert model.jnt_range == pytest.approx(np.column_stack([JOINT_LOW, JOINT_HIGH]))
    assert model.actuator_ctrlrange == pytest.approx(model.jnt_range)


def test_masses(model):
    assert {name: float(model.body(name).mass[0]) for name in MASS} == pytest.approx(MASS)
    assert model.body("base").subtreemass[0] == pytest.approx(0.632, abs=1e-5)


def test_inertia_of_every_link_is_the_tables(model):
    """The principal moments turned back into body axes."""
    table = {
        "base": (1.14686e-4, 1.36117e-4, 1.30364e-4, -4.59787e-7, 4.97151e-6, 9.75275e-8),
        "shoulder": (8.3759e-5, 8.10403e-5, 2.39783e-5, 7.55525e-8, -1.16342e-6, 1.54663e-7),
        "upper_arm": (4.08002e-5, 1.47318e-4, 1.42487e-4, -1.97819e-5, -4.03016e-8, 8.97326e-9),
        "lower_arm": (2.87438e-5, 1.59844e-4, 1.4529e-4, 7.41152e-6, 1.26409e-6, -4.90188e-8),
        "wrist": (3.68263e-5, 2.5391e-5, 2.1e-5, 1.7893e-8, -5.28128e-8, 3.6412e-6),
        "gripper": (2.75087e-5, 4.33657e-5, 3.45059e-5, -3.35241e-7, -5.7352e-6, -5.17847e-8),
        "moving_jaw": (6.61427e-6, 1.89032e-6, 5.28738e-6, -3.19807e-7, -5.90717e-9, -1.09945e-7),
    }
    for name, (xx, yy, zz, xy, xz, yz) in table.items():
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.body(name).iquat)
        axes = rotation.reshape(3, 3)
        tensor = axes @ np.diag(model.body(name).inertia) @ axes.T
        assert tensor == pytest.approx(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), abs=1e-11), name


def test_joint_anchors_and_axes_at_zero(model, data):
    for name, expected in ANCHOR.items():
        assert data.joint(name).xanchor == pytest.approx(expected, abs=6e-5), name
    for name, expected in AXIS.items():
        assert data.joint(name).xaxis == pytest.approx(expected, abs=1e-5), name


def test_gripperframe_at_zero(data):
    assert data.site("gripperframe").xpos == pytest.approx((0.3914, -0.0010, 0.2464), abs=6e-5)


def test_greatest_gravity_torques():
    """Over the joint box. The published maxima are those of an arm that carries a 12 g camera mount on its gripper."""
    model = build_scene(SceneConfig(objects=())).model
    model.body("gripper").mass[0] += 0.012
    data = mujoco.MjData(model)
    generator = np.random.default_rng(0)
    greatest = np.zeros(6)
    for _ in range(4000):
        data.qpos[:] = generator.uniform(JOINT_LOW, JOINT_HIGH)
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        greatest = np.maximum(greatest, np.abs(data.qfrc_bias))
    assert greatest[:4] == pytest.approx((0.0, 0.90, 0.48, 0.13), abs=0.006)
    assert greatest[4:] == pytest.approx((0.01, 0.004), abs=0.004)


def test_golden_poses_and_bias(model, data):
    """One pose in full, so that no entry of the table can drift unseen."""
    data.qpos[:] = (0.3, -0.5, 0.7, 0.9, -0.4, 0.5)
    mujoco.mj_forward(model, data)
    assert data.site("tcp").xpos == pytest.approx(GOLDEN_TCP, abs=1e-7)
    assert data.qfrc_bias == pytest.approx(GOLDEN_BIAS, abs=1e-7)


@pytest.mark.parametrize(("angle", "millimetres"), OPENING.items())
def test_jaw_opening(model, data, angle, millimetres):
    """Free width between the pads, measured along the fixed pad's normal."""
    data.qpos[5] = angle
    mujoco.mj_kinematics(model, data)
    fixed, moving = data.geom("fixed_jaw_pad"), data.geom("moving_jaw_pad")
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).T.reshape(-1, 3)
    corners = moving.xpos + (signs * model.geom("moving_jaw_pad").size) @ moving.xmat.reshape(3, 3).T
    local = (corners - fixed.xpos) @ fixed.xmat.reshape(3, 3)
    opening = local[:, 0].min() - model.geom("fixed_jaw_pad").size[0]
    assert 1e3 * opening == pytest.approx(millimetres, abs=0.6)


def test_inner_face_of_the_fixed_pad(model):
    pad = model.geom("fixed_jaw_pad")
    assert pad.pos[0] + pad.size[0] == pytest.approx(-0.0015)


def test_a_held_cube_sits_at_the_tool_centre_point(model):
    assert model.site("tcp").pos[0] == pytest.approx(-0.0015 + 0.014)


def test_arm_never_collides_with_itself(model, data):
    generator = np.random.default_rng(1)
    for _ in range(200):
        data.qpos[:] = generator.uniform(JOINT_LOW, JOINT_HIGH)
        mujoco.mj_fwdPosition(model, data)
        arm = [c for c in data.contact.geom if all(model.geom_bodyid[c] > 0)]
        assert not arm


@pytest.mark.parametrize("name", SERVOS)
def test_servo_sets_reach_the_model(name):
    model = build_scene(SceneConfig(objects=(), servo=SERVOS[name])).model
    servo = SERVOS[name]
    assert model.actuator_gainprm[:, 0] == pytest.approx(servo.kp)
    assert model.actuator_biasprm[:, 1] == pytest.approx(-servo.kp)
    assert model.actuator_biasprm[:, 2] == pytest.approx(-servo.kv)
    assert model.dof_damping == pytest.approx(servo.damping)
    assert model.dof_armature == pytest.approx(servo.armature)
    assert model.dof_frictionloss == pytest.approx(servo.frictionloss)
    assert model.actuator_forcerange[:5, 1] == pytest.approx(servo.force_limit)
    assert model.actuator_forcerange[5, 1] == pytest.approx(servo.gripper_force_limit)
