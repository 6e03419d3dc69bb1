"""The vocabulary's own verbs: joining states, as numpy and as torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tabletop import random_tabletop

from envs.errors import EmbodiedError
from envs.types import ObjectState, Observation


def observed(rng, *batch):
    image = rng.integers(0, 255, (*batch, 2, 2, 3), dtype=np.uint8)
    return Observation(rng.normal(size=(*batch, 18)), random_tabletop(rng, *batch), rng.random(batch), {"top": image})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_concat_is_what_indexing_took_apart(axis, convert):
    whole = observed(np.random.default_rng(0), 5, 4).map(convert)
    first, second = ((slice(None),) * axis + (part,) for part in (slice(0, 3), slice(3, None)))
    joined = Observation.concat([whole[first], whole[second]], axis=axis)
    for name in ("position_in_world", "present", "mass", "colour"):
        np.testing.assert_array_equal(getattr(joined.objects, name), getattr(whole.objects, name))
    np.testing.assert_array_equal(joined.proprioception, whole.proprioception)
    np.testing.assert_array_equal(joined.time, whole.time)
    np.testing.assert_array_equal(joined.images["top"], whole.images["top"])
    assert type(joined.time) is type(whole.time)


def test_states_of_different_scenes_are_not_joined():
    state = random_tabletop(np.random.default_rng(0), 2)
    with pytest.raises(EmbodiedError, match="share one scene"):
        ObjectState.concat([state, replace(state, names=("other", *state.names[1:]))])
