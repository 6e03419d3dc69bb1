"""Who influences whom, measured by intervention: edit i in imagination, watch j. Never read off attention weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from envs.control import Controller
from envs.episode import Rollout
from envs.interventions import Intervention
from envs.types import Array, Observation
from world_models.imagination import Dynamics, imagine
from world_models.slots.bodies import body_indices


@dataclass(frozen=True)
class Counterfactual:
    """Two imagined futures of one past under one plan: as it is, and with an intervention."""

    factual: Rollout
    edited: Rollout

    @property
    def effect(self) -> Array:
        """`[*B H+1 K 3]` edited minus factual position [m]; meaningless for a removed entity."""
        edited, factual = self.edited.observation.objects, self.factual.observation.objects
        return edited.position_in_world - factual.position_in_world


@dataclass(frozen=True)
class Influence:
    """The influence graph of a scene over a horizon."""

    names: tuple[str, ...]
    """N movable objects."""
    effect: Array
    """`[*B N N]` how far object j ends from where it would have, had i been edited [m]; 0 for i = j and absent ones."""

    def edges(self, threshold: float = 0.005) -> Array:
        """`[*B N N]` bool: i influences j by more than `threshold` [m]."""
        return self.effect > threshold


def counterfactual(
    dynamics: Dynamics,
    history: Observation,
    actions: Array,
    interventions: Sequence[Intervention],
    *,
    control: Controller | None = None,
    previous: Array | None = None,
) -> Counterfactual:
    """Imagine both branches; arguments as for `imagine`."""
    factual = imagine(dynamics, history, actions, control=control)
    edited = imagine(dynamics, history, actions, interventions=interventions, control=control, previous=previous)
    return Counterfactual(factual, edited)


def influence(
    dynamics: Dynamics,
    history: Observation,
    actions: Array,
    *,
    edit: Intervention | None = None,
    control: Controller | None = None,
) -> Influence:
    """Edit every movable object in turn and measure where the others end up.

    Args:
        dynamics: the model.
        history: the last frames `[*B W ...]`.
        actions: the plan `[*B H A]`, the same in all branches.
        edit: what is done to each object, its entity replaced by each in turn; removal by default.
        control: as for `imagine`.
    """
    objects = history.objects
    movable = body_indices(objects)
    names = tuple(objects.names[k] for k in movable)
    factual = imagine(dynamics, history, actions, control=control).observation.objects
    xp = array_namespace(factual.position_in_world)
    rows = []
    for i, name in enumerate(names):
        chosen = Intervention("remove", name) if edit is None else _on(edit, name)
        edited = imagine(dynamics, history, actions, interventions=[chosen], control=control).observation.objects
        apart = edited.position_in_world[..., -1, movable, :] - factual.position_in_world[..., -1, movable, :]
        effect = xp.sqrt(xp.sum(apart * apart, axis=-1))
        there = factual.present[..., -1, movable]
        others = xp.asarray([j != i for j in range(len(names))])
        rows.append(xp.where(there & there[..., i : i + 1] & others, effect, xp.zeros_like(effect)))
    return Influence(names, xp.stack(rows, axis=-2))


def _on(edit: Intervention, name: str) -> Intervention:
    return Intervention(edit.kind, name, edit.values, edit.step, edit.mode)
