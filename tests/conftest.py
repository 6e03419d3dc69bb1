"""One thread per worker, and shape checks on while the world models are tested."""

import os

import pytest
from hypothesis import HealthCheck, settings

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# `EMBODIED_SHAPES=0 make test` runs without the checks, as production does.
if os.environ.get("EMBODIED_SHAPES", "1") != "0":
    from jaxtyping import install_import_hook

    install_import_hook("world_models", "beartype.beartype")

# A busy machine is no fault of the code: speed belongs to the benches.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


@pytest.fixture(scope="module")
def twin_process(tmp_path_factory):
    """A twin in a process of its own."""
    from twins import start

    with start(tmp_path_factory.mktemp("twin") / "twin") as process:
        yield process


@pytest.fixture
def twin(twin_process):
    """One twin for all tests of a module, with new power and no fault for each."""
    from twins import afresh

    return afresh(twin_process)
