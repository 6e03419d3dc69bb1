"""Contracts: one function per Protocol, which the tests of every implementation run through."""

import numpy as np

from envs.errors import EmbodiedError
from envs.simulation import Simulation
from envs.types import Observation


def same(a: Observation, b: Observation) -> bool:
    """Whether two observations agree bit for bit."""
    pairs = [(a.proprioception, b.proprioception), (a.time, b.time)]
    names = ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world",
             "half_extents", "colour", "mass", "friction", "present", "confidence")  # fmt: skip
    pairs += [(getattr(a.objects, name), getattr(b.objects, name)) for name in names]
    return all(np.array_equal(x, y) for x, y in pairs)


def check_observation(observation: Observation, names: tuple[str, ...], worlds: int, joints: int = 6) -> None:
    """Shapes, units that can be checked, and zeros where nothing is."""
    objects, count = observation.objects, len(names)
    assert objects.names == names
    assert observation.proprioception.shape == (worlds, 3 * joints)
    assert observation.time.shape == (worlds,)
    for name, width in (("position", 3), ("quaternion", 4), ("linear_velocity", 3), ("angular_velocity", 3)):
        array = getattr(objects, f"{name}_in_world")
        assert array.shape == (worlds, count, width)
        assert np.isfinite(array).all()
    assert np.allclose(np.linalg.norm(objects.quaternion_in_world, axis=-1), 1.0)
    absent = ~objects.present
    for array in (objects.position_in_world, objects.half_extents, objects.colour, objects.mass, objects.confidence):
        assert not array[absent].any()
    assert (objects.quaternion_in_world[absent] == (1.0, 0.0, 0.0, 0.0)).all()


def pushing(worlds: int, steps: int = 18) -> np.ndarray:
    """Actions `[T N 5]` of an SO-101: down beside a cube at (0.22, 0.02) with closed jaws, then into it, with noise."""
    actions = np.random.default_rng(0).uniform(-0.15, 0.15, (steps, worlds, 5))
    actions[:, :, 2] = -0.7
    actions[:4, :, 1] = -0.35
    actions[4:, :, 1] = 0.3
    actions[..., 4] = -1.0
    return actions


def check_simulation(simulation: Simulation, actions: np.ndarray) -> None:
    """What every simulation promises; `actions` `[T N A]` should bring things into contact."""
    worlds = simulation.worlds
    names = simulation.scene.names
    start = simulation.save()
    joints = len(simulation.scene.joints)
    check_observation(simulation.observe(), names, worlds, joints)
    first = [simulation.step(action) for action in actions]
    for observation in first:
        check_observation(observation, names, worlds, joints)

    # An observation is a value: later steps do not write into it.
    kept = first[0].objects.position_in_world.copy()
    simulation.step(actions[0])
    assert np.array_equal(first[0].objects.position_in_world, kept)

    # Exact replay, of all worlds and of one.
    simulation.restore(start)
    assert all(same(simulation.step(action), expected) for action, expected in zip(actions, first, strict=True))
    simulation.restore(start)
    simulation.restore(start[0], [0])
    assert same(simulation.step(actions[0]), first[0])

    # Bad actions are refused before anything moves.
    simulation.restore(start)
    for bad in (np.full_like(actions[0], np.nan), np.full_like(actions[0], np.inf), actions[0][:, :-1]):
        try:
            simulation.step(bad)
        except EmbodiedError:
            pass
        else:
            raise AssertionError("a bad action was stepped")
    assert np.array_equal(simulation.save().rows, start.rows)
