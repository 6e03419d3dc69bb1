"""The what-if suite against the simulator: exact branches, edits that fit, strata by contact, models that are asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from whatif_scenes import CUBES, drifting, row_contexts, row_episodes, row_simulation

from embodied.evaluation.branches import NUDGE, Disturbance, exact, histories, plans, settle, simulate, unedited
from embodied.evaluation.contexts import Contexts, choose
from embodied.evaluation.effects import influenced
from embodied.evaluation.questions import FULL, LIMITS, Question, draw, kinds_of
from embodied.evaluation.scoring import score
from embodied.evaluation.sources import Alone, Disturbed, Foreign, WhatIfModel
from embodied.evaluation.strata import STRATA
from embodied.evaluation.suite import MODEL, WhatIfs, ask, establish, judge
from embodied.report import gallery
from envs.episode import Episode, Rollout
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.simulation import Simulation
from envs.types import Array, Observation


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return row_simulation()


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return row_episodes()


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return row_contexts()


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


def test_a_null_edit_changes_no_bit(simulation: Simulation, contexts: Contexts) -> None:
    factual = simulate(simulation, contexts, unedited(contexts))
    asked = [Question.parse(index, "move(red_cube, x=+0, y=-0)") for index in range(len(contexts))]
    mass = contexts.history.objects.mass[:, -1, contexts.movable[1]]
    asked += [Question(c, (Intervention("mass", CUBES[1], {"value": float(m)}),)) for c, m in enumerate(mass)]
    asked += [Question(index, plan=index) for index in range(len(contexts))]
    null = simulate(simulation, contexts, asked)
    for start in range(0, len(asked), len(contexts)):
        np.testing.assert_array_equal(null.position[start : start + len(contexts)], factual.position)
        np.testing.assert_array_equal(null.quaternion[start : start + len(contexts)], factual.quaternion)


def test_every_kind_is_drawn_printed_and_carried_out(simulation: Simulation, contexts: Contexts) -> None:
    some = contexts[:6]
    asked = settle(simulation, some, draw(some, np.random.default_rng(1), FULL), np.random.default_rng(2))
    assert set(kinds_of(asked)) == set(FULL)
    assert kinds_of(asked)["remove"] == 12
    for question in asked:
        assert Question.parse(question.context, str(question)) == question
    pairs = [question for question in asked if question.kind == "pair"]
    assert all(len(question.parts) == 2 for question in pairs)
    assert all(len(question.entities) == len(question.state_edits) for question in pairs)
    removed = [question.entities for question in asked if question.kind == "remove"]
    assert all(first != second for first, second in zip(removed[::2], removed[1::2], strict=True))
    for question in asked:
        if question.kind in ("mass", "friction"):
            (edit,) = question.edits
            k = some.history.objects.index(str(edit.entity))
            factor = edit.values["value"] / getattr(some.history.objects, question.kind)[question.context, -1, k]
            assert 2.9 < max(factor, 1 / factor) < 5.1
            assert LIMITS[question.kind][0] <= edit.values["value"] <= LIMITS[question.kind][1]
    assert np.isfinite(simulate(simulation, some, asked).position).all()


def test_heavy_things_are_made_lighter_and_light_ones_heavier(contexts: Contexts) -> None:
    for mass, lighter in ((0.25, True), (0.02, False)):
        objects = replace(contexts.history.objects, mass=np.full_like(contexts.history.objects.mass, mass))
        alike = replace(contexts, history=replace(contexts.history, objects=objects))
        asked = draw(alike, np.random.default_rng(4), {"mass": 3})
        assert asked
        assert all((question.edits[0].values["value"] < mass) == lighter for question in asked)


def test_unknown_kinds_and_impossible_numbers_are_refused(contexts: Contexts, episodes: list[Episode]) -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(EmbodiedError, match="Did you mean 'remove'"):
        draw(contexts, generator, {"remov": 1})
    with pytest.raises(EmbodiedError, match="1 or more"):
        draw(contexts, generator, {"remove": 0})
    with pytest.raises(EmbodiedError, match="horizon=0"):
        choose(episodes, 5, generator, horizon=0)
    with pytest.raises(EmbodiedError, match="green_cub"):
        histories(contexts, [Question.parse(0, "remove(green_cub)")])
    with pytest.raises(EmbodiedError, match="one gravity"):
        histories(contexts, [Question.parse(0, "gravity(z=-3)")])
    assert len(contexts[:0]) == 0


def test_who_touches_whom(simulation: Simulation, contexts: Contexts) -> None:
    """The arm's jaws reach the first cube, the first the second, the second the third; what is gone touches nothing."""
    red, blue, green = contexts.movable
    table = contexts.history.objects.index("table")
    asked = [*unedited(contexts), *(Question.parse(c, "remove(blue_cube)") for c in range(len(contexts)))]
    ever = np.asarray(simulate(simulation, contexts, asked, contacts=True).touching).any(axis=1)
    np.testing.assert_array_equal(ever, np.swapaxes(ever, 1, 2))
    assert not ever[:, range(ever.shape[1]), range(ever.shape[1])].any()
    there, gone = ever[:20], ever[20:]
    assert there[:, [red, blue, green], table].all()
    assert there[:, red, blue].mean() > 0.5
    assert there[:, blue, green].mean() > 0.5
    assert not gone[:, blue].any()
    # A closed hand pushes with its outside, which belongs to the palm.
    palm = contexts.history.objects.index("gripper")
    assert there[:, palm, red].mean() > 0.5
    assert not there[:, palm, green].any()


def test_an_effect_over_two_touches_is_multi_hop(simulation: Simulation, contexts: Contexts) -> None:
    """With red gone the arm's push reaches green later or not at all, though red never touches green."""
    asked = [Question.parse(context, "remove(red_cube)") for context in range(len(contexts))]
    whatifs = ask(simulation, drifting, contexts, np.random.default_rng(0), asked)
    stratum, size = whatifs.cases.stratum, influenced(whatifs.cases.truth)
    blue, green = 1, 2
    touched = np.asarray(whatifs.factual.touching).any(axis=1)[:, contexts.movable[0], contexts.movable[green]]
    felt = (size[:, green] > 0.005) & ~touched
    assert felt.sum() >= 3
    assert (stratum[felt, green] == STRATA.index("multi_hop")).all()
    assert (stratum[:, blue] == STRATA.index("spillover")).sum() >= 3
    assert (stratum[size < 0.001] == STRATA.index("none")).all()


def test_gravity_is_asked_of_simulators_and_not_answered_by_models(simulation: Simulation, contexts: Contexts) -> None:
    asked = [Question.parse(context, text) for context in range(8) for text in ("gravity(z=-3)", "remove(red_cube)")]
    result = judge(
        ask(simulation, drifting, contexts[:8], np.random.default_rng(0), asked), np.random.default_rng(0), 20
    )
    model, nudged = result.scores[MODEL], result.scores["nudged simulator"]
    assert model.answered["gravity"] == 0
    assert model.answered["remove"] == 1
    assert np.isnan(model.skill["gravity"].value)
    assert np.isfinite(nudged.skill["gravity"].value)
    assert nudged.answered["gravity"] == 1


def test_foreign_predictions_are_scored_like_our_own(simulation: Simulation, contexts: Contexts) -> None:
    known = establish(simulation, contexts, np.random.default_rng(3))
    movable = contexts.movable
    foreign = Foreign(known.factual.position[:, :, movable], known.truth.position[:, :, movable])
    assert isinstance(foreign, WhatIfModel)
    said = foreign.answer(contexts, known.questions)
    assert score(known.cases, said, np.random.default_rng(0), resamples=5).skill["spillover"].value == pytest.approx(1)
    with pytest.raises(EmbodiedError, match="is needed"):
        Foreign(foreign.factual[:3], foreign.counterfactual).answer(contexts, known.questions)


def test_a_disturbed_simulator_is_the_truth_where_it_is_not_disturbed(
    simulation: Simulation, contexts: Contexts
) -> None:
    asked = [Question.parse(context, "remove(green_cube)") for context in range(len(contexts))]
    known = establish(simulation, contexts, np.random.default_rng(3), asked)
    same = Disturbed(simulation, [Disturbance()]).answer(contexts, asked)
    for ours, theirs in zip(same.parts[::2], known.cases.truth.parts[::2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    heavy = Disturbed(simulation, [Disturbance(mass=1.5)]).answer(contexts, asked)
    assert not np.array_equal(heavy.factual_position, same.factual_position)


def test_nudges_are_a_tenth_of_a_millimetre(simulation: Simulation, contexts: Contexts) -> None:
    nudges = np.full((len(contexts), len(contexts.history.objects.names)), -1)
    nudges[[0, 2], contexts.movable[0]] = (0, 2)
    asked = unedited(contexts)[:3]
    start = simulate(simulation, contexts, asked, Disturbance(nudges)).position[:, 0]
    shift = start - simulate(simulation, contexts, asked).position[:, 0]
    expected = np.zeros_like(shift)
    expected[0, contexts.movable[0], 0] = expected[2, contexts.movable[0], 1] = NUDGE
    np.testing.assert_allclose(shift, expected, atol=1e-9)


def test_alone_an_object_feels_its_own_weight_and_no_other(contexts: Contexts) -> None:
    def sinking(history: Observation, actions: Array) -> Rollout:
        """All objects shift by the mass of all that are there."""
        rollout = drifting(history, actions)
        weight = np.asarray(history.objects.mass)[:, -1, contexts.movable].sum(1)
        shift = weight[:, None, None, None] * np.arange(actions.shape[1] + 1)[:, None, None]
        position = rollout.observation.objects.position_in_world + shift
        objects = replace(rollout.observation.objects, position_in_world=position)
        return replace(rollout, observation=replace(rollout.observation, objects=objects))

    asked = [Question.parse(0, "mass(blue_cube, 0.2)"), Question.parse(0, "gravity(z=-3)")]
    said = Alone(sinking).answer(contexts, asked)
    felt = np.abs(said.effect).sum((1, 3)) > 0
    np.testing.assert_array_equal(felt, [[False, True, False], [False, False, False]])
    assert said.answered is not None
    np.testing.assert_array_equal(said.answered, [True, False])
