"""Robots: two arms are each what a lone one is, and an arm of any MJCF file joins by a few lines of YAML."""

import importlib.util
import sys
from importlib import resources
from pathlib import Path

import mujoco
import numpy as np
import pytest

from embodied.bench import peers
from embodied.bench.experts import succeeded
from envs.arm import SerialArm, serial_arm
from envs.control import CartesianDelta, JointDelta, TwoArms
from envs.errors import EmbodiedError
from envs.foreign import load_robot
from envs.kinematics import forward, project
from envs.robot import FILES, HOME, ROBOTS, arm_of, default_control, robot_of
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.so101 import JOINTS, TCP_IN_GRIPPER
from envs.tasks import ANY_ARM, TASKS, task
from envs.two_arms import BASE, OTHER, of_first, seen_by_other
from envs.worlds import TaskWorlds

ARM = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <light pos="0 0 2"/>
    <geom name="ground" type="plane" size="1 1 0.1"/>
    <site name="aim"/>
    <body name="thing" pos="1 0 1"><freejoint/><geom size="0.02"/></body>
    <body name="root">
      <geom type="box" size="0.04 0.04 0.05" pos="0 0 0.05"/>
      <body name="upper" pos="0 0 0.1">
        <joint name="swing" axis="0 0 1" range="-2 2"/>
        <joint name="loose" axis="0 1 0" range="-1 1"/>
        <joint name="free" axis="1 0 0"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/>
        <body name="finger" pos="0.2 0 0">
          <joint name="pinch" type="slide" axis="0 1 0" range="0 0.03"/>
          <geom name="side" type="box" size="0.02 0.004 0.01"/>
          <site name="tip" pos="0.02 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="swing"/></actuator>
</mujoco>
"""
FILE = "mjcf: arm.xml\njoints: [swing]\ngripper: [pinch]\ntcp: tip\n"


def write(folder: Path, text: str = FILE, model: str = ARM) -> str:
    (folder / "arm.xml").write_text(model)
    (folder / "arm.yaml").write_text(text)
    load_robot.cache_clear()
    return str(folder / "arm.yaml")


@pytest.fixture(scope="module")
def handed() -> TaskWorlds:
    worlds = TaskWorlds(TASKS["handover"], 2, threads=1)
    worlds.reset(seeds=[1, 2])
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 2, 10)):
        worlds.step(action)
    return worlds


def test_what_the_second_arm_sees_seen_so_again_is_the_world(handed: TaskWorlds) -> None:
    there = handed.observation
    back = seen_by_other(seen_by_other(there))
    np.testing.assert_array_equal(back.proprioception, there.proprioception)
    assert back.objects.names == there.objects.names
    for name in ("position_in_world", "linear_velocity_in_world", "angular_velocity_in_world"):
        np.testing.assert_allclose(getattr(back.objects, name), getattr(there.objects, name), atol=1e-12)
    same = np.abs(np.sum(back.objects.quaternion_in_world * there.objects.quaternion_in_world, axis=-1))
    np.testing.assert_allclose(same, 1.0, atol=1e-12)


def test_either_arm_is_where_its_own_joints_say(handed: TaskWorlds) -> None:
    lone = build_scene(SceneConfig(objects=()))
    for seen in (handed.observation, seen_by_other(handed.observation)):
        joints = of_first(seen).proprioception[0, :6]
        data = mujoco.MjData(lone.model)
        data.qpos[lone.joint_qpos] = joints
        mujoco.mj_kinematics(lone.model, data)
        for name in ("fixed_jaw", "moving_jaw"):
            true = data.geom(f"{name}_pad").xpos
            np.testing.assert_allclose(seen.objects.position_in_world[0, seen.objects.index(name)], true, atol=1e-6)


def test_two_arms_are_commanded_like_lone_ones() -> None:
    both, one = TwoArms(), CartesianDelta()
    previous = np.random.default_rng(0).uniform(-0.1, 0.1, (4, 12)) + np.tile(HOME, 2)
    action = np.random.default_rng(1).uniform(-1, 1, (4, 10))
    target = both.target(previous, action)
    np.testing.assert_array_equal(target[:, :6], one.target(previous[:, :6], action[:, :5]))
    np.testing.assert_array_equal(target[:, 6:], one.target(previous[:, 6:], action[:, 5:]))
    assert both.spec.names[5:] == tuple(OTHER + name for name in one.spec.names)
    assert both.joints == ROBOTS["two_so101"].joints


def test_two_arms_run_into_each_other_but_not_into_themselves() -> None:
    scene = build_scene(SceneConfig(objects=(), robot="two_so101"))
    data = mujoco.MjData(scene.model)
    # Both stretched out towards the middle.
    data.qpos[scene.joint_qpos] = np.tile([0.0, 0.9, -0.5, 0.6, 0.0, 0.3], 2)
    mujoco.mj_forward(scene.model, data)
    pairs = [
        {scene.model.body(scene.model.geom_bodyid[geom]).name.startswith(OTHER) for geom in contact.geom}
        for contact in data.contact
        if all(scene.model.geom_bodyid[geom] for geom in contact.geom)
    ]
    assert pairs
    assert all(pair == {False, True} for pair in pairs)


def test_the_rod_begins_where_the_second_arm_cannot_grasp_it() -> None:
    layout = TASKS["handover"].layout([np.random.default_rng(seed) for seed in range(32)])
    there = np.array(BASE) + layout.object_position[:, 0] * (-1.0, -1.0, 1.0)
    missed = np.linalg.norm(project(there, np.zeros(len(there))).position - there, axis=-1)
    assert missed.min() > 0.02


@pytest.mark.parametrize("name", FILES)
def test_shipped_robot_files_hold_and_move(name: str) -> None:
    simulation = Simulation(build_scene(SceneConfig(robot=name)), 2, threads=1)
    robot = robot_of(name)
    np.testing.assert_allclose(simulation.joint_target[0], robot.home)
    simulation.settle(duration=0.5)
    start = simulation.observe()
    np.testing.assert_allclose(start.proprioception[0, : len(robot.joints)], robot.home, atol=0.02)
    target = np.tile(robot.home, (2, 1))
    target[0, 0] += 0.5
    simulation.run(target, 200)
    after = simulation.observe()
    tool = after.objects.position_in_world[:, after.objects.index("gripper")]
    turned = np.arctan2(tool[:, 1], tool[:, 0]) - np.arctan2(*start.objects.position_in_world[0, 1, 1::-1])
    assert abs(turned[0]) > 0.3
    assert abs(turned[1]) < 0.01


def test_an_omx_lifts_a_cube() -> None:
    """Its last joint's two fingers close together, and hold."""
    scene = build_scene(SceneConfig(robot="omx"))
    simulation = Simulation(scene, 1, threads=1)
    k = scene.index("red_cube")
    simulation.rows.put(np.array([0]), k, np.array([[0.203, 0.0, 0.014]]))
    down, up = np.array([0.0, 0.35, -0.02, 1.24, 0.015]), np.array(robot_of("omx").home)
    for target, opening, steps in ((down, 0.015, 300), (down, -0.010, 200), (up, -0.010, 300)):
        target[4] = opening
        simulation.run(target[None], steps)
    left, right = (simulation.data(0).joint(name).qpos[0] for name in ("left_finger", "right_finger"))
    assert left == pytest.approx(right, abs=2e-3)
    assert simulation.observe().objects.position_in_world[0, k, 2] > 0.04


def test_an_arm_of_any_file_stands_alone_in_the_scene(tmp_path: Path) -> None:
    path = write(tmp_path)
    scene = build_scene(SceneConfig(robot=path))
    names = [scene.model.joint(j).name for j in range(scene.model.njnt)]
    assert names == ["swing", "pinch", "red_cube"]
    assert [scene.model.actuator(a).name for a in range(scene.model.nu)] == ["swing", "pinch"]
    assert "ground" not in [scene.model.geom(g).name for g in range(scene.model.ngeom)]
    control = default_control(path)
    assert isinstance(control, JointDelta)
    assert control.spec.names == ("swing", "pinch")
    simulation = Simulation(scene, 1, threads=1)
    for swing in (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0):
        observation = simulation.step(np.array([[swing, 1.0]]))
    np.testing.assert_allclose(observation.proprioception[0, :2], [0.75, 0.03], atol=0.03)
    # The site is 22 cm from the axis, and moves with it.
    tool = observation.objects.position_in_world[0, 1]
    assert np.linalg.norm(tool[:2] - 0.03 * np.array([-np.sin(0.75), np.cos(0.75)])) == pytest.approx(0.22, abs=2e-3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (FILE.replace("[swing]", "[swng]"), r"Unknown joint of .*arm\.yaml 'swng'\. Did you mean 'swing'\?"),
        (FILE.replace("tcp: tip", "tcp: top"), r"Unknown site of .*arm\.yaml 'top'.*tip"),
        (FILE.replace("arm.xml", "leg.xml"), r"there is no model '.*leg\.xml'"),
        (FILE.replace("arm.xml", "no_such_package:arm.xml"), r"package 'no_such_package', which is not installed"),
        (FILE.replace("tcp: tip", "tip: tip"), r"a robot file says at least mjcf, joints and tcp"),
        (FILE + "colour: red\n", r"Unknown key of arm\.yaml 'colour'"),
        (FILE + "servo: {dampng: 3}\n", r"Unknown servo parameter of arm\.yaml 'dampng'\. Did you mean 'damping'\?"),
        (FILE + "home: [a]\n", r"home must be a list of finite numbers, not \['a'\]"),
        (FILE + "servo: 3\n", r"servo must be finite numbers by name, not 3"),
        (FILE + "area: [[0.1, 0.2]]\n", r"area must be two finite ranges, as in"),
        (FILE + "area: [[0.1, .inf], [0.1, 0.2]]\n", r"area must be two finite ranges, as in .*inf"),
        (FILE + "servo: {kp: -1}\n", r"arm\.yaml: Servo kp = -1: it must be finite and not negative\."),
        (FILE + "servo: {kp: 9, kv: .nan}\n", r"servo must be finite numbers by name, not .*nan"),
        (FILE + "servo: {kp: 9, force_limit: 0}\n", r"Servo force_limit = 0: it must be finite and above zero\."),
        (FILE + "servo: {kv: 1}\n", r"arm\.yaml: servo must say kp, too; it says kv\."),
        (FILE + "home: [.nan, 0]\n", r"home must be a list of finite numbers, not \[nan, 0\]"),
        (FILE + "home: [9, 0.01]\n", r"arm\.yaml: home has swing at 9; its range is -2 to 2\."),
        (
            FILE.replace("[swing]", "[swing, swing]"),
            r"arm\.yaml: 'swing' is given 2 times; give it once",
        ),
        (
            FILE.replace("[pinch]", "[swing]"),
            r"arm\.yaml: 'swing' is given 2 times; give it once, among joints",
        ),
        (
            FILE.replace("tcp: tip", "tcp: aim"),
            r"arm\.yaml: tcp is the site 'aim', which is not on the arm; on it are",
        ),
        (
            FILE + "jaws: [ground, side]\n",
            r"arm\.yaml: jaws has the geom 'ground', which is not on the arm; on it",
        ),
        (FILE + "jaws: [one]\n", r"jaws must be a list of two names, or of none, not \['one'\]"),
        (FILE.replace("[swing]", "swing"), r"joints must be a list of names, at least one, not 'swing'"),
        (FILE.replace("[swing]", "[swing"), r"arm\.yaml is not YAML: "),
        (FILE.replace("arm.xml", "arm.yaml"), r"MuJoCo cannot read '.*arm\.yaml'"),
        (FILE.replace("[swing]", "[free]"), r"joint 'free' has no range"),
        (FILE + "home: [0.0]\n", r"home has 1 numbers for the 2 joints swing, pinch"),
    ],
)
def test_a_wrong_robot_file_is_told_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(EmbodiedError, match=sentence):
        SceneConfig(robot=write(tmp_path, text))


def test_models_of_the_menagerie_go_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(name: str) -> str:
        return write(tmp_path, FILE.replace("arm.xml", f"robot_descriptions:{name}"))

    monkeypatch.setitem(sys.modules, "robot_descriptions", None)
    with pytest.raises(EmbodiedError, match=r"'robot_descriptions', which is not installed: pip install"):
        SceneConfig(robot=at("toy_mj_description"))
    monkeypatch.undo()
    package = tmp_path / "packages" / "robot_descriptions"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "toy.xml").write_text(ARM)
    (package / "toy_mj_description.py").write_text(f"MJCF_PATH = {str(package / 'toy.xml')!r}")
    (package / "toy_description.py").write_text("URDF_PATH = 'toy.urdf'")
    (package / "far_mj_description.py").write_text("raise OSError('fatal: no network')")
    monkeypatch.syspath_prepend(str(package.parent))
    assert robot_of(at("toy_mj_description")).joints == ("swing", "pinch")
    for name, told in (
        ("toy_description", "has no MJCF file by the name of 'toy_description'"),
        ("far_mj_description", "cannot fetch 'far_mj_description', .* once: fatal: no network"),
        ("toi_mj_description", "'toi_mj_description'; its names of those end with _mj_description"),
    ):
        with pytest.raises(EmbodiedError, match=told):
            SceneConfig(robot=at(name))


def test_a_finger_without_mass_is_told_how_it_gets_one(tmp_path: Path) -> None:
    model = ARM.replace('<geom name="side"', '<geom name="side" mass="0"')
    with pytest.raises(
        EmbodiedError, match=r"arm\.yaml: MuJoCo cannot compile .*'finger'.*; give each body that moves"
    ):
        SceneConfig(robot=write(tmp_path, model=model))


@pytest.mark.parametrize(
    ("model", "text", "what"),
    [
        (ARM.replace('"finger"', '"red_cube"'), FILE, "body 'red_cube'"),
        (ARM.replace('"finger"', '"target"'), FILE, "body 'target'"),
        (ARM.replace('"side"', '"table"'), FILE, "geom 'table'"),
        (ARM.replace('"swing"', '"red_cube"'), FILE.replace("swing", "red_cube"), "joint 'red_cube'"),
    ],
)
def test_a_name_that_the_scene_has_too_is_told(tmp_path: Path, model: str, text: str, what: str) -> None:
    config = SceneConfig(robot=write(tmp_path, text, model), goal_entity="target")
    with pytest.raises(EmbodiedError, match=rf"arm\.yaml: its model has a {what}, and so has the scene; give it"):
        build_scene(config)


def test_an_unknown_robot_is_told_which_there_are() -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown robot 'so100'\. Did you mean 'so101'\?.*omx"):
        SceneConfig(robot="so100")
    with pytest.raises(EmbodiedError, match=r"There is no robot file 'nowhere\.yaml'"):
        SceneConfig(robot="nowhere.yaml")


PACKAGED = {
    "gym_hil": ("assets/scene.xml", [f"joint{i}" for i in range(1, 8)], [], "pinch"),
    "robosuite": ("models/assets/robots/ur5e/robot.xml", ["shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint",
                  "wrist_1_joint", "wrist_2_joint", "wrist_3_joint"], [], "right_center"),
}  # fmt: skip
"""Where packages keep a Panda and a UR5e."""


@pytest.mark.parametrize("package", PACKAGED)
def test_arms_that_packages_ship_join(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # After `make peers` the packages are there, beside our own.
    monkeypatch.setattr(sys, "path", [*sys.path])
    peers.borrow()
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package}, which ships the model, is not installed")
    where, joints, gripper, site = PACKAGED[package]
    text = f"mjcf: {package}:{where}\njoints: {joints}\ngripper: {gripper}\ntcp: {site}\n"
    simulation = Simulation(build_scene(SceneConfig(robot=write(tmp_path, text))), 1, threads=1)
    simulation.settle(duration=0.2)
    assert np.isfinite(simulation.step(np.zeros((1, len(joints) + bool(gripper)))).proprioception).all()


@pytest.fixture(scope="module")
def twin() -> SerialArm:
    """The SO-101 as any arm of a file, its tool where the closed form has it."""
    spec = mujoco.MjSpec.from_string(resources.files("assets").joinpath("so101.xml").read_text())
    spec.body("gripper").add_site(name="twin", pos=TCP_IN_GRIPPER)
    return serial_arm(spec.compile(), JOINTS[:5], HOME, "twin")


def test_kinematics_of_any_arm_are_the_closed_ones(twin: SerialArm) -> None:
    joints = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 5)) + HOME[:5]
    closed, own = forward(joints), twin.forward(joints)
    np.testing.assert_allclose(own.position, closed.position, atol=1e-6)
    np.testing.assert_allclose(own.tilt, np.abs(closed.tilt), atol=1e-5)


def test_what_can_be_reached_is_reached_as_upright_as_in_closed_form(twin: SerialArm) -> None:
    rng = np.random.default_rng(1)
    place = np.stack([rng.uniform(0.14, 0.34, 200), rng.uniform(-0.1, 0.1, 200), rng.uniform(0.015, 0.12, 200)], -1)
    yaw = rng.uniform(-0.7, 0.7, 200)
    closed, own = project(place, yaw), twin.project(place, yaw)
    there = np.linalg.norm(closed.position - place, axis=-1) < 1e-6
    assert there.mean() > 0.9
    assert np.linalg.norm(own.position - place, axis=-1)[there].max() < 5e-4
    upright = there & (closed.tilt == 0.0)
    np.testing.assert_allclose(own.joints[upright], closed.joints[upright], atol=1e-2)
    assert (own.tilt - np.abs(closed.tilt))[there].max() < 0.03


@pytest.mark.parametrize("near", [False, True], ids=["from_anywhere", "from_near"])
def test_nobody_s_joints_depend_on_who_else_is_asked_for(near: bool) -> None:
    arm, rng = arm_of("koch"), np.random.default_rng(0)
    place, yaw = rng.uniform((0.10, -0.08, 0.02), (0.18, 0.08, 0.10), (24, 3)), rng.uniform(-1.0, 1.0, 24)
    start = arm.project(place, yaw).joints + rng.uniform(0.0, 0.1, (24, 1)) if near else None
    together = arm.project(place, yaw, start).joints
    for i in range(24):
        alone = arm.project(place[i], yaw[i], None if start is None else start[i]).joints
        np.testing.assert_array_equal(alone, together[i])


@pytest.mark.parametrize("name", ANY_ARM)
def test_a_koch_arm_does_the_tasks_of_any_arm(name: str) -> None:
    assert succeeded(task(name, robot="koch"), np.arange(5)).all()


def test_a_tool_goes_where_its_actions_say_and_back() -> None:
    control = default_control("koch")
    start = np.array([robot_of("koch").home])
    action = np.array([[0.5, -0.4, 0.6, 0.3, 0.2]])
    target = control.target(start, action)
    np.testing.assert_allclose(control.action(start, target), action, atol=5e-3)
    assert control.spec.names == CartesianDelta().spec.names


def test_a_robot_that_cannot_do_a_task_is_told_why(tmp_path: Path) -> None:
    with pytest.raises(EmbodiedError, match=r"'stack' is for so101 alone; reach, push, lift, place can be done"):
        task("stack", robot="koch")
    with pytest.raises(EmbodiedError, match=r"omx\.yaml does not say where tasks take place: give it area and start"):
        task("place", robot="omx")
    for robot in ("two_so101", "pusher"):
        with pytest.raises(
            EmbodiedError, match=rf"'place' is done by so101, koch, or .* YAML file .*; '{robot}' was given"
        ):
            task("place", robot=robot)
    with pytest.raises(EmbodiedError, match=r"'stack' is for so101 alone; .* arms, too, such as koch\."):
        task("stack", robot="pusher")
    own = write(tmp_path, FILE + "area: [[0.2, 0.3], [-0.1, 0.1]]\nstart: [[0.2, 0.3], [0, 0], [0.1, 0.1]]\n")
    with pytest.raises(
        EmbodiedError, match=r"arm\.yaml: the arm reaches no part of its area, x 0\.2 to 0\.3 m and y -0"
    ):
        task("place", robot=own)
    with pytest.raises(EmbodiedError, match=r"Unknown robot 'koh'\. Did you mean 'koch'\?"):
        task("place", robot="koh")
    with pytest.raises(EmbodiedError, match=r"Unknown geom of .*arm\.yaml 'pad'"):
        SceneConfig(robot=write(tmp_path, FILE + "jaws: [pad, pad]\n"))
