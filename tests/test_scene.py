"""The compiled scene: entities and where they are in the model, what touches what, and that things lie still."""

import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

from envs.errors import EmbodiedError
from envs.kinematics import body_poses
from envs.objects import CUBE_HALF_EXTENT, CUBE_MASS, OBJECTS
from envs.physics import Physics
from envs.robot import HOME
from envs.scene import BIN_HALF_EXTENTS, BIN_WALL, SceneConfig, build_scene
from envs.servo import SERVOS, Servo
from envs.so101 import JOINTS
from envs.types import Kind

ROBOT = ("table", "gripper", "fixed_jaw", "moving_jaw")
CONFIGS = {
    "bare": SceneConfig(objects=()),
    "one": SceneConfig(),
    "target": SceneConfig(objects=("red_cube", "blue_cube"), goal_entity="target"),
    "bin": SceneConfig(objects=("red_cube", "blue_cube", "green_cube"), goal_entity="bin"),
}


@pytest.fixture(scope="module", params=CONFIGS)
def scene(request):
    return build_scene(CONFIGS[request.param])


@pytest.fixture(scope="module")
def full():
    return build_scene(CONFIGS["bin"])


def at_home(scene):
    data = mujoco.MjData(scene.model)
    mujoco.mj_resetDataKeyframe(scene.model, data, scene.model.key("home").id)
    mujoco.mj_forward(scene.model, data)
    return data


def entity_pose(scene, data, k):
    """Position and rotation of an entity through its body, as MuJoCo has them."""
    body = scene.body[k]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, scene.local_pose[k, 3:])
    turned = data.xmat[body].reshape(3, 3)
    return data.xpos[body] + turned @ scene.local_pose[k, :3], turned @ rotation.reshape(3, 3)


def test_entities_come_in_the_agreed_order(scene):
    goal = (scene.config.goal_entity,) if scene.config.goal_entity else ()
    assert scene.names == ROBOT + goal + scene.config.objects
    kinds = {"table": Kind.TABLE, "gripper": Kind.GRIPPER, "fixed_jaw": Kind.JAW, "moving_jaw": Kind.JAW,
             "bin": Kind.BIN, "target": Kind.TARGET}  # fmt: skip
    kinds |= {name: Kind.CYLINDER if "cylinder" in name else Kind.BOX for name in OBJECTS}
    assert scene.kind.tolist() == [kinds[name] for name in scene.names]
    assert [scene.index(name) for name in scene.names] == list(range(len(scene.names)))


def test_index_maps_point_at_the_right_things(scene):
    data = at_home(scene)
    for k, name in enumerate(scene.names):
        free, mocap = scene.qpos[k] >= 0, scene.mocap[k] >= 0
        assert free == (name in scene.objects)
        assert mocap == (name in ("bin", "target"))
        if free:
            assert data.qpos[scene.qpos[k] :][:3] == pytest.approx(data.body(name).xpos)
            assert scene.model.dof_bodyid[scene.dof[k]] == scene.model.body(name).id
        if mocap:
            assert data.mocap_pos[scene.mocap[k]] == pytest.approx(data.body(name).xpos)
    assert [scene.model.joint(name).qposadr[0] for name in JOINTS] == scene.joint_qpos.tolist()
    assert [scene.model.joint(name).dofadr[0] for name in JOINTS] == scene.joint_dof.tolist()
    assert [scene.model.actuator(int(i)).name for i in scene.actuator] == list(JOINTS)


def test_entity_boxes_are_their_geoms(scene):
    """Solid boxes coincide with the geom that collides; the bin's box is the hull of its five."""
    data = at_home(scene)
    for name in scene.names:
        k = scene.index(name)
        position, rotation = entity_pose(scene, data, k)
        if name in ("gripper", "target"):
            continue
        corners = []
        for geom in scene.geoms[k]:
            signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).T.reshape(-1, 3)
            corners.append(
                data.geom_xpos[geom] + signs * scene.model.geom_size[geom] @ data.geom_xmat[geom].reshape(3, 3).T
            )
        local = (np.concatenate(corners) - position) @ rotation
        assert local.max(axis=0) == pytest.approx(scene.half_extents[k], abs=1e-9), name
        assert local.min(axis=0) == pytest.approx(-scene.half_extents[k], abs=1e-9), name


def test_robot_entities_are_where_kinematics_puts_them(scene):
    data = at_home(scene)
    positions, _ = body_poses(np.array(HOME))
    for part, name in enumerate(("gripper", "fixed_jaw", "moving_jaw")):
        assert entity_pose(scene, data, scene.index(name))[0] == pytest.approx(positions[part], abs=1e-9)


def test_nominal_mass_friction_and_colour(full):
    k = full.index("green_cube")
    assert full.mass[k] == pytest.approx(CUBE_MASS)
    assert full.model.body_mass[full.body[k]] == pytest.approx(CUBE_MASS)
    assert full.friction[k] == pytest.approx(full.model.geom_friction[full.geoms[k][0], 0])
    assert full.colour[k] == pytest.approx(OBJECTS["green_cube"].colour)
    assert full.model.geom_rgba[full.geoms[k][0], :3] == pytest.approx(OBJECTS["green_cube"].colour)


def test_nothing_touches_at_home_but_cubes_and_table(scene):
    data = at_home(scene)
    for contact in data.contact:
        names = {scene.model.geom(int(g)).name for g in contact.geom}
        assert "table" in names
        assert names - {"table"} <= set(scene.objects)
        assert contact.dist > -1e-6


def test_cameras_and_picture_size(scene):
    names = {scene.model.camera(i).name for i in range(scene.model.ncam)}
    assert names == {"front", "top", "wrist"}
    assert scene.model.vis.global_.offwidth >= 640


@pytest.mark.parametrize("camera", ["front", "top"])
def test_fixed_cameras_see_the_workspace_upright(full, camera):
    data = at_home(full)
    rotation = data.camera(camera).xmat.reshape(3, 3)
    towards = np.array([0.22, 0.0, 0.02]) - data.camera(camera).xpos
    right, up, depth = rotation.T @ towards
    half = np.tan(np.radians(full.model.camera(camera).fovy[0]) / 2)
    assert depth < 0
    assert abs(right / depth) < 0.4 * half
    assert abs(up / depth) < 0.4 * half
    # Image up is the world's up, or forwards where the camera looks straight down.
    assert rotation[:, 1] @ ((1, 0, 0) if camera == "top" else (0, 0, 1)) > 0.5


def test_wrist_camera_sees_the_tool_centre_point(full):
    data = at_home(full)
    camera, tcp = data.camera("wrist"), data.site("tcp").xpos
    right, up, depth = camera.xmat.reshape(3, 3).T @ (tcp - camera.xpos)
    half = np.tan(np.radians(full.model.camera("wrist").fovy[0]) / 2)
    assert depth < 0
    assert max(abs(right), abs(up)) < -depth * half


def test_only_the_pads_have_four_dimensional_contacts_and_priority(full):
    pads = {"fixed_jaw_pad", "moving_jaw_pad"}
    model = full.model
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    special = {model.geom(i).name for i in np.flatnonzero(colliding & (model.geom_condim == 4))}
    assert special == pads
    assert {model.geom(i).name for i in np.flatnonzero(model.geom_priority)} == pads
    assert set(model.geom_condim[colliding]) == {3, 4}


def test_drawn_geoms_weigh_nothing_and_hidden_ones_are_group_three(full):
    model = full.model
    hidden = model.geom_group == 3
    assert {model.geom(i).name for i in np.flatnonzero(hidden)} == {
        "base_box", "shoulder_box", "upper_arm_capsule", "lower_arm_capsule", "wrist_box", "palm_box",
        "fixed_finger_box", "moving_finger_box",
    }  # fmt: skip
    assert np.all(model.geom_contype[hidden] == 2)


def test_solver_settings(full):
    option = full.model.opt
    assert option.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE
    assert option.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert option.impratio == 10
    assert option.noslip_iterations == 0
    assert option.iterations >= 100
    assert option.timestep == 0.005
    solimp = {name: tuple(full.model.geom(name).solimp[:3]) for name in ("red_cube", "table", "fixed_jaw_pad")}
    assert solimp == {"red_cube": Physics().solimp, "table": Physics().solimp, "fixed_jaw_pad": Physics().pad_solimp}


def test_arm_and_cubes_lie_still(full):
    data = at_home(full)
    mujoco.mj_step(full.model, data, 300)
    assert np.abs(data.qvel).max() < 1e-4
    assert data.qpos[full.joint_qpos] == pytest.approx(HOME, abs=5e-3)
    for name in full.objects:
        k = full.qpos[full.index(name)]
        assert data.qpos[k : k + 2] == pytest.approx(full.model.key_qpos[0, k : k + 2], abs=1e-5)
        assert data.qpos[k + 2] == pytest.approx(CUBE_HALF_EXTENT, abs=1.1e-3)


def test_parked_cubes_meet_nothing_within_a_control_step(full):
    batch = Batch(full.model, 2, nthread=1)
    batch.reset(keyframe=0)
    k = full.index("blue_cube")
    columns = slice(full.qpos[k], full.qpos[k] + 7)
    batch.qpos[1, columns] = full.parking_pose[k]
    batch.step(nstep=20)
    fall = full.parking_pose[k, 2] - batch.qpos[1, columns][2]
    assert fall == pytest.approx(0.5 * 9.81 * 0.1**2, rel=0.15)
    assert np.array_equal(batch.qpos[1, columns][:2], full.parking_pose[k, :2])
    assert batch.qpos[0, columns][2] == pytest.approx(CUBE_HALF_EXTENT, abs=1.1e-3)


def test_parking_spots_are_apart(full):
    spots = full.parking_pose[(full.qpos >= 0) | (full.mocap >= 0), :3]
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + np.eye(len(spots))
    assert gaps.min() > 0.3


def test_cube_dropped_into_the_bin_stays_there(full):
    data = at_home(full)
    k = full.qpos[full.index("red_cube")]
    centre = data.body("bin").xpos.copy()
    data.qpos[k : k + 3] = centre + np.array([0.0, 0.0, 0.06])
    mujoco.mj_step(full.model, data, 150)
    inside = data.qpos[k : k + 3] - centre
    assert np.abs(inside[:2]).max() < BIN_HALF_EXTENTS[0] - BIN_WALL - CUBE_HALF_EXTENT + 1e-3
    assert inside[2] == pytest.approx(CUBE_HALF_EXTENT + BIN_WALL - BIN_HALF_EXTENTS[2], abs=1e-3)


def test_the_bin_is_a_wall_for_a_sliding_cube_and_does_not_move(full):
    data = at_home(full)
    k, dof = full.qpos[full.index("red_cube")], full.dof[full.index("red_cube")]
    centre = data.body("bin").xpos.copy()
    data.qpos[k : k + 3] = (centre[0], centre[1] - 0.10, CUBE_HALF_EXTENT)
    data.qvel[dof + 1] = 0.8
    mujoco.mj_step(full.model, data, 100)
    assert data.qpos[k + 1] < centre[1] - BIN_HALF_EXTENTS[1] - CUBE_HALF_EXTENT + 1e-3
    assert np.array_equal(data.body("bin").xpos, centre)


def slide(scene, speed):
    """How far a cube slides on the table [m]."""
    data = at_home(scene)
    k, dof = scene.qpos[scene.index("red_cube")], scene.dof[scene.index("red_cube")]
    data.qpos[k : k + 2] = (0.3, -0.2)
    mujoco.mj_step(scene.model, data, 20)
    data.qvel[dof] = speed
    mujoco.mj_step(scene.model, data, 150)
    return data.qpos[k] - 0.3


def test_objects_friction_rules_on_the_table():
    """A cube slides v^2 / (2 mu g), with its own friction, which is larger than the table's."""
    scene = build_scene()
    speed = 0.6
    assert slide(scene, speed) == pytest.approx(speed**2 / (2 * 0.2 * 9.81), rel=0.12)
    scene.model.geom_friction[scene.geoms[scene.index("red_cube")][0], 0] = 0.4
    assert slide(scene, speed) == pytest.approx(speed**2 / (2 * 0.4 * 9.81), rel=0.12)


def test_what_falls_off_the_table_is_caught(full):
    data = at_home(full)
    k = full.qpos[full.index("red_cube")]
    data.qpos[k : k + 3] = (0.7, 0.0, 0.05)
    mujoco.mj_step(full.model, data, 300)
    assert -0.7 < data.qpos[k + 2] < -0.5


def test_arm_cannot_pass_through_the_table():
    scene = build_scene(SceneConfig(objects=()))
    data = at_home(scene)
    data.ctrl[:] = [0.0, 1.2, 0.2, 0.3, 0.0, 0.3]
    mujoco.mj_step(scene.model, data, 200)
    lowest = min(data.geom(name).xpos[2] for name in ("fixed_jaw_pad", "wrist_box", "palm_box"))
    assert lowest > 0.0


def test_servo_follows_a_ten_hertz_command_to_a_millimetre():
    scene = build_scene(SceneConfig(objects=()))
    data = at_home(scene)
    gap = []
    for step in range(20):
        data.ctrl[:] = np.add(HOME, 0.02 * step * np.array([1, 1, -1, 0, 1, 0]))
        mujoco.mj_step(scene.model, data, 10)
        gap.append(np.linalg.norm(body_poses(data.qpos[:6])[0][0] - body_poses(data.ctrl)[0][0]))
    assert max(gap[2:]) < 4e-3
    mujoco.mj_step(scene.model, data, 50)
    assert np.linalg.norm(body_poses(data.qpos[:6])[0][0] - body_poses(data.ctrl)[0][0]) < 2e-3


def test_servo_delay_is_in_whole_physics_steps():
    moved = {}
    for steps in (0, 3):
        servo = Servo(kp=200.0, kv=6.0, frictionloss=0.0, delay=steps * 0.005)
        scene = build_scene(SceneConfig(objects=(), servo=servo))
        data = at_home(scene)
        mujoco.mj_step(scene.model, data, 200)
        data.ctrl[0] = 0.3
        start, moved[steps] = data.qpos[0], 0
        while abs(data.qpos[0] - start) < 1e-6:
            mujoco.mj_step(scene.model, data)
            moved[steps] += 1
    assert moved == {0: 1, 3: 4}


def test_physics_reaches_the_model():
    physics = Physics(timestep=0.005, integrator="implicitfast", gravity=1.62, object_friction=0.3, pad_friction=0.8)
    scene = build_scene(SceneConfig(physics=physics, servo=SERVOS["menagerie"]))
    assert scene.model.opt.timestep == 0.005
    assert scene.model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert scene.model.opt.gravity[2] == -1.62
    assert scene.model.geom("red_cube").friction[0] == 0.3
    assert scene.model.geom("fixed_jaw_pad").friction[0] == 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SceneConfig(objects=("red_cub",)), r"Unknown object 'red_cub'. Did you mean 'red_cube'\?"),
        (lambda: SceneConfig(objects=("red_cube", "red_cube")), "each may appear once"),
        (lambda: SceneConfig(goal_entity="bucket"), "Unknown goal entity 'bucket'.*Allowed: bin, none, target"),
        (lambda: Physics(integrator="discreet"), "Did you mean 'discrete'"),
        (lambda: build_scene().index("green_cube"), "Unknown object 'green_cube'"),
    ],
)
def test_bad_names_are_named(make, message):
    with pytest.raises(EmbodiedError, match=message):
        make()
