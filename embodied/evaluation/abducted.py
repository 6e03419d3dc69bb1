"""Instants as a model takes them to be once it has inferred what masses and frictions nobody declares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from embodied.evaluation.branches import Imagine
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.effects import Branches
from embodied.evaluation.questions import Question
from embodied.evaluation.sources import Imagined, WhatIfModel
from envs.episode import Episode
from envs.types import Observation
from world_models.causal.abduction import abduct
from world_models.imagination import Dynamics

DECLARED, INFERRED, OUTCOME = "told what is declared", "inferring", "inferring, outcome known"
"""What a model that knows masses and frictions says where none is declared: without abduction, from what was seen up to
the instant, and from what then happened as well."""


@dataclass(frozen=True)
class Believing:
    """A world model that is shown other masses and frictions than the declared ones."""

    model: Imagine
    contexts: Contexts
    """The instants that will be asked about, as `believed` gives them."""

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """See `WhatIfModel.answer`."""
        return Imagined(self.model).answer(self.contexts, questions)


def believed(
    contexts: Contexts, episodes: Sequence[Episode], dynamics: Dynamics, seed: int, *, outcome: bool
) -> Contexts:
    """The same instants with the masses and frictions that `dynamics` infers from the episodes they were chosen from.

    It sees each episode up to the instant, or with `outcome` what then happened as well: to ask what would have
    happened instead is to know what did (abduction; CoPhy shows its factual video to the end).
    """
    mass, friction = (np.array(getattr(contexts.history.objects, name)) for name in ("mass", "friction"))
    more = contexts.horizon if outcome else 0
    for step in np.unique(contexts.place[:, 1]):
        rows = np.flatnonzero(contexts.place[:, 1] == step)
        seen = Observation.stack([episodes[contexts.place[row, 0]].observation[: step + 1 + more] for row in rows])
        found = abduct(dynamics, seen, torch.Generator().manual_seed(seed))
        shown = found.shown(contexts.history[rows]).objects
        mass[rows], friction[rows] = shown.mass, shown.friction
    objects = replace(contexts.history.objects, mass=mass, friction=friction)
    return replace(contexts, history=replace(contexts.history, objects=objects))


def inferring(
    contexts: Contexts, episodes: Sequence[Episode], dynamics: Dynamics, model: Imagine, seed: int
) -> dict[str, WhatIfModel]:
    """One model without abduction, and with either kind of it; `model` asks `dynamics`."""
    found: dict[str, WhatIfModel] = {DECLARED: Imagined(model)}
    for name, outcome in ((INFERRED, False), (OUTCOME, True)):
        found[name] = Believing(model, believed(contexts, episodes, dynamics, seed, outcome=outcome))
    return found
