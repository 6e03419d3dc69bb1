"""What-if scores: identities every score must obey, and the suite's exactness against the simulator."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.evaluation.branches import exact, histories, plans, settle, simulate, unedited
from embodied.evaluation.contexts import Contexts, choose
from embodied.evaluation.effects import Branches, Cases, copy_factual, influenced, persistence, rotation_angle
from embodied.evaluation.questions import Question
from embodied.evaluation.scoring import Scores, gain, score
from embodied.evaluation.strata import shares
from embodied.evaluation.suite import MODEL, WhatIfs, ask, judge
from embodied.report import gallery
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.interventions import Intervention
from envs.kinematics import project
from envs.scene import SceneConfig, build_scene
from envs.simulation import Layout, Simulation
from envs.types import Array, Episode, ObjectState, Observation, Rollout

KINDS = ("move", "remove", "hold")


def synthetic(contexts: int = 40, horizon: int = 6) -> Cases:
    """One case of each kind per context, three objects; the first is edited by object edits, a third feels it."""
    generator = np.random.default_rng(0)
    cases = contexts * len(KINDS)
    steps = np.linspace(0, 1, horizon + 1)[None, :, None, None]
    factual = generator.normal(scale=0.1, size=(cases, 1, 3, 3)) + steps * generator.normal(
        scale=0.02, size=(cases, 1, 3, 3)
    )
    felt = generator.random((cases, 1, 3, 1)) < 1 / 3
    effect = steps * felt * generator.normal(scale=0.03, size=(cases, 1, 3, 3))
    turn = np.zeros((cases, horizon + 1, 3, 4))
    turn[..., 0] = 1
    kind = KINDS * contexts
    scored = np.ones((cases, 3), bool)
    scored[[k != "hold" for k in kind], 0] = False
    truth = Branches(factual, turn, factual + effect, turn)
    return Cases(np.repeat(np.arange(contexts), len(KINDS)), kind, scored, truth)


def scores(cases: Cases, model: Branches) -> Scores:
    return score(cases, model, np.random.default_rng(0), resamples=50)


def test_the_truth_scores_one_and_copy_factual_nothing() -> None:
    cases = synthetic()
    perfect, copied = scores(cases, cases.truth), scores(cases, copy_factual(cases.truth))
    for kind in (*KINDS, "spillover"):
        assert perfect.skill[kind].value == pytest.approx(1)
        assert copied.skill[kind].value == pytest.approx(0)
    assert perfect.influence_auroc.value == 1
    assert copied.influence_auroc.value == pytest.approx(0.5)
    assert copied.influence_precision.value == pytest.approx(shares(cases)["edge"])
    assert copied.factual_ade.value == 0
    assert copied.counterfactual_fde.value > 0.002
    assert scores(cases, persistence(cases.truth)).skill["action"].value == pytest.approx(0)


def test_skill_is_the_written_formula() -> None:
    cases = synthetic()
    truth = cases.truth
    model = Branches(
        truth.factual_position,
        truth.factual_quaternion,
        truth.factual_position + 0.5 * truth.effect,
        truth.counterfactual_quaternion,
    )
    assert scores(cases, model).skill["spillover"].value == pytest.approx(0.75)  # 1 - 0.5**2
    overshoot = Branches(
        truth.factual_position,
        truth.factual_quaternion,
        truth.factual_position + 3 * truth.effect,
        truth.counterfactual_quaternion,
    )
    assert scores(cases, overshoot).skill["spillover"].value == pytest.approx(-3)  # 1 - 2**2


def test_edited_objects_never_count() -> None:
    cases = synthetic()
    truth = cases.truth
    wrong = np.array(truth.counterfactual_position)
    wrong[[kind != "hold" for kind in cases.kind], :, 0] += 5.0
    model = Branches(truth.factual_position, truth.factual_quaternion, wrong, truth.counterfactual_quaternion)
    assert scores(cases, model).skill["spillover"].value == pytest.approx(1)
    assert scores(cases, model).counterfactual_fde.value == 0


def test_an_error_shared_by_both_branches_leaves_the_effect_alone() -> None:
    cases = synthetic()
    truth = cases.truth
    shifted = Branches(
        truth.factual_position + 0.01,
        truth.factual_quaternion,
        truth.counterfactual_position + 0.01,
        truth.counterfactual_quaternion,
    )
    result = scores(cases, shifted)
    assert result.skill["spillover"].value == pytest.approx(1)
    assert result.factual_fde.value == pytest.approx(0.01 * np.sqrt(3))


def test_false_influence_is_what_the_untouched_seem_to_feel() -> None:
    cases = synthetic()
    truth = cases.truth
    still = (influenced(truth) == 0)[:, None, :, None]
    position = truth.counterfactual_position + still * np.array([0.003, 0.004, 0.0])
    model = Branches(truth.factual_position, truth.factual_quaternion, position, truth.counterfactual_quaternion)
    assert scores(cases, model).false_influence.value == pytest.approx(0.005)
    assert scores(cases, model).missed_influence.value == pytest.approx(0)


def test_rotation_angle_knows_double_cover_and_small_angles() -> None:
    half = 0.5e-9
    a, b = np.array([1.0, 0, 0, 0]), np.array([np.cos(half), 0, 0, np.sin(half)])
    assert rotation_angle(a, b) == pytest.approx(1e-9, rel=1e-6)
    assert rotation_angle(a, -b) == pytest.approx(1e-9, rel=1e-6)
    assert rotation_angle(a, np.array([0.0, 1, 0, 0])) == pytest.approx(np.pi)


def test_scores_survive_json_and_refuse_nonsense() -> None:
    cases = synthetic(contexts=5)
    result = scores(cases, cases.truth)
    assert Scores.from_dict(result.as_dict()) == result
    broken = np.array(cases.truth.counterfactual_position)
    broken[2, 3, 1] = np.nan
    truth = cases.truth
    with pytest.raises(EmbodiedError, match="not finite"):
        scores(
            cases,
            Branches(truth.factual_position, truth.factual_quaternion, broken, truth.counterfactual_quaternion),
        )
    with pytest.raises(EmbodiedError, match="two objects or more"):
        scores(Cases(cases.context, cases.kind, np.zeros_like(cases.scored), truth), truth)


CUBES = ("red_cube", "blue_cube", "green_cube")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(build_scene(SceneConfig(objects=CUBES)), 24, threads=1)


@pytest.fixture(scope="module")
def episodes(simulation: Simulation) -> list[Episode]:
    """A closed gripper pushes forward into a row of cubes, differently in each of 24 worlds."""
    generator = np.random.default_rng(0)
    worlds, steps = simulation.worlds, 20
    position = np.zeros((worlds, 3, 3))
    position[..., 0] = np.array([0.20, 0.235, 0.275]) + generator.uniform(-0.002, 0.002, (worlds, 3))
    position[..., 1] = generator.uniform(-0.008, 0.008, (worlds, 3))
    position[..., 2] = 0.014
    turn = generator.uniform(-0.4, 0.4, (worlds, 3))
    quaternion = np.stack([np.cos(turn / 2), 0 * turn, 0 * turn, np.sin(turn / 2)], axis=-1)
    tool = np.tile([0.165, 0.0, 0.014], (worlds, 1))
    joints = np.concatenate([project(tool, np.zeros(worlds)).joints[:, :5], np.full((worlds, 1), -0.1)], axis=1)
    simulation.reset(Layout(joints=joints, object_position=position, object_quaternion=quaternion))
    action = np.zeros((steps, worlds, 5))
    action[..., 0] = 0.25 + 0.1 * generator.random((steps, worlds))
    action[..., 1] = 0.2 * generator.standard_normal((1, worlds))
    action[..., 4] = -1.0
    seen, rows = [simulation.observe()], [simulation.save().rows]
    for step in range(steps):
        seen.append(simulation.step(action[step]))
        rows.append(simulation.save().rows)
    return [
        Episode(
            observation=Observation(
                np.stack([o.proprioception[i] for o in seen]),
                ObjectState.stack([o.objects[i] for o in seen]),
                np.stack([o.time[i] for o in seen]),
            ),
            action=action[:, i],
            success=np.zeros(steps + 1, bool),
            goal=Goal.parse("near(red_cube, blue_cube, 0.1)"),
            seed=i,
            task="play",
            robot="so101",
            simulator_state=np.stack([row[i] for row in rows]),
        )
        for i in range(worlds)
    ]


@pytest.fixture(scope="module")
def contexts(episodes: list[Episode]) -> Contexts:
    return choose(episodes, 20, np.random.default_rng(0))


def drifting(history: Observation, actions: Array) -> Rollout:
    """A model that lets every object go on as it moves now, ignoring everything else."""
    steps = actions.shape[1] + 1
    last = history[:, -1].map(lambda array: np.repeat(array[:, None], steps, axis=1))
    time = 0.1 * np.arange(steps)[None, :, None, None]
    position = last.objects.position_in_world + time * last.objects.linear_velocity_in_world
    return Rollout("model", replace(last, objects=replace(last.objects, position_in_world=position)), actions)


def test_contexts_are_in_play_and_from_many_episodes(contexts: Contexts) -> None:
    assert len(contexts) == 20
    assert len(np.unique(contexts.place[:, 0])) == 20
    position = contexts.recorded.position_in_world[:, :, contexts.movable]
    way = np.linalg.norm(np.diff(position, axis=1), axis=-1).sum(1)
    assert (way.max(1) > 0.005).all()
    np.testing.assert_array_equal(
        contexts.recorded.position_in_world[:, 0], contexts.history.objects.position_in_world[:, -1]
    )


def test_a_replay_without_edit_is_exact_and_a_rounded_one_is_refused(
    simulation: Simulation, contexts: Contexts
) -> None:
    exact(contexts, simulate(simulation, contexts, unedited(contexts), contacts=True))
    rounded = replace(contexts, action=contexts.action.astype(np.float32).astype(np.float64))
    replay = simulate(simulation, rounded, unedited(contexts))
    with pytest.raises(EmbodiedError, match="differs from the recording"):
        exact(rounded, replay)


def test_branches_do_not_depend_on_their_neighbours(simulation: Simulation, contexts: Contexts) -> None:
    texts = ("remove(red_cube)", "nothing", "action(hold)", "swap(3)")
    asked = [Question.parse(index % 20, texts[index % 4]) for index in range(27)]
    together = simulate(simulation, contexts, asked)  # 27 branches in 24 worlds: two batches
    alone = simulate(simulation, contexts, asked[13:14])
    np.testing.assert_array_equal(together.position[13], alone.position[0])


def test_what_a_model_is_shown(contexts: Contexts) -> None:
    texts = ("move(blue_cube, x=+0.04)", "remove(red_cube)", "action(hold)", "swap(2) ")
    asked = [Question.parse(0, text.strip()) for text in texts]
    shown = histories(contexts, asked)
    original = contexts.history.objects[0]
    blue, red = (original.index(name) for name in ("blue_cube", "red_cube"))
    np.testing.assert_allclose(
        shown.objects.position_in_world[0, :, blue] - original.position_in_world[:, blue], [[0.04, 0, 0]] * 3
    )
    assert not shown.objects.present[1, :, red].any()
    np.testing.assert_array_equal(shown.objects.position_in_world[2], original.position_in_world)
    planned = plans(contexts, asked)
    np.testing.assert_array_equal(planned[0], contexts.action[0])
    assert not planned[2, :, :4].any()
    np.testing.assert_array_equal(planned[3], contexts.action[2])


@pytest.fixture(scope="module")
def whatifs(simulation: Simulation, contexts: Contexts) -> WhatIfs:
    return ask(simulation, drifting, contexts, np.random.default_rng(0))


def test_the_worst_case_is_the_worst(whatifs: WhatIfs) -> None:
    chosen = gallery.choose(whatifs)
    title, worst = chosen[-1]
    miss = np.linalg.norm((whatifs.sources[MODEL].effect - whatifs.cases.truth.effect)[:, -1], axis=-1)
    miss = np.where(whatifs.cases.scored, miss, 0.0).max(axis=1)
    assert title == f"Worst of {len(whatifs.questions)}"
    assert miss[worst] == miss.max() > 0
    assert len({case for _, case in chosen}) == len(chosen)


def test_the_suite_ranks_the_simulator_above_a_model_that_cannot_see_contact(whatifs: WhatIfs) -> None:
    result = judge(whatifs, np.random.default_rng(0), 50)
    nudged, model = result.scores["nudged simulator"], result.scores["world model"]
    assert nudged.skill["spillover"].value > 0.6
    assert nudged.influence_auroc.value > 0.9
    assert nudged.factual_fde.value < 0.008
    assert model.skill["spillover"].value == pytest.approx(0, abs=1e-9)
    assert result.scores["copy factual"].skill["spillover"].value == pytest.approx(0)
    assert result.strata["edge"] > 0.1
    assert set(result.cases) <= {"move", "remove", "hold", "swap", "delay", "mirror"}
    assert np.median(result.chaos) < 0.005
    again = type(result).from_dict(json.loads(json.dumps(result.as_dict())))
    assert again.scores["world model"].as_dict() == model.as_dict()


def test_no_interaction_shows_each_object_alone(simulation: Simulation, contexts: Contexts) -> None:
    seen: list[np.ndarray] = []

    def watching(history: Observation, actions: Array) -> Rollout:
        seen.append(np.asarray(history.objects.present)[:, -1, contexts.movable].sum(1))
        return drifting(history, actions)

    alone = ask(simulation, watching, contexts, np.random.default_rng(0)).sources["no interaction"]
    assert (np.concatenate(seen[2:]) == 1).all()
    assert not alone.effect.any()  # Drifting objects ignore the plan too, so even edits of actions change nothing.


def test_moves_without_room_are_drawn_again(simulation: Simulation, contexts: Contexts) -> None:
    k = contexts.movable
    position = contexts.history.objects.position_in_world[0, -1]
    gap = position[k[1]] - position[k[0]]
    into = Question(0, (Intervention("move", "red_cube", {"x": float(gap[0]), "y": float(gap[1])}),))
    (settled,) = settle(simulation, contexts, [into], np.random.default_rng(0))
    assert settled != into
    assert settled.entities == {"red_cube"}
    simulate(simulation, contexts, [settled])


def test_contexts_need_exact_states_and_objects_in_play(episodes: list[Episode]) -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(EmbodiedError, match="no simulator state"):
        choose([replace(episodes[0], simulator_state=None)], 5, generator)
    still = episodes[0].observation[np.zeros(21, int)]
    with pytest.raises(EmbodiedError, match="record play"):
        choose([replace(episodes[0], observation=still)], 5, generator)


def test_the_gain_is_paired():
    """Two sources that share their errors differ more surely than their own intervals say; equal ones not at all."""
    rng = np.random.default_rng(0)
    shape = (60, 4, 1)
    zero = np.zeros((*shape, 3))
    effect, shared = rng.normal(size=(*shape, 3)), 0.6 * rng.normal(size=(*shape, 3))
    still = np.broadcast_to([1.0, 0, 0, 0], (*shape, 4))

    def said(change):
        return Branches(zero, still, change, still)

    cases = Cases(np.arange(60), ("move",) * 60, np.ones((60, 1), bool), said(effect))
    better, worse = said(effect + 0.9 * shared), said(effect + shared)
    found = gain(cases, better, worse, rng)["move"]
    alone = score(cases, better, rng).skill["move"]
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    nothing = gain(cases, better, better, rng)["move"]
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)
