"""Half of a training, saved and continued, is the whole of it."""

import numpy as np

from embodied.checkpoint import load, save


def check_resumes(make, first, rest, folder):
    """`make()` advanced by `first + rest` equals another saved after `first` and continued in a third; returns it."""
    whole, half, resumed = make(), make(), make()
    whole.advance(first + rest)
    half.advance(first)
    save(folder / "half.safetensors", half.state_dict())
    resumed.load_state_dict(load(folder / "half.safetensors")[0])
    resumed.advance(rest)
    assert_equal(whole.state_dict(), resumed.state_dict())
    return resumed


def assert_equal(first, second) -> None:
    """Two nested states agree bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_equal(first[name], second[name])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        np.testing.assert_array_equal(first, second)
