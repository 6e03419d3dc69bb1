"""Whether Push-T's simulation is installed here."""

import pytest

from envs.errors import EmbodiedError
from envs.pusht import PushT


def installed() -> bool:
    try:
        PushT()
    except EmbodiedError:
        return False
    return True


needs_pusht = pytest.mark.skipif(not installed(), reason="gym-pusht is not installed; see the pusht extra")
