"""Whether the simulated world is honest: grasps hold, solids stay apart, no energy comes from nowhere.

What slips in 10 s, how deep solids sink into each other, what a thrown thing gains, and how servos answer a step beside
the published ones. That success does not depend on the time step, `embodied bench experts part=place_half_step` says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from embodied.evaluation.statistics import wilson
from envs.experts import expert
from envs.geometry import quat_conjugate, quat_rotate
from envs.physics import Physics
from envs.scene import SceneConfig, build_scene
from envs.servo import SERVOS, Servo
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.types import Array
from envs.worlds import TaskWorlds

PARTS = ("hold", "energy", "depth", "servo")
SEEDS = 5
HOLD = 10.0
"""[s]."""
SHAPES = ("red_cube", "white_cylinder", "yellow_ball", "orange_capsule", "green_bar", "blue_rod", "red_peg")
IDENTIFIED = {"lerobot": 16, "open_duck": 32}
"""Servo sets that BAM's identified model describes, and their firmware gain P."""
LOAD = 1.5 * 9.81 * 0.1
"""[N m] 1.5 kg at 10 cm, under which an STS3215 was measured to be off by 1.8 to 2.6 degrees (SO-ARM100, issue 134)."""
STEP_SECONDS = 1.0


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Raw values of one part, in SI units."""
    random = np.random.default_rng(seed)
    if part == "hold":
        simulation, slips = hold(4 if quick else 32, seed)
        return {"slips": slips, "depth": deepest(simulation)}
    if part == "energy":
        throws = [throw(shape, random) for shape in SHAPES[: 2 if quick else None] for _ in range(1 if quick else 4)]
        return {"flight": [each[0] for each in throws], "start": [each[1] for each in throws]}
    if part == "depth":
        piles = TaskWorlds(TASKS["clutter"], 4 if quick else 32, seed=seed).simulation
        return {"pile": deepest(piles), "pressed": deepest(pressed(float(random.uniform(-0.005, 0.005))))}
    steps = random.uniform(0.2, 1.5, 2 if quick else 8)
    return {"servos": {name: _answers(name, servo, steps) for name, servo in SERVOS.items()}}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """The worst over all seeds where a limit is kept, else the mean over seeds."""
    figures: dict[str, Figure] = {}
    if runs := samples.get("hold", ()):
        slips = [slip for run in runs for slip in run["slips"]]
        kept = [1e3 * slip for slip in slips if slip is not None]
        rate, count = wilson(len(kept), len(slips)), len(runs)
        figures["held_10s"] = figure(100.0 * rate.value, "%", count, (100.0 * rate.low, 100.0 * rate.high))
        if kept:
            figures["slip_10s_median"] = figure(float(np.median(kept)), "mm", count)
            figures["slip_10s_largest"] = figure(max(kept), "mm", count)
        figures["depth_held"] = figure(1e3 * max(run["depth"] for run in runs), "mm", count)
    if runs := samples.get("depth", ()):
        for key in ("pile", "pressed"):
            figures[f"depth_{key}"] = figure(1e3 * max(run[key] for run in runs), "mm", len(runs))
    if runs := samples.get("energy", ()):
        for key in ("flight", "start"):
            largest = max(gain for run in runs for gain in run[key])
            figures[f"energy_gain_over_{key}"] = figure(100.0 * largest, "%", len(runs))
    if runs := samples.get("servo", ()):
        for name in SERVOS:
            for key, factor, unit in (("rise", 1e3, "ms"), ("published_rise", 1e3, "ms"), ("off", 1e3, "mrad"),
                                      ("speed", 1.0, "rad/s"), ("load", float(np.rad2deg(1.0)), "degree")):  # fmt: skip
                values = [factor * run["servos"][name][key] for run in runs if key in run["servos"][name]]
                if values:
                    figures[f"servo_{name}_{key}"] = over_seeds(values, unit)
    return figures


def hold(worlds: int, seed: int) -> tuple[Simulation, list[float | None]]:
    """Cubes that the expert of `lift` holds for 10 s, and how far each slipped [m]; None for one that fell."""
    lifted, law = TaskWorlds(TASKS["lift"], worlds, seed=seed), expert("lift")
    for _ in range(30):
        lifted.step(law.act(lifted.observation, lifted.task.goal))
    simulation = lifted.simulation
    before = _in_hand(simulation)
    simulation.run(simulation.joint_target, round(HOLD / simulation.scene.model.opt.timestep))
    cube = simulation.scene.index("red_cube")
    up = simulation.observe().objects.position_in_world[:, cube, 2] > 0.04
    slips = np.linalg.norm(_in_hand(simulation) - before, axis=-1)
    return simulation, [slip if still else None for slip, still in zip(slips.tolist(), up.tolist(), strict=True)]


def pressed(aside: float = 0.0) -> Simulation:
    """A cube, its middle off by `aside` [m], under closed jaws that go on down into it."""
    simulation = Simulation(build_scene(SceneConfig()), 1)
    k = simulation.scene.index("red_cube")
    tool = simulation.observe().objects.position_in_world[0, simulation.scene.index("moving_jaw")]
    simulation.rows.put(np.array([0]), k, np.array([[tool[0] - 0.02, tool[1] + aside, 0.014]]))
    for _ in range(25):
        simulation.step(np.array([[0.0, 0.0, -0.3, 0.0, -1.0]]))
    return simulation


def deepest(simulation: Simulation) -> float:
    """How deep anything is in anything else, in all worlds [m]."""
    depth = 0.0
    for world in range(simulation.worlds):
        data = simulation.data(world)
        mujoco.mj_forward(simulation.scene.model, data)
        # Of cylinders, what is collided is smaller than what is seen by the margin.
        margins = simulation.scene.model.geom_margin
        gaps = [contact.dist - margins[contact.geom].sum() for contact in data.contact]
        depth = max(depth, -min(gaps, default=0.0))
    return float(depth)


def throw(name: str, random: np.random.Generator) -> tuple[float, float]:
    """Energy that a thing gains which is thrown, tumbles and bounces, as shares of what it had.

    From one instant of flight to the next one, contacts between them included, and over what it began with, at any
    instant; the largest of either. Contacts are springs as well, which give back what they took: what counts is how it
    flies between them.
    """
    scene = build_scene(SceneConfig(objects=(name,)))
    simulation = Simulation(scene, 1, threads=1)
    k, ids = scene.index(name), np.array([0])
    turned = random.normal(size=(1, 4))
    turned /= np.linalg.norm(turned)
    simulation.rows.put(ids, k, np.array([[0.30, 0.10, 0.12]]), turned)
    simulation.rows.set_velocity(ids, k, random.uniform(-0.3, 0.3, (1, 3)), random.uniform(-3.0, 3.0, (1, 3)), turned)
    body, dof = scene.body[k], slice(scene.dof[k], scene.dof[k] + 6)
    mass, inertia = scene.model.body_mass[body], scene.model.body_inertia[body]
    energy, free = [], []
    for _ in range(300):
        data = simulation.data(0)
        mujoco.mj_forward(scene.model, data)
        free.append(not data.ncon)
        velocity, height = data.qvel[dof], data.qpos[scene.qpos[k] + 2]
        spin = np.zeros(3)
        mujoco.mju_rotVecQuat(spin, velocity[3:], scene.model.body_iquat[body] * (1.0, -1.0, -1.0, -1.0))
        energy.append(0.5 * mass * velocity[:3] @ velocity[:3] + 0.5 * spin @ (inertia * spin) + 9.81 * mass * height)
        simulation.run(simulation.joint_target)
    flying = np.array(energy)[free]
    return float(np.diff(flying).max() / energy[0]), float(max(energy) / energy[0] - 1.0)


def answer(servo: Servo, step: float, torque: float = 0.0) -> Array:
    """`[T]` [rad] where a joint alone is that is told to go from 0 to `step`, with a load of `torque` [N m]."""
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="horn")
    body.add_joint(name="joint", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0.0, 0.0, 1.0), range=(-1e3, 1e3))
    body.mass, body.inertia, body.explicitinertial = 1e-3, (1e-6, 1e-6, 1e-6), True
    physics = Physics()
    physics.apply(spec)
    servo.apply(spec, "joint", physics.timestep)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.ctrl[0], data.qfrc_applied[0] = step, torque
    position = []
    for _ in range(round(STEP_SECONDS / physics.timestep)):
        mujoco.mj_step(model, data)
        position.append(float(data.qpos[0]))
    return np.array(position)


def published(gain: int, step: float) -> Array:
    """`[T]` [rad] the same of the STS3215 at 7.4 V as BAM (Rhoban) identified it on a bench, by its voltage.

    duty = 0.166 P error, at most 0.97; torque = kt / R (7.4 V duty - kt dq) - viscous - Coulomb. In steps of 20 us.
    """
    kt, resistance, armature, coulomb, viscous = 1.2116, 2.676, 0.0284, 0.0524, 0.0591
    fine = 2e-5
    q, dq, position = 0.0, 0.0, []
    for index in range(1, round(STEP_SECONDS / fine) + 1):
        volts = 7.4 * min(max(0.166 * gain * (step - q), -0.97), 0.97)
        drive = kt / resistance * (volts - kt * dq) - viscous * dq
        moved = dq + fine / armature * drive
        slowed = fine / armature * coulomb
        dq = 0.0 if abs(moved) < slowed else moved - slowed * (1.0 if moved > 0.0 else -1.0)
        q += fine * dq
        if not index % round(Physics().timestep / fine):
            position.append(q)
    return np.array(position)


def rise(position: Array, step: float) -> float:
    """[s] from 10 % to 90 % of the step, by straight lines between samples."""
    time = Physics().timestep * np.arange(len(position) + 1)
    way = np.maximum.accumulate(np.concatenate([[0.0], position])) / step
    return float(np.interp(0.9, way, time) - np.interp(0.1, way, time))


def _answers(name: str, servo: Servo, steps: Array) -> dict[str, float]:
    own = [answer(servo, step) for step in steps]
    found = {
        "rise": float(np.mean([rise(each, step) for each, step in zip(own, steps, strict=True)])),
        # So far away that the torque's limit holds throughout.
        "speed": float(np.diff(answer(servo, 100.0)).max() / Physics().timestep),
        "load": float(abs(answer(servo, 0.0, LOAD)[-1])),
    }
    if name in IDENTIFIED:
        theirs = [published(IDENTIFIED[name], step) for step in steps]
        found["published_rise"] = float(np.mean([rise(each, step) for each, step in zip(theirs, steps, strict=True)]))
        found["off"] = float(np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(own, theirs, strict=True)]))
    return found


def _in_hand(simulation: Simulation) -> Array:
    """`[N 3]` the cube in the gripper's frame [m]."""
    objects = simulation.observe().objects
    hand, cube = objects.index("gripper"), objects.index("red_cube")
    apart = objects.position_in_world[:, cube] - objects.position_in_world[:, hand]
    return np.asarray(quat_rotate(quat_conjugate(objects.quaternion_in_world[:, hand]), apart))
