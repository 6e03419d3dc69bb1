"""The contact model: its compiled twin, its symmetries, and what rests."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from slot_scenes import history, plan, shaken

from world_models.cjepa import contact_fast, motion_kernel
from world_models.cjepa.contact import ContactModel
from world_models.cjepa.contact_geometry import (
    FOOTING,
    GRAVITY,
    SUNK,
    TREADS,
    features,
    footing,
    lowest,
    most_upright,
    relation,
    turn,
)
from world_models.cjepa.edges import Neighbourhood, Scale, Sight
from world_models.cjepa.model import stacked
from world_models.cjepa.restraint import DEEP, SLACK, gyration, impetus
from world_models.embodiment.arm import Arm
from world_models.embodiment.joints import Effector, Joints
from world_models.slots.bodies import Bodies

PERIOD = 0.02
PATH = ("position", "rotation", "linear_velocity", "angular_velocity")


def contact(context: int = 0, rounds: int = 2) -> ContactModel:
    torch.manual_seed(0)
    return shaken(ContactModel(PERIOD, Arm.solids, context, width=16, hidden=24, rounds=rounds), 1)


def scene(seed: int, batch: int, absent: tuple[int, ...] = (), round_: bool = False) -> Bodies:
    """Cubes, or cubes and a cylinder, sliding near the hand."""
    bodies = history(seed, batch, absent).bodies[:, -1]
    if round_:
        radius = torch.zeros_like(bodies.radius)
        radius[:, 1] = bodies.half_extents[:, 1, 0]
        bodies = replace(bodies, radius=radius)
    return bodies


def sweep(seed: int, batch: int, steps: int) -> Effector:
    """The hand at the `steps` + 1 ends of short steps."""
    joints = plan(seed, batch, steps + 1)
    velocity = torch.diff(joints, dim=1, append=joints[:, -1:]) / PERIOD
    return Arm(PERIOD).effector(Joints(joints, velocity, joints))


def same(a: object, b: object, tolerance: float, names: tuple[str, ...] = PATH, relative: float = 0.0) -> None:
    for name in names:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=relative, atol=tolerance)


@pytest.mark.parametrize("between_bodies", [True, False])
def test_compiled_edges_equal_their_slow_twin(between_bodies: bool) -> None:
    bodies, hand = scene(8, 32, absent=(2,), round_=True), sweep(8, 32, 1)
    model = contact()
    now, after = hand[:, 0], hand[:, 1]
    fast, slow = (
        Neighbourhood(bodies, now, after, Scale(PERIOD), between_bodies=between_bodies, sparse=sparse)
        for sparse in (True, False)
    )
    listed = (slow.edges.weight > 0) & (slow.moves[slow.edges.receiver] > 0)
    assert torch.equal(fast.edges.sender, slow.edges.sender[listed])
    assert torch.equal(fast.awake[fast.edges.receiver], slow.edges.receiver[listed])
    assert torch.equal(fast.awake, slow.moves.nonzero()[:, 0])
    everyone = Bodies(**{f.name: getattr(bodies, f.name).flatten(0, 1) for f in fields(Bodies)})
    moved = model._moved(everyone, 0.4 * torch.randn(96, 12, generator=torch.Generator().manual_seed(0)))
    sight = fast.see(moved.position[fast.awake], moved.rotation[fast.awake])
    # Those asleep stay where they are in both.
    awake = slow.moves[:, None] > 0
    position = torch.where(awake, moved.position, everyone.position)
    expected = slow.see(position, torch.where(awake[..., None], moved.rotation, everyone.rotation))
    for f in fields(Sight):
        torch.testing.assert_close(getattr(sight, f.name), getattr(expected, f.name)[listed], rtol=1e-5, atol=3e-5)
    assert (sight.weight > 0).sum() > 16


@pytest.mark.parametrize("raised", [-2e-4, 0.0, 2e-4])
def test_a_wedge_undoes_the_overlap_of_an_edge(raised: float) -> None:
    half, small = torch.tensor([[0.02, 0.03, 0.02]]), torch.tensor([[0.01, 0.01, 0.02]])
    flat = torch.eye(3).flatten()[None]
    own, none = torch.cat([torch.zeros(1, 3), flat], 1), torch.zeros(1)

    def wedges_of(other: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        pair, earlier = relation(own, half, other, small), relation(own, half, before, small)
        upright = most_upright(own, other)
        return features(*pair, half, small, none, none, upright, (earlier[0], earlier[1][0]))[1][0]

    for gap in (-0.001, 0.001):
        # Side by side on a table, which they press in alike but for a hair, off the middle of the receiver's +x side.
        other = torch.cat([torch.tensor([[0.03 + gap, 0.015, raised]]), flat], 1)
        # It came from half a millimetre further along y.
        overlap, slip = wedges_of(other, other + 5e-4 * torch.eye(12)[1]).split(6)
        if gap > 0:
            assert not overlap.any()
            assert not slip.any()
            continue
        # Pushed out along -x, and turned about z by the lever of the edge that is further off.
        torch.testing.assert_close(overlap[:2, :3], torch.tensor([gap, 0.0, 0.0]).expand(2, 3), rtol=0, atol=2e-5)
        assert overlap[:, 5].max() > 0.05
        # Dragged along -y, and turned by the distance to the side that it is dragged at.
        torch.testing.assert_close(slip[:2, :3], torch.tensor([0.0, -5e-4, 0.0]).expand(2, 3), rtol=0, atol=2e-5)
        assert (slip[:2, 5] < -0.0125).all()
        # From 2 mm away it is dragged no further than it is pushed.
        far = wedges_of(other, other + 0.002 * torch.eye(12)[1])[6:]
        torch.testing.assert_close(far[:2, :3], torch.tensor([0.0, gap, 0.0]).expand(2, 3), rtol=0, atol=2e-5)
        assert not overlap[2:].any()
        assert not slip[2:].any()
    # On top of it, heights count.
    above = torch.cat([torch.tensor([[0.0, 0.0, 0.04 - 0.0005]]), flat], 1)
    torch.testing.assert_close(wedges_of(above, above)[0, :3], torch.tensor([0.0, 0.0, -0.0005]), rtol=0, atol=2e-5)


def test_what_a_round_body_turns_on_its_axis_drags_at_its_rim() -> None:
    half, rod = torch.tensor([[0.02, 0.03, 0.02]]), torch.tensor([[0.0, 0.0, 0.02]])
    flat = torch.eye(3).flatten()[None]
    own, radius, none = torch.cat([torch.zeros(1, 3), flat], 1), torch.tensor([0.01]), torch.zeros(1)
    other = torch.cat([torch.tensor([[0.0295, 0.0, 0.0]]), flat], 1)
    spun = torch.cat([other[:, :3], turn(torch.tensor([[0.0, 0.0, -0.02]])).reshape(1, 9)], 1)
    pair, earlier = relation(own, half, other, rod), relation(own, half, spun, rod)
    before = (earlier[0], earlier[1][0])
    wedges = features(*pair, half, rod, radius, none, most_upright(own, other), before)[1][0]
    # Its rim at -x has come down by a fiftieth of its radius.
    torch.testing.assert_close(wedges[6, :3], torch.tensor([0.0, -2e-4, 0.0]), rtol=0, atol=2e-5)


def test_feet_that_sink_are_lifted_and_held() -> None:
    core, sunk = torch.tensor([[0.01, 0.02, 0.015]]), 5e-4
    flat = torch.cat([torch.tensor([[0.1, 0.2, 0.015 - sunk]]), torch.eye(3).flatten()[None]], 1)
    before = flat - 2e-4 * torch.eye(12)[:1]
    seen, treads = footing(before, flat, core, torch.zeros(1))
    torch.testing.assert_close(seen[0], torch.tensor([-sunk / 0.02] * 4 + [-sunk / 0.002] * 4))
    push, drag = treads[0].split(4)
    torch.testing.assert_close(push[:, :3], torch.tensor([0.0, 0.0, sunk]).expand(4, 3), rtol=0, atol=1e-8)
    torch.testing.assert_close(drag[:, :3], torch.tensor([-2e-4, 0.0, 0.0]).expand(4, 3), rtol=0, atol=1e-8)
    # Together they neither tip nor turn it, but for the drag below its middle, that tips its head along the way.
    torch.testing.assert_close(push.sum(0)[3:], torch.zeros(3), rtol=0, atol=1e-6)
    assert drag.sum(0)[4] > 0.01
    # Tilted about y, the lower edge alone is pushed, and turned back.
    axes = turn(torch.tensor([[0.0, 0.2, 0.0]]))
    low = (axes[0, 2].abs() * core[0]).sum() - sunk
    tilted = torch.cat([torch.tensor([[0.0, 0.0, low]]), axes.flatten(1)], 1)
    _, treads = footing(tilted, tilted, core, torch.zeros(1))
    pushed = treads[0, :4].norm(dim=1) > 0
    assert pushed.sum() == 2
    assert (treads[0, :4][pushed, 4] < -0.01).all()
    # However deep it is, it is not flung up.
    _, treads = footing(flat - 0.1 * torch.eye(12)[2], flat - 0.1 * torch.eye(12)[2], core, torch.zeros(1))
    torch.testing.assert_close(treads[0, :4, 2], torch.full((4,), SUNK))


def test_compiled_feet_equal_their_slow_twin() -> None:
    chance = torch.Generator().manual_seed(0)
    position = 0.02 * torch.randn(300, 3, generator=chance)
    position[:, 2] = 0.005 + 0.02 * torch.rand(300, generator=chance)
    rotation = turn(torch.randn(300, 3, generator=chance))
    state = torch.cat([position, rotation.flatten(1), torch.zeros(300, 6)], 1)
    core, radius = 0.01 + 0.01 * torch.rand(300, 3, generator=chance), torch.zeros(300)
    core[:100, :2], radius[:100] = 0.0, 0.012
    fixed = torch.cat([core, core, radius[:, None], torch.zeros(300, 3)], 1)
    delta, every, scale = torch.randn(300, 12, generator=chance), np.arange(300), Scale(0.02)
    after, seen, treads = torch.zeros(300, 12), torch.zeros(300, FOOTING), torch.zeros(300, TREADS, 6)
    motion_kernel.tentative(
        state.numpy(), fixed.numpy(), every, every, delta.numpy(), scale.shift, scale.turn, after.numpy(), seen.numpy(),
        treads.numpy(),
    )  # fmt: skip
    units = torch.tensor([scale.shift] * 3 + [scale.turn] * 3)
    slow_seen, slow_treads = footing(state[:, :12], after, core, radius)
    torch.testing.assert_close(seen, slow_seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(treads, slow_treads / units, rtol=1e-4, atol=1e-4)
    assert 0.1 < (treads != 0).float().mean() < 0.9


@pytest.mark.parametrize(("width", "rounds"), [(0, 1), (8, 2)])
def test_compiled_steps_and_gradients_equal_automatic_ones(width: int, rounds: int) -> None:
    model, hand, bodies = contact(width, rounds), sweep(9, 16, 4), scene(9, 16, absent=(0,), round_=True)
    said = torch.randn(16, 2, 3, width, generator=torch.Generator().manual_seed(2)) if width else None
    paths, gradients = [], []
    for fast in (True, False):
        start = replace(bodies, **{name: getattr(bodies, name).clone().requires_grad_() for name in PATH})
        context = None if said is None else said.clone().requires_grad_()
        if fast:
            path = contact_fast.follow(model, start, hand, context, 2)
        else:
            steps, body = [], start
            for step in range(4):
                embedding = None if context is None else context[:, step // 2]
                body = model(body, hand[:, step], hand[:, step + 1], embedding)
                steps.append(body)
            path = stacked(steps)
        weights = torch.Generator().manual_seed(3)
        loss = sum((getattr(path, name) * torch.randn(getattr(path, name).shape, generator=weights)).sum()
                   for name in PATH)  # fmt: skip
        model.zero_grad()
        loss.backward()
        inputs = [getattr(start, name) for name in PATH] + ([] if context is None else [context])
        gradients.append([p.grad for p in (*model.parameters(), *inputs)])
        paths.append(path)
    # An overlap is a difference of large numbers, and weights here are ten times a trained model's.
    same(*paths, 3e-4, relative=1e-3)
    assert (paths[0].position[:, -1] - bodies.position).abs().max() > 1e-3
    for quick, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_nothing_gains_energy_from_nowhere_or_sinks_through_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    model, bodies = contact(), scene(9, 32, round_=True)
    still = sweep(9, 32, 1)[:, 0]
    still = replace(still, linear_velocity=torch.zeros_like(still.linear_velocity))

    def energy(path: Bodies) -> torch.Tensor:
        speed = impetus(path.linear_velocity, path.angular_velocity, gyration(path.core, path.radius))
        return (0.5 * speed.square() + GRAVITY * path.position[..., 2]).sum(-1)

    before, tame, wild, fallen = bodies, bodies, bodies, False
    for _ in range(10):
        tame, before = model(tame, still, still), tame
        with monkeypatch.context() as free:
            free.setattr("world_models.cjepa.contact.restrained", lambda own, around, delta, units: delta)
            wild = model(wild, still, still)
        fastest = impetus(before.linear_velocity, before.angular_velocity, gyration(before.core, before.radius)).amax(1)
        height = (before.position[..., 2] - tame.position[..., 2]).clamp(min=0).amax(1)
        most = ((fastest + SLACK).square() + 2 * GRAVITY * height).sqrt() + 1e-4
        speed = impetus(tame.linear_velocity, tame.angular_velocity, gyration(tame.core, tame.radius)).amax(1)
        assert (speed <= most).all()
        assert (lowest(tame) > -DEEP - 1e-5).all()
        fallen |= bool((lowest(wild) < -DEEP).any())
    assert fallen
    assert (energy(wild) > 2 * energy(tame)).any()


def test_all_pairs_give_what_near_pairs_give() -> None:
    bodies, hand, model = scene(9, 16, absent=(0,)), sweep(9, 16, 1), contact()
    sparse, dense = (model(bodies, hand[:, 0], hand[:, 1], sparse=sparse) for sparse in (True, False))
    same(sparse, dense, 1e-4, relative=1e-4)


def test_turning_the_scene_turns_the_contact_model() -> None:
    model, bodies, hand = contact(), scene(7, 16, round_=True), sweep(7, 16, 1)
    matrix = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.7, 0], [0.7, 0, 0], [0, 0, 0]]))

    def turned(thing: object) -> object:
        vectors = ("position", "linear_velocity", "angular_velocity")
        values = {name: getattr(thing, name) @ matrix.mT for name in vectors if hasattr(thing, name)}
        return replace(thing, rotation=matrix @ thing.rotation, **values)  # type: ignore[attr-defined, type-var]

    said = model(bodies, hand[:, 0], hand[:, 1])
    other = model(turned(bodies), turned(hand[:, 0]), turned(hand[:, 1]))
    same(turned(said), other, 1e-4, relative=1e-4)
    assert (said.linear_velocity - bodies.linear_velocity).abs().max() > 1e-3


def test_what_rests_among_resting_things_stays_to_the_bit() -> None:
    bodies, hand = scene(5, 8), sweep(5, 8, 1)
    rest = torch.zeros_like(bodies.linear_velocity)
    bodies = replace(bodies, linear_velocity=rest, angular_velocity=rest)
    still = replace(hand[:, 0], linear_velocity=torch.zeros_like(hand.linear_velocity[:, 0]))
    said = contact_fast.follow(contact(), bodies, _twice(still), None, 1)
    assert torch.equal(said.position[:, 0], bodies.position)
    stirred = contact_fast.follow(contact(), bodies, sweep(5, 8, 1), None, 1)
    assert not torch.equal(stirred.position[:, 0], bodies.position)


def _twice(effector: Effector) -> Effector:
    return Effector(**{f.name: torch.stack([getattr(effector, f.name)] * 2, 1) for f in fields(Effector)})
