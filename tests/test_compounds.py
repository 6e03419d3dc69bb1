"""Objects of several solids: compiled, stretched, weighed, edited, drawn and kept apart like any other."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

import envs.objects
from envs.cameras import CameraConfig, Cameras
from envs.compound import principal, spread
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.interventions import Intervention
from envs.layout import Layout
from envs.objects import CATALOGUE, COMPOUNDS, object_type
from envs.parameters import Parameters
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import Array, Kind

ONE = np.arange(1)


def scene_of(*names: str) -> Simulation:
    return Simulation(build_scene(SceneConfig(objects=names)), 1, threads=1)


def put(simulation: Simulation, name: str, *place: float, quaternion: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)) -> None:
    simulation.rows.put(ONE, simulation.scene.index(name), np.array([place]), np.array([quaternion]))


@pytest.mark.parametrize("name", COMPOUNDS)
def test_mass_is_spread_as_mujoco_spreads_it(name: str) -> None:
    """Over the same solids, of one density."""
    what = object_type(name)
    half = np.array(what.half_extents) * (1.3, 1.3, 0.8)
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    for solid in what.solids:
        x, y, z = half * solid.half
        round_ = solid.kind == Kind.CYLINDER
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER if round_ else mujoco.mjtGeom.mjGEOM_BOX, density=500.0,
                      size=(x, z, 0.0) if round_ else (x, y, z), pos=half * solid.centre)  # fmt: skip
    compiled = spec.compile()
    centre, inertia = spread(what.pieces, half)
    np.testing.assert_allclose(centre, compiled.body_ipos[1], atol=1e-12)
    moments, axes = principal(compiled.body_mass[1] * inertia)
    np.testing.assert_allclose(moments, compiled.body_inertia[1], rtol=1e-9)
    np.testing.assert_allclose(axes @ np.diag(moments) @ axes.T, compiled.body_mass[1] * inertia, atol=1e-15)
    assert np.linalg.det(axes) == pytest.approx(1.0)


@pytest.mark.parametrize("name", COMPOUNDS)
def test_its_box_is_around_its_pieces(name: str) -> None:
    pieces = object_type(name).pieces
    high = np.max([np.add(piece.centre, piece.half) for piece in pieces], axis=0)
    low = np.min([np.subtract(piece.centre, piece.half) for piece in pieces], axis=0)
    np.testing.assert_allclose([high, -low], np.ones((2, 3)), atol=1e-12)


@pytest.fixture
def larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue with a second L, compiled larger."""
    first = COMPOUNDS["green_l"]
    sides = tuple(side * factor for side, factor in zip(first.half_extents, STRETCH, strict=True))
    other = replace(first, half_extents=(sides[0], sides[1], sides[2]))
    monkeypatch.setattr(envs.objects, "CATALOGUE", {**CATALOGUE, "large_l": other})


STRETCH = (1.6, 1.2, 1.4)


def dropped(simulation: Simulation, name: str, truth: Parameters | None = None) -> Array:
    """Where it lies after falling onto a cube and down."""
    if truth is not None:
        simulation.fields.write(ONE, truth)
    put(simulation, "red_cube", 0.2, 0.0, 0.014)
    put(simulation, name, 0.215, 0.02, 0.08, quaternion=(0.92, 0.2, 0.3, 0.16))
    simulation.settle(duration=0.6)
    return np.asarray(simulation.data(0).joint(name).qpos)


@pytest.mark.usefixtures("larger")
def test_a_stretched_compound_moves_like_one_compiled_so() -> None:
    """Through falling, turning, hitting and resting: sizes, places, masses and axes of inertia are all right."""
    compiled = dropped(scene_of("red_cube", "large_l"), "large_l")
    edited = scene_of("red_cube", "green_l")
    truth = Parameters.nominal(edited.scene, 1)
    truth.half_extents[:, 1] *= STRETCH
    np.testing.assert_allclose(dropped(edited, "green_l", truth), compiled, atol=1e-7)
    assert np.abs(dropped(scene_of("red_cube", "green_l"), "green_l") - compiled).max() > 1e-3


def test_back_at_its_size_every_bit_is_back() -> None:
    simulation = scene_of("green_l")
    compiled = simulation.scene.model
    nominal = Parameters.nominal(simulation.scene, 1)
    changed = replace(nominal, half_extents=1.2 * nominal.half_extents, mass=2.0 * nominal.mass)
    simulation.fields.write(ONE, changed)
    assert not np.array_equal(simulation.model(0).geom_pos, compiled.geom_pos)
    simulation.fields.write(ONE, nominal)
    for name in ("geom_pos", "geom_size", "geom_rbound", "body_ipos", "body_iquat", "body_inertia", "body_mass"):
        np.testing.assert_array_equal(getattr(simulation.model(0), name), getattr(compiled, name), err_msg=name)


def test_edits_act_on_it_and_refuse_what_they_cannot_do() -> None:
    simulation = scene_of("green_l", "orange_pawn")
    put(simulation, "green_l", 0.2, 0.1, 0.010)
    put(simulation, "orange_pawn", 0.2, -0.1, 0.020)
    simulation.do(Intervention.parse("size(green_l, x=0.06)"))
    simulation.do(Intervention.parse("mass(green_l, 0.1)"))
    simulation.do(Intervention.parse("move(green_l, yaw=+0.5)"))
    state = simulation.observe().objects
    k = state.index("green_l")
    np.testing.assert_allclose(state.half_extents[0, k], (0.03, 0.024, 0.010), atol=1e-12)
    assert simulation.model(0).body("green_l").mass[0] == pytest.approx(0.1)
    before = simulation.save().rows
    with pytest.raises(EmbodiedError, match=r"orange_pawn must grow alike in x and y: it has round pieces"):
        simulation.do(Intervention.parse("size(orange_pawn, x=0.06)"))
    with pytest.raises(EmbodiedError, match=r"orange_pawn makes a round piece thinner than 0\.01 m"):
        simulation.do(Intervention.parse("size(orange_pawn, 0.012)"))
    np.testing.assert_array_equal(simulation.save().rows, before)
    simulation.do(Intervention.parse("remove(green_l)"))
    assert not simulation.observe().objects.present[0, k]


def test_it_is_hollow_where_it_has_no_piece() -> None:
    """A ball lies in a mug, and a cube in the corner of an L; neither layout overlaps."""
    simulation = scene_of("white_mug", "small_red_ball")
    where = np.array([[[0.2, 0.0, 0.020], [0.2 - 0.0075, 0.0, 0.016]]])
    turned = np.tile((1.0, 0.0, 0.0, 0.0), (1, 2, 1))
    home = np.array([simulation.scene.model.key("home").ctrl])
    simulation.reset(Layout(home, where, turned))
    simulation.settle(duration=0.5)
    state = simulation.observe().objects
    ball = state.position_in_world[0, state.index("small_red_ball")]
    np.testing.assert_allclose(ball, (0.1925, 0.0, 0.014), atol=3e-3)
    assert Goal.parse("in(small_red_ball, white_mug)").satisfied(state).all()
    with pytest.raises(EmbodiedError, match="white_mug and small_red_ball overlap"):
        simulation.reset(Layout(home, np.array([[[0.2, 0.0, 0.020], [0.2 + 0.0085, 0.0, 0.016]]]), turned))


def test_pictures_and_masks_show_its_pieces() -> None:
    simulation = scene_of("green_l")
    put(simulation, "green_l", 0.22, 0.14, 0.010)
    k, table = simulation.scene.index("green_l"), simulation.scene.index("table")
    masks = Cameras(simulation.scene, [CameraConfig("top", 240, 240)]).frames(simulation)["top"].entity[0]
    rows, columns = np.nonzero(masks == k)
    top, bottom, left, right = rows.min() + 2, rows.max() - 2, columns.min() + 2, columns.max() - 2
    # Three of its corners are L, in the fourth the table shows.
    shown = [int(masks[a, b]) for a in (top, bottom) for b in (left, right)]
    assert sorted(shown) == sorted([k, k, k, table])
